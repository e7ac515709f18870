"""The same as `pcseg plot`."""

import sys

from pcseg.cli import main

if __name__ == "__main__":
    main(["plot", *sys.argv[1:]])
