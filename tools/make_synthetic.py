"""The same as `pcseg synth`."""

import sys

from pcseg.cli import main

if __name__ == "__main__":
    main(["synth", *sys.argv[1:]])
