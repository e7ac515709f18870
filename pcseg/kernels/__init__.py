"""All numba code of pcseg.

Kernels are plain functions of arrays and numbers. They import nothing of pcseg but other kernels, and check nothing:
their callers do. Each module has a slow twin of the same name under tests/reference, and tests that compare the two.
"""

import os

# numba ignores OMP_NUM_THREADS, and its first parallel kernel would give torch as many threads as numba has.
if "OMP_NUM_THREADS" in os.environ:
    os.environ.setdefault("NUMBA_NUM_THREADS", os.environ["OMP_NUM_THREADS"])
