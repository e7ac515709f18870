"""The same as `pcseg test`."""

import sys

from pcseg.cli import main

if __name__ == "__main__":
    main(["test", *sys.argv[1:]])
