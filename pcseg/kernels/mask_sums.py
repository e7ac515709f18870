"""Compiled CPU loops behind `pcseg.losses.mask_sums`, float32: one pass over a mask matrix, without arrays of its size.

Loops are short and write one array each, so that the compiler vectorizes them. exp and log are polynomials, because the
library functions would not be vectorized.

Letters: x logits, w weight, k row (instance, the background last), p probability, a first query of a token, r log of
the sum of its other queries and the empty choice, z log of the whole sum, e = exp(-|x|).

Shapes, for a layer with N tokens, M queries and K instances: x and its gradient grad (N, M); row int64 (N,), the row of
the sums that each token adds to, 0..K; weights (N,); the sums log_odds, log_off and inside, and their gradients d_odds,
d_off and d_inside, (K + 1, M); first int64, rest and whole (N,): a, r and z of each token.
"""

import math
from typing import Any

import numpy as np

from pcseg.kernels import kernel

_ZERO, _HALF, _ONE, _TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
# Below this exp is smaller than any normal float32.
_LOWEST = np.float32(-87.0)
# If the other queries of a token sum to less, relative to its first, they are summed separately.
_TINY = 1e-20
_LOG2_E = np.float32(1 / math.log(2))
# ln 2 in two parts, the first exact in few bits: t - n * ln 2 loses nothing.
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(math.log(2) - 0.693359375)
_E2, _E3, _E4, _E5, _E6, _E7 = (np.float32(1 / math.factorial(n)) for n in range(2, 8))
_A3, _A5, _A7, _A9, _A11, _A13, _A15 = (np.float32(1 / n) for n in range(3, 16, 2))
_BIAS, _MANTISSA_BITS, _SIGN_BITS, _NO_SIGN = np.int32(127), np.int32(23), np.int32(31), np.int32(0x7FFFFFFF)

_OPTIONS: dict[str, Any] = {"error_model": "numpy"}
_plain = kernel(**_OPTIONS)
_contract = kernel(**_OPTIONS, fastmath={"contract"})
_reassociate = kernel(**_OPTIONS, fastmath={"contract", "reassoc", "nsz"})
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
    """2 atanh(u) for 0 <= u <= 1/3: log(1 + v) with u = v / (2 + v), -log(1 - v) with u = v / (2 - v)."""
    s = u * u
    t = _A11 + s * (_A13 + s * _A15)
    t = _A5 + s * (_A7 + s * (_A9 + s * t))
    return _TWO * u * (_ONE + s * (_A3 + s * t))


@_contract
def _exp_shifted(x, shift, out):
    """out = exp(x - shift) for x <= shift."""
    for j in range(x.shape[0]):
        out[j] = _exp(x[j] - shift)


@_reassociate
def _sum(x):
    total = _ZERO
    for j in range(x.shape[0]):
        total += x[j]
    return total


@_contract
def _add(target, weight, values):
    for j in range(target.shape[0]):
        target[j] += weight * values[j]


@_plain
def _argmax(bits):
    """Index of the maximum of float32 numbers given as int32; NaN counts as the largest.

    With the lower bits of negative ones inverted, integers have the order of floats; the index is in the low bits.
    """
    top = np.int64(-(2**63))
    for j in range(bits.shape[0]):
        key = bits[j] ^ ((bits[j] >> _SIGN_BITS) & _NO_SIGN)
        key = (np.int64(key) << np.int64(32)) | np.int64(j)
        top = key if key > top else top
    return top & np.int64(0xFFFFFFFF)


@_plain
def _second(x, first):
    """Maximum of 0 and all but the first."""
    top = _ZERO
    for j in range(x.shape[0]):
        if j != first and x[j] > top:
            top = x[j]
    return top


@_contract
def _log_off(p, out):
    """out = log(1 - p) for 0 <= p <= 0.5."""
    for j in range(p.shape[0]):
        out[j] = -_twice_atanh(p[j] / (_TWO - p[j]))


@_contract
def _add_log_odds(target, weight, x, z, log_off):
    for j in range(target.shape[0]):
        target[j] += weight * (x[j] - z - log_off[j])


