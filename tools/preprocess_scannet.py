"""The same as `pcseg prepare scannet`."""

import sys

from pcseg.cli import main

if __name__ == "__main__":
    main(["prepare", "scannet", *sys.argv[1:]])
