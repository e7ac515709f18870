"""The same as `pcseg warm-up`."""

import sys

from pcseg.cli import main

if __name__ == "__main__":
    main(["warm-up", *sys.argv[1:]])
