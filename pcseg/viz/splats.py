"""Size and orientation of the disc that each point is drawn as."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from pcseg.kernels.splats import cell_covariances, flattest_directions
from pcseg.ops.voxelize import voxelize
from pcseg.viz.view import bounding_box


@dataclass(frozen=True)
class Splats:
    """Discs around points.

    Args:
        spacing: distance from each point to its neighbors in meters.
        normal: unit normal of the surface around each point, of either sign; zero where unknown.
    """

    spacing: Float32[np.ndarray, "P"]
    normal: Float32[np.ndarray, "P 3"]

    @staticmethod
    def of_points(xyz: Float32[np.ndarray, "P 3"]) -> "Splats":
        """Estimates spacing, a third of its median to twice its median, and normals from points in cells of a grid."""
        if len(xyz) == 0:
            return Splats(np.zeros(0, np.float32), np.zeros((0, 3), np.float32))
        low, high = bounding_box(xyz)
        local = xyz - low
        extent = np.sort(np.maximum(high - low, 1e-3))[1:]
        # Cells of about 30 points if the points were spread over the largest face of their box.
        cell = float(np.clip(np.sqrt(30.0 * extent[0] * extent[1] / len(xyz)), extent[1] / 2000, extent[1] / 2))
        count, normal, flat = _cell_planes(local, cell, 0.04)
        spacing = cell / np.sqrt(count)
        for factor, bend in ((2.5, 0.04), (4.0, 0.2)):  # larger cells where points are few or the surface is curved
            rest = np.flatnonzero(~flat)
            if len(rest):
                _, normal[rest], flat[rest] = _cell_planes(local[rest], factor * cell, bend)
        median = np.median(spacing)
        return Splats(np.clip(spacing, median / 3, median * 2).astype(np.float32), normal)


def _cell_planes(xyz: np.ndarray, size: float, bend: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number of points in the cell of each point, normal of the plane through them, and whether they are flat.

    Of two grids, shifted by half a cell, each point takes the larger count and the flatter plane. `bend` is the largest
    ratio of the variance across the plane to that along it; normals are zero where no cell is flatter.
    """
    most, flattest = np.zeros(len(xyz), np.int64), np.full(len(xyz), bend)
    normal = np.zeros((len(xyz), 3), np.float32)
    low = bounding_box(xyz)[0] - 1e-3 * size
    for shift in (0.0, 0.5):
        origin = (low - shift * size).astype(np.float32)
        grid = voxelize(xyz, size, origin=origin)
        cell, counts = grid.point_to_voxel, grid.counts
        roughness, direction = flattest_directions(cell_covariances(xyz, cell, len(counts)), counts, 8)
        most = np.maximum(most, counts[cell])
        flatter = np.flatnonzero(roughness[cell] < flattest)
        flattest[flatter], normal[flatter] = roughness[cell[flatter]], direction[cell[flatter]]
    return most, normal, flattest < bend
