"""The same as `pcseg train`."""

import sys

from pcseg.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
