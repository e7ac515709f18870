"""Numba kernels; each has a slow twin under tests/reference."""
