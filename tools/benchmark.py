"""The same as `pcseg bench`."""

import sys

from pcseg.cli import main

if __name__ == "__main__":
    main(["bench", *sys.argv[1:]])
