"""The same as `pcseg prepare scans`."""

import sys

from pcseg.cli import main

if __name__ == "__main__":
    main(["prepare", "scans", *sys.argv[1:]])
