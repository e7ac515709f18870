"""`python -m pcseg`: the same as the command `pcseg`."""

from pcseg.cli import main

if __name__ == "__main__":
    main()
