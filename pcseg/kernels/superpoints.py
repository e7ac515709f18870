"""Compiled loops behind `pcseg.ops.superpoints`."""

import numpy as np

from pcseg.kernels import kernel


@kernel()
def _find(parent, x):
    """Root of x in a union-find forest, halving the path on the way."""
    while parent[x] != x:
        parent[x] = parent[parent[x]]
        x = parent[x]
    return x


def merge_graph(num_nodes, tail, head, weight, order, block, threshold, min_size):
    """Felzenszwalb-Huttenlocher; only components smaller than min_size are merged across the borders of blocks.

    Args:
        num_nodes: number of nodes.
        tail: int32 (E,), one end of each edge.
        head: int32 (E,), its other end.
        weight: float32 (E,).
        order: uint32 (E,), edges from light to heavy.
        block: int64 (num_nodes,).
        threshold: k of the merging criterion.
        min_size: least number of nodes in a component, if there is a neighbor to merge with.

    Returns:
        int32 (num_nodes,), components numbered 0.. in the order of their first node.
    """
    parent, size = np.arange(num_nodes, dtype=np.int32), np.ones(num_nodes, np.int32)
    limit, component = np.full(num_nodes, threshold, np.float32), np.full((2, num_nodes), -1, np.int32)
    edges = (tail, head, weight, order, np.empty_like(order))
    _merge_graph(*edges, block, np.float32(threshold), min_size, parent, size, limit, *component)
    return component[0]


@kernel("i4[::1], i4[::1], f4[::1], u4[::1], u4[::1], i8[::1], f4, i8, i4[::1], i4[::1], f4[::1], i4[::1], i4[::1]")
def _merge_graph(tail, head, weight, order, left, block, threshold, min_size, parent, size, limit, component, number):
    num_left = 0  # edges between components, the only ones that the second pass needs
    for k in range(len(order)):
        e = order[k]
        a, b = _find(parent, tail[e]), _find(parent, head[e])
        if a == b:
            continue
        if weight[e] <= limit[a] and weight[e] <= limit[b] and block[a] == block[b]:
            if size[a] < size[b]:
                a, b = b, a
            parent[b] = a
            size[a] += size[b]
            limit[a] = weight[e] + threshold / np.float32(size[a])
        else:
            left[num_left] = e
            num_left += 1
    for k in range(num_left):
        e = left[k]
        a, b = _find(parent, tail[e]), _find(parent, head[e])
        if a != b and (size[a] < min_size or size[b] < min_size):
            if size[a] < size[b]:
                a, b = b, a
            parent[b] = a
            size[a] += size[b]
    num_components = 0
    for i in range(len(parent)):
        root = _find(parent, i)
        if number[root] < 0:
            number[root] = num_components
            num_components += 1
        component[i] = number[root]


@kernel()
def _first_from(keys, key):
    """Position of the first of the ascending keys that is not below this one."""
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) >> 1
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


