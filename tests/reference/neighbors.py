"""Kernel maps from a dictionary of voxels."""

import itertools


def submanifold_pairs(coords: list[list[int]]) -> list[set[tuple[int, int]]]:
    """Pairs (input, output) of each offset."""
    rows = {tuple(c): i for i, c in enumerate(coords)}
    found = []
    for offset in itertools.product((-1, 0, 1), repeat=3):
        sources = [rows.get((b, *(c + o for c, o in zip(cell, offset)))) for b, *cell in coords]
        found.append({(j, i) for i, j in enumerate(sources) if j is not None})
    return found


def downsample_pairs(coords: list[list[int]], coarse: list[list[int]]) -> list[set[tuple[int, int]]]:
    """Pairs (fine, coarse) of each place in a coarse voxel."""
    rows = {tuple(c): i for i, c in enumerate(coarse)}
    found: list[set[tuple[int, int]]] = [set() for _ in range(8)]
    for i, (b, x, y, z) in enumerate(coords):
        found[x % 2 * 4 + y % 2 * 2 + z % 2].add((i, rows[b, x // 2, y // 2, z // 2]))
    return found
