"""The same as `pcseg sweep`."""

import sys

from pcseg.cli import main

if __name__ == "__main__":
    main(["sweep", *sys.argv[1:]])
