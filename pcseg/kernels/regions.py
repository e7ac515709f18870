"""Compiled loops that merge neighboring regions of a cloud until few enough are left."""

import numpy as np

from pcseg.kernels import kernel
from pcseg.kernels.superpoints import smallest_eigenvalue

# Weights per point, against the squared distance to the common plane in voxels.
COLOR_WEIGHT = 100.0  # of the squared distance of mean colors, in 0..1
SPREAD_WEIGHT = 0.003  # of the squared distance of centers in voxels: regions stay compact if nothing else decides
BOUNDARY_WEIGHT = 4.0  # of the mean weight of the edges that cross the border
SIZE_POWER = 0.7  # of the size of a pair: 1 is Ward's criterion, which would swallow small objects; 0 ignores the size
LEAST_COST = 1.0  # cheaper pairs are always merged, so that a small scan is cut no finer than a whole room


@kernel()
def _plane_residual(sums, a, b):
    """Sum of squared distances of the points of regions a and b to their common plane; b may be a."""
    share = 0.0 if a == b else 1.0
    n = sums[a, 0] + share * sums[b, 0]
    x, y, z = sums[a, 1] + share * sums[b, 1], sums[a, 2] + share * sums[b, 2], sums[a, 3] + share * sums[b, 3]
    xx = sums[a, 4] + share * sums[b, 4] - x * x / n
    yy = sums[a, 5] + share * sums[b, 5] - y * y / n
    zz = sums[a, 6] + share * sums[b, 6] - z * z / n
    xy = sums[a, 7] + share * sums[b, 7] - x * y / n
    xz = sums[a, 8] + share * sums[b, 8] - x * z / n
    yz = sums[a, 9] + share * sums[b, 9] - y * z / n
    return max(0.0, smallest_eigenvalue((xx, yy, zz, xy, xz, yz))[0])


@kernel()
def _merging_cost(a, b, sums, residual, boundary):
    """Cost of merging two regions: their difference times a power of their size."""
    size_a, size_b = sums[a, 0], sums[b, 0]
    size = size_a * size_b / (size_a + size_b)
    color = spread = 0.0
    for c in range(3):
        difference = sums[a, 10 + c] / size_a - sums[b, 10 + c] / size_b
        color += difference * difference
        difference = sums[a, 1 + c] / size_a - sums[b, 1 + c] / size_b
        spread += difference * difference
    bend = max(0.0, _plane_residual(sums, a, b) - residual[a] - residual[b])
    unlike = bend / size + COLOR_WEIGHT * color + SPREAD_WEIGHT * spread + BOUNDARY_WEIGHT * boundary
    return unlike * size**SIZE_POWER


