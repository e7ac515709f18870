"""All numba code of pcseg.

Kernels are plain functions of arrays and numbers. They import nothing of pcseg but other kernels, and check nothing:
their callers do. Each module has a slow twin of the same name under tests/reference, and tests that compare the two.
"""
