"""The same as `pcseg predict`."""

import sys

from pcseg.cli import main

if __name__ == "__main__":
    main(["predict", *sys.argv[1:]])
