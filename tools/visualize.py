"""The same as `pcseg show`."""

import sys

from pcseg.cli import main

if __name__ == "__main__":
    main(["show", *sys.argv[1:]])
