"""Compiled loops of synthetic rooms: points on surface patches, and depth maps around a position."""

import numpy as np

from pcseg.kernels import kernel

QUAD, TUBE, ELLIPSOID = 0, 1, 2


@kernel()
def _evaluate(kind, f, e, u, v):
    """Point and normal (not of unit length) of one patch at (u, v); the normal is du × dv and points outwards."""
    if kind == QUAD:
        ax, ay, az = f[1, 0] + v * f[3, 0], f[1, 1] + v * f[3, 1], f[1, 2] + v * f[3, 2]
        bx, by, bz = f[2, 0] + u * f[3, 0], f[2, 1] + u * f[3, 1], f[2, 2] + u * f[3, 2]
        x = f[0, 0] + u * ax + v * f[2, 0]
        y = f[0, 1] + u * ay + v * f[2, 1]
        z = f[0, 2] + u * az + v * f[2, 2]
        if e[0] != 0.0 or e[1] != 0.0:
            nx = f[1, 1] * f[2, 2] - f[1, 2] * f[2, 1]
            ny = f[1, 2] * f[2, 0] - f[1, 0] * f[2, 2]
            nz = f[1, 0] * f[2, 1] - f[1, 1] * f[2, 0]
            length = np.sqrt(nx * nx + ny * ny + nz * nz)
            nx, ny, nz = nx / length, ny / length, nz / length
            p, q = 2 * u - 1, 2 * v - 1
            fu, fv = 1 - p**4, 1 - q**4
            h = e[0] * fu * fv + e[1] * (1 - p * p)
            hu = -8 * e[0] * p**3 * fv - 4 * e[1] * p
            hv = -8 * e[0] * q**3 * fu
            x, y, z = x + h * nx, y + h * ny, z + h * nz
            ax, ay, az = ax + hu * nx, ay + hu * ny, az + hu * nz
            bx, by, bz = bx + hv * nx, by + hv * ny, bz + hv * nz
        return x, y, z, ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    if kind == TUBE:
        angle = 2 * np.pi * (e[1] + e[2] * u)
        cos, sin = np.cos(angle), np.sin(angle)
        s = 1 + (e[0] - 1) * v
        rx, ry, rz = cos * f[1, 0] + sin * f[2, 0], cos * f[1, 1] + sin * f[2, 1], cos * f[1, 2] + sin * f[2, 2]
        ax, ay, az = cos * f[2, 0] - sin * f[1, 0], cos * f[2, 1] - sin * f[1, 1], cos * f[2, 2] - sin * f[1, 2]
        t = e[0] - 1
        bx, by, bz = t * rx + f[3, 0], t * ry + f[3, 1], t * rz + f[3, 2]
        x = f[0, 0] + s * rx + v * f[3, 0]
        y = f[0, 1] + s * ry + v * f[3, 1]
        z = f[0, 2] + s * rz + v * f[3, 2]
        return x, y, z, ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    angle = 2 * np.pi * u
    h = e[0] + (e[1] - e[0]) * v
    r = np.sqrt(max(1 - h * h, 0.0))
    c, s = r * np.cos(angle), r * np.sin(angle)
    x = f[0, 0] + c * f[1, 0] + s * f[2, 0] + h * f[3, 0]
    y = f[0, 1] + c * f[1, 1] + s * f[2, 1] + h * f[3, 1]
    z = f[0, 2] + c * f[1, 2] + s * f[2, 2] + h * f[3, 2]
    a = f[1, 0] ** 2 + f[1, 1] ** 2 + f[1, 2] ** 2
    b = f[2, 0] ** 2 + f[2, 1] ** 2 + f[2, 2] ** 2
    d = f[3, 0] ** 2 + f[3, 1] ** 2 + f[3, 2] ** 2
    c, s, h = c / a, s / b, h / d
    nx = c * f[1, 0] + s * f[2, 0] + h * f[3, 0]
    ny = c * f[1, 1] + s * f[2, 1] + h * f[3, 1]
    nz = c * f[1, 2] + s * f[2, 2] + h * f[3, 2]
    return x, y, z, nx, ny, nz


@kernel("i8[::1], f8[:,:,::1], f8[:,::1], i8[::1], f8[::1], f8[::1]")
def evaluate_points(kind, frame, extra, patch, u, v):
    """Points and unit normals on patches.

    Args:
        kind: int64 (N,), QUAD, TUBE or ELLIPSOID.
        frame: float64 (N, 4, 3), origin and three vectors of each patch.
        extra: float64 (N, 3), shape of each patch.
        patch: int (n,), patch of each point.
        u: float64 (n,), place on the patch, 0..1.
        v: float64 (n,), place on the patch, 0..1.

    Returns:
        float64 (n, 3) and (n, 3).
    """
    n = len(patch)
    xyz = np.empty((n, 3))
    normal = np.empty((n, 3))
    for i in range(n):
        k = patch[i]
        x, y, z, nx, ny, nz = _evaluate(kind[k], frame[k], extra[k], u[i], v[i])
        length = np.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12
        xyz[i, 0], xyz[i, 1], xyz[i, 2] = x, y, z
        normal[i, 0], normal[i, 1], normal[i, 2] = nx / length, ny / length, nz / length
    return xyz, normal


