"""Merging neighboring regions, every cost from the points themselves."""

import numpy as np


def merge_regions(region, edges, xyz, colors, max_regions) -> list[set[int]]:
    """edges: (weight, tail, head) between points; returns the regions that each merged one consists of."""
    members = {r: {r} for r in np.unique(region).tolist()}

    def points(a: int) -> np.ndarray:
        return np.isin(region, list(members[a]))

    def residual(inside: np.ndarray) -> float:
        """Sum of squared distances to the plane through the points."""
        centered = xyz[inside] - xyz[inside].mean(axis=0)
        return float(np.linalg.eigvalsh(centered.T @ centered)[0])

    def cost(a: int, b: int) -> float:
        inside = points(a), points(b)
        ways = ((members[a], members[b]), (members[b], members[a]))
        crossing = [w for w, t, h in edges if any(region[t] in one and region[h] in other for one, other in ways)]
        if not crossing:
            return np.inf
        n, m = (int(i.sum()) for i in inside)
        size = n * m / (n + m)
        bend = residual(inside[0] | inside[1]) - residual(inside[0]) - residual(inside[1])
        color = ((colors[inside[0]].mean(axis=0) - colors[inside[1]].mean(axis=0)) ** 2).sum()
        spread = ((xyz[inside[0]].mean(axis=0) - xyz[inside[1]].mean(axis=0)) ** 2).sum()
        return size**0.7 * (bend / size + 100 * color + 0.003 * spread + 4 * np.mean(crossing))

    while len(members) > 1:
        names = sorted(members)
        pairs = [(cost(a, b), a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        lowest, a, b = min(pairs)
        if lowest == np.inf or (len(members) <= max_regions and lowest >= 1):
            break
        members[a] |= members.pop(b)
    return sorted(members.values(), key=min)
