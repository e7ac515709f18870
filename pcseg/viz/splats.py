"""How large each point is drawn, and how its disc lies in space."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from pcseg.kernels.splats import cell_covariances, flattest_directions, take_cells
from pcseg.ops.voxelize import voxelize
from pcseg.viz.view import bounds


@dataclass(frozen=True)
class Splats:
    """How points are drawn as discs.

    Args:
        spacing: distance from each point to its neighbors, meters.
        normal: unit normal of the surface around each point, of either sign.
    """

    spacing: Float32[np.ndarray, "P"]
    normal: Float32[np.ndarray, "P 3"]

    @staticmethod
    def of_points(xyz: Float32[np.ndarray, "P 3"]) -> "Splats":
        """Estimates spacing and normals from the points that share a cell of a grid.

        Of two grids, shifted by half a cell, each point takes the cell with more points, and the one that is flatter.

        Args:
            xyz: coordinates, meters.

        Returns:
            Spacing between a third of the median and twice the median; normals.
        """
        if len(xyz) == 0:
            return Splats(np.zeros(0, np.float32), np.zeros((0, 3), np.float32))
        low, high = bounds(xyz)
        local = xyz - low
        extent = np.sort(np.maximum(high - low, 1e-3))[1:]
        # Cells of about 30 points, were the points spread over the largest face of their box.
        cell = float(np.clip(np.sqrt(30.0 * extent[0] * extent[1] / len(xyz)), extent[1] / 2000, extent[1] / 2))
        count, normal, flat = _cell_planes(local, cell, 0.04)
        spacing = cell / np.sqrt(count)
        for factor, bend in ((2.5, 0.04), (4.0, 0.2)):  # too few points for a plane, or curved: again with larger cells
            rest = np.flatnonzero(~flat)
            if len(rest):
                _, normal[rest], flat[rest] = _cell_planes(local[rest], factor * cell, bend)
        median = np.median(spacing)
        return Splats(np.clip(spacing, median / 3, median * 2).astype(np.float32), normal)


def _cell_planes(xyz: np.ndarray, size: float, bend: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points in the cell of each point, normal of the plane through them, and whether they are flat enough for one.

    Of two grids, shifted by half a cell, each point takes the greater count and the flatter plane. Normals are zero
    where neither cell is flat. `bend`: the greatest variance across the plane, as a share of that along it.
    """
    most, flattest = np.zeros(len(xyz), np.int64), np.full(len(xyz), bend)
    normal = np.zeros((len(xyz), 3), np.float32)
    low = bounds(xyz)[0] - 1e-3 * size
    for shift in (0.0, 0.5):
        origin = (low - shift * size).astype(np.float32)
        grid = voxelize(xyz, size, origin=origin)
        cell, counts = grid.point_to_voxel, grid.counts
        roughness, direction = flattest_directions(cell_covariances(xyz, cell, len(counts)), counts, 8)
        take_cells(cell, counts, roughness, direction, most, flattest, normal)
    return most, normal, flattest < bend
