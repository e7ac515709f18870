"""The steps of over-segmentation, each in its most obvious form."""

import numpy as np


def nearest_in_cells(nodes: np.ndarray, num_neighbors: int) -> np.ndarray:
    distance = np.linalg.norm(nodes[:, None] - nodes[None], axis=2)
    return np.argsort(distance, axis=1, kind="stable")[:, :num_neighbors].astype(np.int32)


def plane_normals(xyz: np.ndarray, neighbors: np.ndarray) -> np.ndarray:
    covariances = [np.cov(points.T, bias=True) for points in xyz[neighbors].astype(np.float64)]
    return np.linalg.eigh(covariances)[1][:, :, 0]


def neighbor_edges(neighbors: np.ndarray, k: int) -> set[frozenset[int]]:
    return {frozenset((i, j)) for i, near in enumerate(neighbors[:, :k].tolist()) for j in near if i != j}


def edge_weights(xyz, normals, colors, tail, head, color_weight, offset_weight) -> np.ndarray:
    along, apart = xyz[head] - xyz[tail], np.linalg.norm(colors[tail] - colors[head], axis=1)
    steps = np.maximum(*(np.abs((normals[ends] * along).sum(axis=1)) for ends in (tail, head)))
    bend = 1 - np.abs((normals[tail] * normals[head]).sum(axis=1))
    return bend + color_weight * apart + offset_weight * steps


def merge_graph(num_nodes, edges, block, threshold, min_size) -> list[set[int]]:
    """edges: (weight, tail, head) in the order of merging, weights in single precision."""
    members = {i: {i} for i in range(num_nodes)}
    owner = list(range(num_nodes))
    limit = [np.float32(threshold)] * num_nodes

    def join(a: int, b: int) -> None:
        for i in members[b]:
            owner[i] = a
        members[a] |= members.pop(b)

    for weight, tail, head in edges:
        a, b = owner[tail], owner[head]
        if a != b and weight <= limit[a] and weight <= limit[b] and block[a] == block[b]:
            join(a, b)
            limit[a] = np.float32(weight + np.float32(threshold) / np.float32(len(members[a])))
    for _, tail, head in edges:
        a, b = owner[tail], owner[head]
        if a != b and min(len(members[a]), len(members[b])) < min_size:
            join(a, b)
    return sorted(members.values(), key=min)


def oracle_miou(superpoint: np.ndarray, instance: np.ndarray) -> float:
    predicted = np.zeros_like(instance)
    for s in np.unique(superpoint):
        ids, counts = np.unique(instance[superpoint == s], return_counts=True)
        predicted[superpoint == s] = ids[counts.argmax()]
    ids = [i for i in np.unique(instance) if i != 0]
    ious = [((predicted == i) & (instance == i)).sum() / ((predicted == i) | (instance == i)).sum() for i in ids]
    return float(np.mean(ious))
