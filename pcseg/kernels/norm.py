"""Compiled loops behind `pcseg.ops.norm_relu`: one pass over the features for sums, and one for the result.

Sums over `ROWS` rows are float32, those of all rows float64.
"""

import numpy as np

from pcseg.kernels import kernel
from pcseg.kernels.conv import FAST

ROWS = 256


@kernel(fastmath=FAST)
def _move(partial, sums):
    """Adds partial sums to the whole ones, and sets them to 0."""
    for c in range(partial.shape[1]):
        sums[0, c] += partial[0, c]
        sums[1, c] += partial[1, c]
        partial[0, c] = partial[1, c] = 0


@kernel("f4[:,::1], f4[::1], i8, i8, f8[:,::1]", fastmath=FAST)
def add_moments(x, center, first, last, sums):
    """Adds the sums of x - center and of its square over the given rows to `sums`.

    Args:
        x: float32 (V, C).
        center: float32 (C,), near the mean, so that the sums of squares cancel little.
        first: first row.
        last: end of the rows.
        sums: float64 (2, C).
    """
    num_columns = x.shape[1]
    partial = np.zeros((2, num_columns), np.float32)
    for begin in range(first, last, ROWS):
        for row in range(begin, min(begin + ROWS, last)):
            for c in range(num_columns):
                distance = x[row, c] - center[c]
                partial[0, c] += distance
                partial[1, c] += distance * distance
        _move(partial, sums)


@kernel("f4[:,::1], f4[:,::1], i8, i8, f4[:,::1]", fastmath=FAST)
def scale_shift_relu(x, used, first, last, out):
    """Writes ReLU(x * scale + shift) of the given rows.

    Args:
        x: float32 (V, C).
        used: float32 (2 or more, C), the first rows are scale and shift.
        first: first row.
        last: end of the rows.
        out: float32 (V, C).
    """
    for row in range(first, last):
        for c in range(x.shape[1]):
            value = x[row, c] * used[0, c] + used[1, c]
            out[row, c] = np.float32(0) if value < 0 else value


@kernel("f4[:,::1], f4[:,::1], f4[:,::1], i8, i8, f8[:,::1]", fastmath=FAST)
def add_grad_moments(x, grad, used, first, last, sums):
    """Adds the sums of the gradient before ReLU, and of it times x - center, over the given rows to `sums`.

    Args:
        x: float32 (V, C).
        grad: float32 (V, C), gradient of the result of `scale_shift_relu`.
        used: float32 (3 or more, C), the first rows are scale, shift and center.
        first: first row.
        last: end of the rows.
        sums: float64 (2, C).
    """
    num_columns = x.shape[1]
    partial = np.zeros((2, num_columns), np.float32)
    for begin in range(first, last, ROWS):
        for row in range(begin, min(begin + ROWS, last)):
            for c in range(num_columns):
                passed = grad[row, c] if x[row, c] * used[0, c] + used[1, c] > 0 else np.float32(0)
                partial[0, c] += passed
                partial[1, c] += passed * (x[row, c] - used[2, c])
        _move(partial, sums)


@kernel("f4[:,::1], f4[:,::1], f4[:,::1], i8, i8, f4[:,::1]", fastmath=FAST)
def scale_shift_relu_grad(x, grad, used, first, last, out):
    """Writes the gradient of x in the given rows: of the result, and of statistics of x.

    Args:
        x: float32 (V, C).
        grad: float32 (V, C), gradient of the result of `scale_shift_relu`.
        used: float32 (5, C): scale, shift, center, and what the statistics add to the gradient of each row: the
            factor of x - center, and a constant.
        first: first row.
        last: end of the rows.
        out: float32 (V, C).
    """
    for row in range(first, last):
        for c in range(x.shape[1]):
            passed = grad[row, c] if x[row, c] * used[0, c] + used[1, c] > 0 else np.float32(0)
            out[row, c] = passed * used[0, c] + (x[row, c] - used[2, c]) * used[3, c] + used[4, c]