@kernel()
def _bin_of(x, y, z, resolution):
    """Pixel of a direction on a cube map of six faces of resolution × resolution pixels."""
    ax, ay, az = abs(x), abs(y), abs(z)
    if ax >= ay and ax >= az:
        face, s, t, m = (0 if x > 0 else 1), y, z, ax
    elif ay >= az:
        face, s, t, m = (2 if y > 0 else 3), x, z, ay
    else:
        face, s, t, m = (4 if z > 0 else 5), x, y, az
    if m == 0.0:
        return 0
    i = min(int((s / m + 1) * 0.5 * resolution), resolution - 1)
    j = min(int((t / m + 1) * 0.5 * resolution), resolution - 1)
    return (face * resolution + i) * resolution + j


@kernel("i8[::1], f8[:,:,::1], f8[:,::1], f8[:,::1], b1[::1], f8[::1], i8")
def depth_map(kind, frame, extra, size, two_sided, eye, resolution):
    """Distance from `eye` to the nearest surface in each pixel of a cube map.

    Each patch is cut into tiles, and each tile is sampled as densely as its distance asks for.

    Args:
        kind: int64 (N,), as for `evaluate_points`.
        frame: float64 (N, 4, 3).
        extra: float64 (N, 3).
        size: float64 (N, 2), lengths of the patches along u and v, meters.
        two_sided: bool (N,), whether the back of a patch hides what is behind it too.
        eye: float64 (3,).
        resolution: pixels along an edge of the cube.

    Returns:
        float32 (6 * resolution ** 2,), infinity where nothing is.
    """
    depth = np.full(6 * resolution * resolution, np.inf, np.float32)
    pixel = 1.0 / resolution
    for k in range(len(kind)):
        tiles_u, tiles_v = int(size[k, 0] / 0.4) + 1, int(size[k, 1] / 0.4) + 1
        length_u, length_v = size[k, 0] / tiles_u, size[k, 1] / tiles_v
        radius = 0.5 * np.sqrt(length_u**2 + length_v**2)
        for a in range(tiles_u):
            for b in range(tiles_v):
                u0, v0 = a / tiles_u, b / tiles_v
                x, y, z, nx, ny, nz = _evaluate(kind[k], frame[k], extra[k], u0 + 0.5 / tiles_u, v0 + 0.5 / tiles_v)
                dx, dy, dz = x - eye[0], y - eye[1], z - eye[2]
                flat = kind[k] == QUAD and extra[k, 0] == 0.0 and extra[k, 1] == 0.0
                if flat and not two_sided[k] and dx * nx + dy * ny + dz * nz > 0:
                    continue
                near = max(np.sqrt(dx * dx + dy * dy + dz * dz) - radius, 0.15)
                step = near * pixel
                num_u, num_v = int(length_u / step) + 1, int(length_v / step) + 1
                for i in range(num_u):
                    u = u0 + (i + 0.5) / (num_u * tiles_u)
                    for j in range(num_v):
                        v = v0 + (j + 0.5) / (num_v * tiles_v)
                        x, y, z, nx, ny, nz = _evaluate(kind[k], frame[k], extra[k], u, v)
                        dx, dy, dz = x - eye[0], y - eye[1], z - eye[2]
                        distance = np.sqrt(dx * dx + dy * dy + dz * dz)
                        pixel_id = _bin_of(dx, dy, dz, resolution)
                        if distance < depth[pixel_id]:
                            depth[pixel_id] = distance
    return depth


@kernel("f8[:,::1], f8[::1], f4[::1], i8")
def nearest_depth(xyz, eye, depth, resolution):
    """Depth that a map holds in the direction of each point.

    Args:
        xyz: float64 (n, 3), points in meters.
        eye: float64 (3,), center of the map.
        depth: float32 (6 * resolution ** 2,), from `depth_map`.
        resolution: pixels along an edge of the cube.

    Returns:
        float64 (n,), meters, infinity where nothing is.
    """
    nearest = np.empty(len(xyz))
    for i in range(len(xyz)):
        nearest[i] = depth[_bin_of(xyz[i, 0] - eye[0], xyz[i, 1] - eye[1], xyz[i, 2] - eye[2], resolution)]
    return nearest


@kernel("f8[:,::1], i8[::1], f8[:,::1], f8[:,:,::1], i8[::1]")
def inside_foreign_box(xyz, owner, center, axes, box_owner):
    """Whether each point is inside a box that is not its owner's.

    Args:
        xyz: float64 (n, 3).
        owner: int (n,), owner of each point.
        center: float64 (m, 3), centers of the boxes.
        axes: float64 (m, 3, 3), unit axes of the boxes, divided by half their length.
        box_owner: int (m,), owner of each box.

    Returns:
        bool (n,).
    """
    inside = np.zeros(len(xyz), np.bool_)
    for i in range(len(xyz)):
        for b in range(len(center)):
            dx, dy, dz = xyz[i, 0] - center[b, 0], xyz[i, 1] - center[b, 1], xyz[i, 2] - center[b, 2]
            if (
                owner[i] != box_owner[b]
                and abs(dx * axes[b, 0, 0] + dy * axes[b, 0, 1] + dz * axes[b, 0, 2]) < 1
                and abs(dx * axes[b, 1, 0] + dy * axes[b, 1, 1] + dz * axes[b, 1, 2]) < 1
                and abs(dx * axes[b, 2, 0] + dy * axes[b, 2, 1] + dz * axes[b, 2, 2]) < 1
            ):
                inside[i] = True
                break
    return inside
