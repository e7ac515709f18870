"""The same as `pcseg export`."""

import sys

from pcseg.cli import main

if __name__ == "__main__":
    main(["export", *sys.argv[1:]])