@kernel()
def _cheapest_pair(region, first, following, cost):
    """The cheapest pair of a region, -1 if there is none."""
    best = -1
    entry = first[region]
    while entry >= 0:
        if cost[entry // 2] < np.inf and (best < 0 or cost[entry // 2] < cost[best]):
            best = entry // 2
        entry = following[entry]
    return best


@kernel()
def _merge_into(a, b, end, weight_sum, num_edges, cost, first, last, following, sums, residual, pair_with):
    """Merges region b into region a; the two pairs of a common neighbor become one. pair_with is -1 everywhere."""
    for c in range(sums.shape[1]):
        sums[a, c] += sums[b, c]
    residual[a] = _plane_residual(sums, a, a)
    entry = first[b]
    while entry >= 0:
        end[entry] = a
        entry = following[entry]
    following[last[a]] = first[b]
    last[a] = last[b]
    previous, entry = -1, first[a]
    while entry >= 0:
        e, other = entry // 2, end[entry ^ 1]
        if cost[e] < np.inf and pair_with[other] >= 0:
            weight_sum[pair_with[other]] += weight_sum[e]
            num_edges[pair_with[other]] += num_edges[e]
            cost[e] = np.inf
        elif cost[e] < np.inf:
            pair_with[other] = e
            if previous < 0:
                first[a] = entry
            else:
                following[previous] = entry
            previous = entry
        entry = following[entry]
    if previous < 0:  # nothing borders on it any more
        first[a] = -1
        return
    following[previous] = -1
    last[a] = previous
    entry = first[a]
    while entry >= 0:
        e = entry // 2
        pair_with[end[entry ^ 1]] = -1
        cost[e] = _merging_cost(end[2 * e], end[2 * e + 1], sums, residual, weight_sum[e] / num_edges[e])
        entry = following[entry]


@kernel()
def _rank(region, key, winner):
    """Updates the winners of a tournament, the regions of least key, after the key of a region has changed."""
    node = (len(key) + region) // 2
    while node > 0:
        left, right = winner[2 * node], winner[2 * node + 1]
        winner[node] = left if key[left] <= key[right] else right
        node //= 2


def merge_regions(ends, weight_sum, num_edges, sums, max_regions):
    """Merges the cheapest pair of neighbors while there are more than max_regions, or while its cost is small.

    Args:
        ends: int64 (E, 2), the regions of each pair of neighbors, unique pairs; overwritten.
        weight_sum: float64 (E,), sum of the weights of the edges between them; overwritten.
        num_edges: int64 (E,), number of these edges; overwritten.
        sums: float64 (R, 13), sums over the points of each region: 1, x, y, z, xx, yy, zz, xy, xz, yz, and color
            channels, 0 without colors; overwritten.
        max_regions: number of regions to reach.

    Returns:
        int64 (R,), number of the merged region of each region, taken from one of its parts.
    """
    num_regions = len(sums)
    width = 1 << (num_regions - 1).bit_length()
    first, last, pair_with, best = np.full((4, num_regions), -1)
    winner = np.concatenate([np.zeros(width, np.int64), np.arange(width)])
    key, owner, following = np.full(width, np.inf), np.arange(num_regions), np.full(ends.size, -1)
    pairs = (ends.reshape(-1), weight_sum, num_edges, np.empty(len(ends)), first, last, following)
    _merge_all(*pairs, sums, np.empty(num_regions), pair_with, best, key, winner, owner, max_regions)
    return owner


@kernel(
    "i8[::1], f8[::1], i8[::1], f8[::1], i8[::1], i8[::1], i8[::1], "
    "f8[:,::1], f8[::1], i8[::1], i8[::1], f8[::1], i8[::1], i8[::1], i8"
)
def _merge_all(
    end, weight_sum, num_edges, cost, first, last, following, sums, residual, pair_with, best, key, winner, owner, limit
):
    """Entries 2 e and 2 e + 1 of `end` are the regions of pair e; those of a region are linked.

    Of each pair: weight_sum, num_edges, and cost, which is written and infinite if it is removed. Of each region: first
    and last entry, sums, residual (written), pair_with (-1), the cheapest pair best (written), key, and owner, itself
    (written). A key is infinite and becomes the cost of the cheapest pair as far as it is known. Of each entry:
    following, the entry after it. There is -1 for none. `winner` is the tournament of the regions by their keys,
    `limit` their number to reach.
    """
    for entry in range(len(end)):
        region = end[entry]
        if first[region] < 0:
            last[region] = entry
        following[entry] = first[region]
        first[region] = entry
    num_regions = len(sums)
    for region in range(num_regions):
        residual[region] = _plane_residual(sums, region, region)
    for e in range(len(cost)):
        cost[e] = _merging_cost(end[2 * e], end[2 * e + 1], sums, residual, weight_sum[e] / num_edges[e])
    # A key is the cost of the cheapest pair when it was looked up. If that pair is gone or more expensive by its turn,
    # it is looked up again; a pair that became cheaper is the pair of the region whose merging changed it.
    for region in range(num_regions):
        best[region] = _cheapest_pair(region, first, following, cost)
        if best[region] >= 0:
            key[region] = cost[best[region]]
            _rank(region, key, winner)
    while key[winner[1]] < np.inf:
        region = winner[1]
        lowest, e = key[region], best[region]
        if num_regions <= limit and lowest >= LEAST_COST:
            break
        if cost[e] == lowest:
            region, other = end[2 * e], end[2 * e + 1]
            cost[e] = np.inf
            _merge_into(
                region, other, end, weight_sum, num_edges, cost, first, last, following, sums, residual, pair_with
            )
            num_regions -= 1
            owner[other] = region
            key[other] = np.inf
            _rank(other, key, winner)
        best[region] = _cheapest_pair(region, first, following, cost)
        key[region] = cost[best[region]] if best[region] >= 0 else np.inf
        _rank(region, key, winner)
    for region in range(len(owner)):
        while owner[owner[region]] != owner[region]:
            owner[region] = owner[owner[region]]
