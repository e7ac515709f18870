"""The same as `pcseg evaluate`."""

import sys

from pcseg.cli import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])
