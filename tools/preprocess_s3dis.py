"""The same as `pcseg prepare s3dis`."""

import sys

from pcseg.cli import main

if __name__ == "__main__":
    main(["prepare", "s3dis", *sys.argv[1:]])
