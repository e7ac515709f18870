"""Compiled loops of batch norm and ReLU in training: two passes over the features each way, where torch takes six.

Partial sums of ROWS rows are float32, their totals float64.
"""

import numpy as np

from pcseg.kernels import kernel

ROWS = 256
_FAST = {"contract", "reassoc", "nsz"}  # NaN passes through


@kernel(
    "f4[:,::1], f4[::1], f4[::1], f4[::1], f4[::1], f8, f8, f8, f4[:,::1], f4[:,::1]",
    fastmath=_FAST,
)
def norm_relu(x, weight, bias, running_mean, running_var, momentum, share, eps, used, out):
    """ReLU of the batch norm of each column.

    Args:
        x: float32 (V, C), 2 rows or more.
        weight: float32 (C,).
        bias: float32 (C,).
        running_mean: float32 (C,), moved toward the mean of x.
        running_var: float32 (C,), moved toward the unbiased variance of x.
        momentum: share of x in the running statistics from now on.
        share: share of x in the statistics that normalize; the rest is of the running ones.
        eps: added to the variance.
        used: float32 (5, C), gets the mean of x, the mean used, one over the standard deviation used, scale and shift.
        out: float32 (V, C), gets the result.
    """
    num_rows, num_columns = x.shape
    partial = np.zeros(num_columns, np.float32)
    mean, variance = np.zeros(num_columns), np.zeros(num_columns)
    for begin in range(0, num_rows, ROWS):
        for row in range(begin, min(begin + ROWS, num_rows)):
            for c in range(num_columns):
                partial[c] += x[row, c]
        for c in range(num_columns):
            mean[c] += partial[c] / num_rows
            partial[c] = 0
    for c in range(num_columns):
        used[0, c] = mean[c]
    for begin in range(0, num_rows, ROWS):
        for row in range(begin, min(begin + ROWS, num_rows)):
            for c in range(num_columns):
                partial[c] += (x[row, c] - used[0, c]) ** 2
        for c in range(num_columns):
            variance[c] += partial[c] / num_rows
            partial[c] = 0
    for c in range(num_columns):
        running_mean[c] += momentum * (mean[c] - running_mean[c])
        running_var[c] += momentum * (variance[c] * num_rows / (num_rows - 1) - running_var[c])
        used[1, c] = running_mean[c] + share * (mean[c] - running_mean[c])
        used[2, c] = 1 / np.sqrt(running_var[c] + share * (variance[c] - running_var[c]) + eps)
        used[3, c] = weight[c] * used[2, c]
        used[4, c] = bias[c] - used[1, c] * used[3, c]
    for row in range(num_rows):
        for c in range(num_columns):
            value = x[row, c] * used[3, c] + used[4, c]
            out[row, c] = np.float32(0) if value < 0 else value


@kernel("f4[:,::1], f4[:,::1], f4[:,::1], f8, f4[:,::1], f4[:,::1]", fastmath=_FAST)
def norm_relu_grad(x, grad, used, share, grad_affine, out):
    """Gradients of `norm_relu`; the running statistics are constants.

    Args:
        x: float32 (V, C), input.
        grad: float32 (V, C), gradient of the result.
        used: float32 (5, C), from the forward pass.
        share: as in the forward pass.
        grad_affine: float32 (2, C), gets the gradients of weight and bias.
        out: float32 (V, C), gets the gradient of x.
    """
    num_rows, num_columns = x.shape
    partial = np.zeros((2, num_columns), np.float32)
    total, moment = np.zeros(num_columns), np.zeros(num_columns)
    for begin in range(0, num_rows, ROWS):
        for row in range(begin, min(begin + ROWS, num_rows)):
            for c in range(num_columns):
                passed = grad[row, c] if x[row, c] * used[3, c] + used[4, c] > 0 else np.float32(0)
                partial[0, c] += passed
                partial[1, c] += passed * (x[row, c] - used[0, c])
        for c in range(num_columns):
            total[c] += partial[0, c]
            moment[c] += partial[1, c]
            partial[0, c] = partial[1, c] = 0
    for c in range(num_columns):
        moment[c] += (used[0, c] - used[1, c]) * total[c]
        grad_affine[0, c], grad_affine[1, c] = used[2, c] * moment[c], total[c]
        # What each row adds to the mean and the variance of x: a constant, and one times its distance from the mean.
        partial[0, c] = -used[3, c] * total[c] * share / num_rows
        partial[1, c] = -used[3, c] * used[2, c] ** 2 * moment[c] * share / num_rows
    for row in range(num_rows):
        for c in range(num_columns):
            passed = grad[row, c] if x[row, c] * used[3, c] + used[4, c] > 0 else np.float32(0)
            out[row, c] = passed * used[3, c] + (x[row, c] - used[0, c]) * partial[1, c] + partial[0, c]