@kernel()
def _find_rows(keys, key, steps, row):
    """Writes the positions of the points in the 9 rows of cells around a cell, and returns their number."""
    num_points = 0
    for r in range(9):
        # The middle row first: most of the nearest are there, and later ones are rejected at once.
        middle = key + (r % 3 - 3 * (r % 3 == 2)) * steps[0] + (r // 3 - 3 * (r // 3 == 2)) * steps[1]
        row[r, 0] = _first_from(keys, middle - 1)
        row[r, 1] = _first_from(keys, middle + 2)
        num_points += row[r, 1] - row[r, 0]
    return num_points


def nearest_in_cells(xyz, cell, keys, steps, origin, size, num_neighbors):
    """The nearest points of each point, itself first, among the 27 cells around it.

    Args:
        xyz: float32 (P, 3), sorted by `keys`.
        cell: int32 (P, 3), cell of each point.
        keys: int64 (P,), number of the cell, with a free one between any two rows of cells.
        steps: int64 (2,), growth of the number along x and y; it grows by 1 along z.
        origin: float64 (3,), corner of cell (0, 0, 0).
        size: edge length of a cell.
        num_neighbors: k.

    Returns:
        int32 (P, k), and bool (P,): False if there may be nearer points outside of these cells.
    """
    found, complete = np.empty((len(xyz), num_neighbors), np.int32), np.zeros(len(xyz), np.bool_)
    cells = np.flatnonzero(np.diff(keys, append=-1))
    most = min(len(xyz), 27 * int(np.diff(cells, prepend=-1).max(initial=0)))  # points in 27 cells
    work = (np.empty((9, 2), np.int64), np.empty(most, np.int32), np.empty((3, most), np.float32))
    work = (*work, np.empty(most, np.float32), np.empty(num_neighbors, np.float32))
    _nearest_in_cells(xyz, np.ascontiguousarray(xyz.T), cell, keys, steps, origin, size, *work, found, complete)
    return found, complete


@kernel(
    "f4[:,::1], f4[:,::1], i4[:,::1], i8[::1], i8[::1], f8[::1], f8, "
    "i8[:,::1], i4[::1], f4[:,::1], f4[::1], f4[::1], i4[:,::1], b1[::1]"
)
def _nearest_in_cells(
    xyz, column, cell, keys, steps, origin, size, row, candidate, place, square, nearest, found, complete
):
    num_neighbors = len(nearest)
    start = 0
    while start < len(xyz):
        end = start + 1
        while end < len(xyz) and keys[end] == keys[start]:
            end += 1
        num_candidates = _find_rows(keys, keys[start], steps, row)
        c = 0
        for r in range(9):
            for j in range(row[r, 0], row[r, 1]):
                candidate[c] = j
                place[0, c], place[1, c], place[2, c] = column[0, j], column[1, j], column[2, j]
                c += 1
        for i in range(start, end):
            x, y, z = column[0, i], column[1, i], column[2, i]
            for c in range(num_candidates):
                dx, dy, dz = place[0, c] - x, place[1, c] - y, place[2, c] - z
                square[c] = dx * dx + dy * dy + dz * dz
            for c in range(num_neighbors):
                nearest[c] = np.inf
            worst = nearest[num_neighbors - 1]
            for c in range(num_candidates):
                if square[c] < worst:
                    at = num_neighbors - 1
                    while at > 0 and nearest[at - 1] > square[c]:
                        nearest[at] = nearest[at - 1]
                        found[i, at] = found[i, at - 1]
                        at -= 1
                    nearest[at] = square[c]
                    found[i, at] = candidate[c]
                    worst = nearest[num_neighbors - 1]
            border = np.inf  # distance to the border of the 27 cells
            for axis in range(3):
                inside = xyz[i, axis] - (origin[axis] + cell[i, axis] * size)
                border = min(border, size + min(inside, size - inside))
            complete[i] = np.sqrt(worst) <= border
        start = end


@kernel(error_model="numpy")
def smallest_eigenvalue(matrix):
    """Smallest eigenvalue of a symmetric 3x3 matrix (xx, yy, zz, xy, xz, yz) in closed form, and the spread of all."""
    xx, yy, zz, xy, xz, yz = matrix
    q = (xx + yy + zz) / 3
    squares = (xx - q) * (xx - q) + (yy - q) * (yy - q) + (zz - q) * (zz - q)
    p = np.sqrt((squares + 2 * (xy * xy + xz * xz + yz * yz)) / 6)
    if p <= 0:
        return q, p
    a, b, c = (xx - q) / p, (yy - q) / p, (zz - q) / p
    d, e, f = xy / p, xz / p, yz / p
    half_det = (a * (b * c - f * f) - d * (d * c - f * e) + e * (d * f - b * e)) / 2
    return q + 2 * p * np.cos(np.arccos(min(1.0, max(-1.0, half_det))) / 3 + 2 * np.pi / 3), p


def plane_normals(xyz, neighbors):
    """Unit normal of the plane through each point's neighbors: the eigenvector of the smallest eigenvalue.

    Args:
        xyz: float32 (P, 3), points.
        neighbors: int32 (P, k), neighbors of each point.

    Returns:
        float32 (P, 3), zeros if the neighbors are on a line.
    """
    normals = np.zeros((len(neighbors), 3), np.float32)
    _plane_normals(xyz, neighbors, normals)
    return normals


@kernel("f4[:,::1], i4[:,::1], f4[:,::1]", error_model="numpy")
def _plane_normals(xyz, neighbors, normals):
    num_points, k = neighbors.shape
    for i in range(num_points):
        # Relative to the point itself: large coordinates would cancel.
        mx = my = mz = xx = yy = zz = xy = xz = yz = 0.0
        for c in range(k):
            j = neighbors[i, c]
            x = np.float64(xyz[j, 0]) - xyz[i, 0]
            y = np.float64(xyz[j, 1]) - xyz[i, 1]
            z = np.float64(xyz[j, 2]) - xyz[i, 2]
            mx, my, mz = mx + x, my + y, mz + z
            xx, yy, zz = xx + x * x, yy + y * y, zz + z * z
            xy, xz, yz = xy + x * y, xz + x * z, yz + y * z
        xx, yy, zz = xx - mx * mx / k, yy - my * my / k, zz - mz * mz / k
        xy, xz, yz = xy - mx * my / k, xz - mx * mz / k, yz - my * mz / k
        q = (xx + yy + zz) / 3
        smallest, spread = smallest_eigenvalue((xx, yy, zz, xy, xz, yz))
        if q <= 0 or spread <= 1e-9 * q:
            continue
        xx, yy, zz = xx - smallest, yy - smallest, zz - smallest
        # Two rows of (covariance - eigenvalue) span the plane; the pair with the largest cross product is safest.
        best = 1e-20 * (q * q * (q * q))
        for x, y, z in (
            (xy * yz - xz * yy, xz * xy - xx * yz, xx * yy - xy * xy),
            (xy * zz - xz * yz, xz * xz - xx * zz, xx * yz - xy * xz),
            (yy * zz - yz * yz, yz * xz - xy * zz, xy * yz - yy * xz),
        ):
            square = x * x + y * y + z * z
            if square > best:
                best, s = square, 1 / np.sqrt(square)
                normals[i, 0], normals[i, 1], normals[i, 2] = x * s, y * s, z * s


def neighbor_edges(neighbors, k):
    """Edges between each point and its k nearest, each undirected edge once.

    Args:
        neighbors: int32 (P, k or more), neighbors of each point, the nearest first.
        k: number of neighbors that count.

    Returns:
        int32 (E,) and (E,), the two ends of each edge.
    """
    tail, head = np.empty((2, len(neighbors) * k), np.int32)
    num_edges = _neighbor_edges(neighbors, k, tail, head)
    return tail[:num_edges].copy(), head[:num_edges].copy()


@kernel("i4[:,::1], i8, i4[::1], i4[::1]")
def _neighbor_edges(neighbors, k, tail, head):
    num_edges = 0
    for i in range(len(neighbors)):
        for c in range(k):
            j = neighbors[i, c]
            listed = j == i
            if j < i:
                for m in range(k):
                    listed |= neighbors[j, m] == i
            if not listed:
                tail[num_edges] = i
                head[num_edges] = j
                num_edges += 1
    return num_edges


def edge_weights(xyz, normals, colors, tail, head, color_weight, offset_weight):
    """1 - |cosine between normals| + color_weight * distance of colors + offset_weight * step of each edge.

    The step is the distance of one end to the plane of the other: parallel surfaces have the same normal.

    Args:
        xyz: float32 (P, 3).
        normals: float32 (P, 3), unit length.
        colors: float32 (P, 3); read only if color_weight is above 0.
        tail: int32 (E,), one end of each edge.
        head: int32 (E,), its other end.
        color_weight: factor of the distance of colors.
        offset_weight: factor of the step.

    Returns:
        float32 (E,).
    """
    weight = np.empty(len(tail), np.float32)
    _weigh_edges(xyz, normals, colors, tail, head, color_weight, offset_weight, weight)
    return weight


@kernel("f4[:,::1], f4[:,::1], f4[:,::1], i4[::1], i4[::1], f8, f8, f4[::1]")
def _weigh_edges(xyz, normals, colors, tail, head, color_weight, offset_weight, weight):
    for e in range(len(tail)):
        i, j = tail[e], head[e]
        cosine = off_i = off_j = square = 0.0
        for c in range(3):
            cosine += normals[i, c] * normals[j, c]
            along = xyz[j, c] - xyz[i, c]
            off_i += normals[i, c] * along
            off_j += normals[j, c] * along
        w = max(0.0, 1.0 - abs(cosine)) + offset_weight * max(abs(off_i), abs(off_j))
        if color_weight > 0:
            for c in range(3):
                square += (colors[i, c] - colors[j, c]) * (colors[i, c] - colors[j, c])
            w += color_weight * np.sqrt(square)
        weight[e] = w


def mesh_graph(xyz, faces):
    """Edges of the triangles with ScanNet's weights, all in single precision as in its program.

    Vertex normals are running means of face normals; convex edges have their weight squared. Faces without area have no
    normal: they and their edges are left out.

    Args:
        xyz: float32 (P, 3).
        faces: int32 (F, 3).

    Returns:
        int32 (E,), int32 (E,) and float32 (E,): both ends and the weight of each edge.
    """
    normal, num_faces = np.zeros((len(xyz), 3), np.float32), np.zeros(len(xyz), np.int32)
    tail, head = np.empty((2, 3 * len(faces)), np.int32)
    weight = np.empty(3 * len(faces), np.float32)
    num_edges = _mesh_graph(xyz, faces, normal, num_faces, tail, head, weight)
    return tail[:num_edges].copy(), head[:num_edges].copy(), weight[:num_edges].copy()


@kernel("f4[:,::1], i4[:,::1], f4[:,::1], i4[::1], i4[::1], i4[::1], f4[::1]", rare=True, error_model="numpy")
def _mesh_graph(xyz, faces, normal, num_faces, tail, head, weight):
    one = np.float32(1)
    num_edges = 0
    for f in range(len(faces)):
        # Scalars: an array for each face would cost more than all the arithmetic.
        i, j, k = faces[f, 0], faces[f, 1], faces[f, 2]
        ux, uy, uz = xyz[j, 0] - xyz[i, 0], xyz[j, 1] - xyz[i, 1], xyz[j, 2] - xyz[i, 2]
        vx, vy, vz = xyz[k, 0] - xyz[i, 0], xyz[k, 1] - xyz[i, 1], xyz[k, 2] - xyz[i, 2]
        gx, gy, gz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        length = np.sqrt(gx * gx + gy * gy + gz * gz)
        if not (length > 0 and np.isfinite(length)):
            continue
        gx, gy, gz = gx / length, gy / length, gz / length
        for c in range(3):
            m = faces[f, c]
            t = one / np.float32(num_faces[m] + 1)
            normal[m, 0] = t * gx + (one - t) * normal[m, 0]
            normal[m, 1] = t * gy + (one - t) * normal[m, 1]
            normal[m, 2] = t * gz + (one - t) * normal[m, 2]
            num_faces[m] += 1
        tail[num_edges], head[num_edges] = i, j
        tail[num_edges + 1], head[num_edges + 1] = i, k
        tail[num_edges + 2], head[num_edges + 2] = k, j
        num_edges += 3
    for e in range(num_edges):
        a, b = tail[e], head[e]
        # The direction is normalized before the product: its sign decides, and on flat parts rounding decides the sign.
        dx, dy, dz = xyz[b, 0] - xyz[a, 0], xyz[b, 1] - xyz[a, 1], xyz[b, 2] - xyz[a, 2]
        length = np.sqrt(dx * dx + dy * dy + dz * dz)
        w = one - (normal[a, 0] * normal[b, 0] + normal[a, 1] * normal[b, 1] + normal[a, 2] * normal[b, 2])
        if normal[b, 0] * (dx / length) + normal[b, 1] * (dy / length) + normal[b, 2] * (dz / length) > 0:
            w = w * w
        weight[e] = w
    return num_edges
