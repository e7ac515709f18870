"""Compiled CPU loops behind `pcseg.losses.mask_sums`: sigmoid masks, float32, no arrays of the size of a mask matrix.

Loops are short and write one array each, so that the compiler vectorizes them. exp and log are polynomials, because the
library functions would not be vectorized.

Letters: x logits, w weight, k row (instance, the background last), p probability, e = exp(-|x|).

Shapes, for a layer with N tokens, M queries and K instances:

* (N, M): x and its gradient grad
* (N,): weights, and row (int64), the row of the sums that each token adds to, 0..K
* (K + 1, M): the sums log_odds, log_off and inside, and their gradients d_odds, d_off and d_inside
"""

import math
from typing import Any

import numpy as np

from pcseg.kernels import kernel

_ZERO, _HALF, _ONE, _TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
# Below this exp is smaller than any normal float32.
_LOWEST = np.float32(-87.0)
_LOG2_E = np.float32(1 / math.log(2))
# ln 2 in two parts, the first exact in few bits: t - n * ln 2 loses nothing.
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(math.log(2) - 0.693359375)
_E2, _E3, _E4, _E5, _E6, _E7 = (np.float32(1 / math.factorial(n)) for n in range(2, 8))
_A3, _A5, _A7, _A9, _A11, _A13, _A15 = (np.float32(1 / n) for n in range(3, 16, 2))
_BIAS, _MANTISSA_BITS = np.int32(127), np.int32(23)

_OPTIONS: dict[str, Any] = {"error_model": "numpy"}
_contract = kernel(**_OPTIONS, fastmath={"contract"})
_inline = kernel(**_OPTIONS, fastmath={"contract"}, inline="always")


@_inline
def _exp(t):
    """exp(t) for t <= 0, 1e-7 relative; NaN stays NaN."""
    t = _LOWEST if t < _LOWEST else t
    n = np.int32(t * _LOG2_E - _HALF)
    f = np.float32(n)
    r = (t - f * _LN2_HIGH) - f * _LN2_LOW
    s = _E5 + r * (_E6 + r * _E7)
    s = _E2 + r * (_E3 + r * (_E4 + r * s))
    power = np.int32((n + _BIAS) << _MANTISSA_BITS).view(np.float32)
    return (_ONE + r * (_ONE + r * s)) * power


@_inline
def _twice_atanh(u):
    """2 atanh(u) for 0 <= u <= 1/3: log(1 + v) with u = v / (2 + v)."""
    s = u * u
    t = _A11 + s * (_A13 + s * _A15)
    t = _A5 + s * (_A7 + s * (_A9 + s * t))
    return _TWO * u * (_ONE + s * (_A3 + s * t))


@_contract
def _add(target, weight, values):
    for j in range(target.shape[0]):
        target[j] += weight * values[j]


@_contract
def _exp_minus_abs(x, out):
    for j in range(x.shape[0]):
        out[j] = _exp(-abs(x[j]))


@_contract
def _add_log_off(target, weight, x, e):
    """Add log(1 - p), minus the softplus of x."""
    for j in range(target.shape[0]):
        target[j] -= weight * ((x[j] if x[j] > _ZERO else _ZERO) + _twice_atanh(e[j] / (_TWO + e[j])))


@_contract
def _add_sigmoid(target, weight, x, e):
    """Add p, the sigmoid of x."""
    for j in range(target.shape[0]):
        target[j] += weight * ((_ONE if x[j] > _ZERO else e[j]) / (_ONE + e[j]))


@kernel("f4[:,::1], i8[::1], f4[::1], f4[:,::1], f4[:,::1], f4[:,::1]", **_OPTIONS)
def sigmoid_forward(x, row, weights, log_odds, log_off, inside):
    """Adds one layer to the sums, all but the background of log_odds. Tokens of weight 0 are skipped.

    Args:
        x: float32 (N, M), logits.
        row: int64 (N,), row of the sums for each token, 0..K.
        weights: float32 (N,), weight of each token.
        log_odds: float32 (K + 1, M), gets the sums of x.
        log_off: float32 (K + 1, M), gets the sums of log(1 - p).
        inside: float32 (K + 1, M), gets the sums of p.
    """
    num_tokens, num_queries = x.shape
    background = log_odds.shape[0] - 1
    e = np.empty(num_queries, np.float32)
    for i in range(num_tokens):
        w = weights[i]
        if w == _ZERO:
            continue
        k = row[i]
        _exp_minus_abs(x[i], e)
        _add_log_off(log_off[k], w, x[i], e)
        _add_sigmoid(inside[k], w, x[i], e)
        if k < background:
            _add(log_odds[k], w, x[i])


@_contract
def _sigmoid_gradient(weight, x, e, d_odds, d_off, d_inside, grad):
    """Gradient of x."""
    for j in range(x.shape[0]):
        larger = _ONE / (_ONE + e[j])
        smaller = e[j] * larger
        p = larger if x[j] > _ZERO else smaller
        grad[j] = weight * (d_odds[j] - d_off[j] * p + d_inside[j] * larger * smaller)


@kernel("f4[:,::1], i8[::1], f4[::1], f4[:,::1], f4[:,::1], f4[:,::1], f4[:,::1]", **_OPTIONS)
def sigmoid_backward(x, row, weights, d_odds, d_off, d_inside, grad):
    """Writes the gradient of one layer from the gradients of its sums.

    Args:
        x: float32 (N, M), logits.
        row: int64 (N,), row of the sums for each token, 0..K.
        weights: float32 (N,), weight of each token.
        d_odds: float32 (K + 1, M), gradient of log_odds.
        d_off: float32 (K + 1, M), gradient of log_off.
        d_inside: float32 (K + 1, M), gradient of inside.
        grad: float32 (N, M), gets the gradient of x.
    """
    e = np.empty(x.shape[1], np.float32)
    for i in range(x.shape[0]):
        if weights[i] == _ZERO:
            for j in range(x.shape[1]):
                grad[i, j] = _ZERO
        else:
            k = row[i]
            _exp_minus_abs(x[i], e)
            _sigmoid_gradient(weights[i], x[i], e, d_odds[k], d_off[k], d_inside[k], grad[i])