@kernel(
    "f4[:,::1], i8[::1], f4[::1], f4[:,::1], f4[:,::1], f4[:,::1], i8[::1], f4[::1], f4[::1]", rare=True, **_OPTIONS
)
def softmax_forward(x, row, weights, log_odds, log_off, inside, first, rest, whole):
    """Adds one layer to the sums, all but the background of log_odds, and writes first, rest and whole.

    At most one query of a token has p > 0.5: a. 1 - p would cancel there: log(1 - p) = r - z.
    """
    num_tokens, num_queries = x.shape
    background = log_odds.shape[0] - 1
    bits = x.view(np.int32)
    p = np.empty(num_queries, np.float32)
    q = np.empty(num_queries, np.float32)
    for i in range(num_tokens):
        w = weights[i]
        if w == _ZERO:
            continue
        k = row[i]
        a = _argmax(bits[i])
        top = x[i, a]
        shift = max(top, _ZERO)
        _exp_shifted(x[i], shift, p)
        p[a] = _ZERO
        total = _sum(p) + math.exp(-shift)
        if total < _TINY:
            shift = _second(x[i], a)
            _exp_shifted(x[i], shift, p)
            p[a] = _ZERO
            total = _sum(p) + math.exp(-shift)
            r = shift + math.log(total)
            z = top + math.log1p(math.exp(r - top))
            scale, first_p = math.exp(shift - z), math.exp(top - z)
        else:
            first_e = math.exp(top - shift)
            scale = 1 / (total + first_e)
            first_p = first_e * scale
            r = shift + math.log(total)
            z = shift + math.log(total + first_e)
        for j in range(num_queries):
            p[j] *= np.float32(scale)
        _log_off(p, q)
        p[a] = first_p
        q[a] = r - z
        _add(log_off[k], w, q)
        _add(inside[k], w, p)
        if k < background:
            _add_log_odds(log_odds[k], w, x[i], np.float32(z), q)
        first[i] = a
        rest[i] = r
        whole[i] = z


@_contract
def _softmax_coefficients(share, ratio, d_odds, d_off, d_inside, h):
    for j in range(h.shape[0]):
        p = share[j] * ratio
        h[j] = d_odds[j] + p * (d_inside[j] - (d_off[j] - d_odds[j]) / (_ONE - p))


@_contract
def _softmax_gradient(weight, h, share, factor, grad):
    for j in range(h.shape[0]):
        grad[j] = weight * (h[j] + factor * share[j])


@kernel(
    "f4[:,::1], i8[::1], f4[::1], i8[::1], f4[::1], f4[::1], f4[:,::1], f4[:,::1], f4[:,::1], f4[:,::1]",
    rare=True,
    **_OPTIONS,
)
def softmax_backward(x, row, weights, first, rest, whole, d_odds, d_off, d_inside, grad):
    """Writes the gradient of one layer from the gradients of its sums and the results of `softmax_forward`.

    All terms but log(1 - p) of the first query a are h_m * (delta_mj - p_j), with h = d_odds + p * d_inside
    - (d_off - d_odds) * p / (1 - p). That one gives c * (share_j - delta_aj), with c = (d_off - d_odds) * p_a and share
    the probabilities among the other queries.
    """
    num_tokens, num_queries = x.shape
    share = np.empty(num_queries, np.float32)
    h = np.empty(num_queries, np.float32)
    for i in range(num_tokens):
        w = weights[i]
        if w == _ZERO:
            for j in range(x.shape[1]):
                grad[i, j] = _ZERO
            continue
        k, a, r, z = row[i], first[i], rest[i], whole[i]
        _exp_shifted(x[i], r, share)
        share[a] = _ZERO
        ratio = np.float32(math.exp(r - z))
        _softmax_coefficients(share, ratio, d_odds[k], d_off[k], d_inside[k], h)
        first_p = np.float32(math.exp(x[i, a] - z))
        h[a] += first_p * d_inside[k, a]
        total = _sum(h)
        c = (d_off[k, a] - d_odds[k, a]) * first_p
        _softmax_gradient(w, h, share, c - ratio * total, grad[i])
        grad[i, a] = w * (h[a] - first_p * total - c)


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
    """Adds one layer to the sums, all but the background of log_odds."""
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
    """Writes the gradient of one layer from the gradients of its sums."""
    e = np.empty(x.shape[1], np.float32)
    for i in range(x.shape[0]):
        if weights[i] == _ZERO:
            for j in range(x.shape[1]):
                grad[i, j] = _ZERO
        else:
            k = row[i]
            _exp_minus_abs(x[i], e)
            _sigmoid_gradient(weights[i], x[i], e, d_odds[k], d_off[k], d_inside[k], grad[i])
