"""Images of points without a display or a graphics library: a camera, discs, closed holes, light."""

from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int32, Int64, UInt8

from pcseg.kernels.render import fill_holes, paint, splat
from pcseg.kernels.shade import eye_dome, light, smooth_depth
from pcseg.kernels.splats import cell_covariances, flattest_directions
from pcseg.ops.voxelize import bounding_box, voxelize

BACKGROUND = (250, 250, 251)
SUPERSAMPLING = 2  # pixels per pixel of the image along each side, which are averaged
MAX_POINTS = 2_000_000  # of a larger scan, pictures and pages show one point of each voxel
_MARGIN = 0.03  # fraction of the image that stays free on each side
CEILING_CUT = 0.3  # meters below a ceiling
_LEAST_HEIGHT = 1.8  # of a ceiling above the lowest points, in meters
_CEILING_SHARE = 0.2  # of the floor plan that is below a ceiling; the tops of walls alone take less


@dataclass(frozen=True)
class View:
    """Position and direction of the camera."""

    eye: Float64[np.ndarray, "3"]  # position in meters
    rotation: Float64[np.ndarray, "3 3"]  # rows are the right, up and backward axes of the camera
    fov: float = 32.0  # vertical opening angle in degrees
    cut: float | None = None  # height above which points are hidden; None hides nothing
    open_front: bool = False  # hides the walls between the camera and the room
    box: Float64[np.ndarray, "2 3"] | None = None  # least and greatest shown coordinates; None shows all

    @property
    def azimuth(self) -> float:
        """Direction of the camera in degrees from the x axis toward y."""
        return float(np.rad2deg(np.arctan2(self.rotation[2, 1], self.rotation[2, 0])))

    def focal(self, height: int) -> float:
        """Pixels per unit of tan(angle) in an image with this number of rows."""
        return height / 2 / float(np.tan(np.deg2rad(self.fov) / 2))

    def hidden(self, xyz: Float32[np.ndarray, "P 3"]) -> Bool[np.ndarray, "P"]:
        """Points that the image leaves out: those above the cut or out of the box, and near walls of an open front."""
        above = np.zeros(len(xyz), np.bool_) if self.cut is None else xyz[:, 2] > self.cut
        if self.box is not None:
            above |= ~inside(xyz, self.box)
        shown = np.flatnonzero(~above)
        if self.open_front and len(shown):
            above[shown] = near_walls(xyz[shown], self.rotation[2, :2])
        return above


def look(azimuth: float, elevation: float) -> Float64[np.ndarray, "3 3"]:
    """Rotation of a camera that looks at its target from a direction: degrees from x toward y, and above the horizon.

    Returns:
        The right, up and backward axes as rows.
    """
    a, e = np.deg2rad(azimuth), np.deg2rad(elevation)
    back = np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
    right = np.array([-np.sin(a), np.cos(a), 0.0])
    return np.stack([right, np.cross(back, right), back])


def inside(xyz: Float[np.ndarray, "P 3"], box: Float[np.ndarray, "2 3"]) -> Bool[np.ndarray, "P"]:
    """Points in a box, given by its least and greatest coordinates."""
    kept = np.ones(len(xyz), np.bool_)
    for axis in range(3):  # many times faster than all columns at once
        kept &= (xyz[:, axis] >= box[0, axis]) & (xyz[:, axis] <= box[1, axis])
    return kept


def core_box(xyz: Float32[np.ndarray, "P 3"]) -> Float64[np.ndarray, "2 3"]:
    """Least and greatest coordinates without strays: the few points away from every large group of points.

    Mirrors, windows, open doors and bad returns give laser scans points outside of the room. A cell is a sixteenth as
    long as the middle 90 percent of the points. Connected cells with at least a tenth of the points are a large group.
    """
    whole = np.stack(bounding_box(xyz)).astype(np.float64)
    sample = xyz[:: max(1, len(xyz) // 200_000)].astype(np.float64)
    low, high = np.quantile(sample, [0.05, 0.95], axis=0)
    extent = np.maximum(high - low, 0.1 * (high - low).max())
    start, size = low - 2 * extent, extent / 16
    if not (extent > 0).all() or ((whole[0] >= low - 2 * size) & (whole[1] <= high + 2 * size)).all():
        return whole
    from scipy import ndimage  # takes long to import, and few scans need it

    cells = np.floor((sample - start) / size).astype(np.int64)
    # 80 cells an axis: five times the middle
    cells = cells[((cells >= 0) & (cells < 80)).all(axis=1)]
    counts = np.bincount(cells @ [6400, 80, 1], minlength=80**3).reshape(80, 80, 80)
    counts[counts <= len(sample) / 5000] = 0
    touching = np.ones((3, 3, 3))  # also at a corner
    group, _ = cast("tuple[np.ndarray, int]", ndimage.label(counts, touching))
    sizes = np.bincount(group.ravel(), counts.ravel())
    is_large = sizes >= 0.1 * len(sample)
    if sizes[is_large].sum() < 0.5 * len(sample):  # scattered points
        return whole
    shown = np.argwhere(is_large[group])
    # And the cells around it.
    box = start + size * np.clip([shown.min(axis=0) - 1, shown.max(axis=0) + 2], 0, 80)
    box = np.stack(bounding_box(xyz[inside(xyz, box)])).astype(np.float64)
    return whole if (np.ptp(whole, axis=0) < 1.2 * np.ptp(box, axis=0)).all() else box  # no small cuts


class Shown(NamedTuple):
    """The points of a scan that pictures and pages show."""

    rows: Int64[np.ndarray, "n"]  # of the points, ascending
    voxel: float | None  # edge of the voxels that have one point each, in meters; None where all points are shown
    box: Float64[np.ndarray, "2 3"]  # least and greatest coordinates without strays
    num_strays: int  # number of points outside of the box


def shown_points(xyz: Float32[np.ndarray, "P 3"], max_points: int | None = None) -> Shown:
    """The points without strays, and in a larger scan the first one of each voxel.

    Args:
        xyz: points in meters.
        max_points: most points to show; None for MAX_POINTS.
    """
    max_points, box = max_points or MAX_POINTS, core_box(xyz)
    rows = np.flatnonzero(inside(xyz, box))
    num_strays = len(xyz) - len(rows)
    if len(rows) <= max_points:
        return Shown(rows, None, box, num_strays)
    core = xyz[rows] if num_strays else xyz
    size = float((box[1] - box[0]).max()) / 500  # coarse, which is fast; points are on surfaces
    size *= (1.1 * len(voxelize(core, size)) / max_points) ** 0.5
    while len(grid := voxelize(core, size)) > max_points:
        size *= max(1.05, (len(grid) / max_points) ** 0.5)
    is_first = np.diff(np.maximum.accumulate(grid.point_to_voxel), prepend=-1) > 0
    return Shown(rows[is_first], size, box, num_strays)


def near_walls(xyz: Float32[np.ndarray, "P 3"], toward: Float[np.ndarray, "2"]) -> Bool[np.ndarray, "P"]:
    """Points of the walls between a room and a camera outside of it, and of everything in front of these walls.

    The floor plan is cut into strips toward the camera; the first tall cell of a strip is its near wall.

    Args:
        xyz: points in meters.
        toward: x and y of the direction from the room to the camera, of any length.
    """
    thickness = 0.28
    low, high = bounding_box(xyz)
    cell = max(0.1, float((high - low)[:2].max()) / 600)
    a, b = toward / np.linalg.norm(toward)
    along, across = xyz[:, 0] * a + xyz[:, 1] * b, xyz[:, 1] * a - xyz[:, 0] * b
    bottom, top = np.quantile(xyz[:: max(1, len(xyz) // 20_000), 2], [0.005, 0.995])
    row = ((along.max() - along) / cell).astype(np.int64)  # 0 is closest to the camera
    strip = ((across - across.min()) / (2 * cell)).astype(np.int64)
    num_rows, num_strips = int(row.max()) + 1, int(strip.max()) + 1
    flat = strip * num_rows + row
    occupied, tall = np.zeros((2, num_strips, num_rows), np.bool_)
    occupied.ravel()[flat] = True
    tall.ravel()[flat[xyz[:, 2] > bottom + 0.8 * (top - bottom)]] = True
    first = np.where(tall.any(axis=1), tall.argmax(axis=1), -1)
    # If the near wall was not scanned, the first tall cell is the far wall, which must stay.
    seen = np.cumsum(occupied, axis=1)[np.arange(num_strips), first]
    first[seen > 0.4 * occupied.sum(axis=1)] = -1
    limit = np.where(first >= 0, along.max() - first * cell - thickness, np.inf)
    return along > limit[strip]


@dataclass(frozen=True)
class Splats:
    """Discs around points."""

    spacing: Float32[np.ndarray, "P"]  # distance from each point to its neighbors in meters
    normal: Float32[np.ndarray, "P 3"]  # unit normal of the surface, of either sign; zero where unknown

    @staticmethod
    def of_points(xyz: Float32[np.ndarray, "P 3"]) -> "Splats":
        """Estimates spacing, a third of its median to twice its median, and normals from points in cells of a grid."""
        low, high = core_box(xyz).astype(np.float32)
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


@dataclass(frozen=True)
class Raster:
    """The point that each pixel shows and its brightness; one raster serves any number of colorings."""

    index: Int32[np.ndarray, "h w"]  # point of each pixel, -1 for none; supersampled
    shade: Float32[np.ndarray, "H W"]  # brightness of each pixel of the image
    num_points: int  # number of points that were drawn

    def paint(self, colors: UInt8[np.ndarray, "Q 3"]) -> UInt8[np.ndarray, "H W 3"]:
        """The image for one color of each point."""
        assert len(colors) == self.num_points
        background = np.array(BACKGROUND, np.uint8)
        return paint(self.index, self.shade, np.ascontiguousarray(colors), background, SUPERSAMPLING)


def room_view(
    xyz: Float32[np.ndarray, "P 3"],
    *,
    width: int,
    height: int,
    azimuth: float | None = None,
    elevation: float = 50.0,
    cut: float | None = None,
    open_front: bool = True,
    box: Float64[np.ndarray, "2 3"] | None = None,
) -> View:
    """A camera that looks into a room from a corner above, with the ceiling cut off and without strays.

    Args:
        xyz: points in meters, z up.
        width: columns of the image.
        height: rows of the image.
        azimuth: direction of the camera in degrees from the x axis toward y; None tries eight and takes the one that
            shows most of the room.
        elevation: angle of the camera above the horizon in degrees.
        cut: z in meters above which points are hidden; None is 0.3 m below the ceiling, if there is one.
        open_front: True hides the near walls.
        box: least and greatest coordinates of shown points; None is the `core_box`, which takes time to find.

    Raises:
        ValueError: no point is below the cut.
    """
    box = core_box(xyz) if box is None else box
    xyz = xyz[inside(xyz, box)]
    if cut is None:
        cut = _ceiling_cut(xyz)

    def aim(points: np.ndarray, azimuth: float) -> View:
        rotation = look(azimuth, elevation)
        return View(_nearest_eye(points, rotation, width / height), rotation, cut=cut, open_front=open_front, box=box)

    below = xyz if cut is None else xyz[xyz[:, 2] <= cut]
    if len(below) == 0:
        raise ValueError(f"no point is below the cut at {cut:.2f} m")
    if azimuth is None:
        sample = np.ascontiguousarray(below[:: max(1, len(below) // 8_000)])
        splats = Splats.of_points(sample)

        def visible(azimuth: float) -> float:
            """Number of visible points, times the root of the filled share of the image."""
            _, index = _splat(sample, splats, 1.5, aim(sample, azimuth), 240, 180)
            return len(np.unique(index[index >= 0])) * np.sqrt((index >= 0).mean())

        azimuth = max(map(float, range(30, 390, 45)), key=visible)
    return aim(below, azimuth)


def _ceiling_cut(xyz: np.ndarray) -> float | None:
    """Height just below the ceiling, where the highest points of most cells of the floor plan are; None without one."""
    low = bounding_box(xyz)[0]
    size = max(0.1, float(np.ptp(xyz[:, :2], axis=0).max()) / 200)
    x, y = ((xyz[:, axis] - low[axis]) // size for axis in (0, 1))
    cells = (x * (y.max() + 1) + y).astype(np.int64)
    tops = np.full(cells.max() + 1, -np.inf, xyz.dtype)
    np.maximum.at(tops, cells, xyz[:, 2])
    high = np.sort(tops[tops >= np.quantile(xyz[:, 2], 0.001) + _LEAST_HEIGHT])
    level = np.arange(1, len(high) + 1) - np.searchsorted(high, high - CEILING_CUT)  # number of cells up to 0.3 m lower
    if level.max(initial=0) < _CEILING_SHARE * np.count_nonzero(tops > -np.inf):
        return None
    return float(high[level.argmax()]) - CEILING_CUT


def _nearest_eye(xyz: np.ndarray, rotation: np.ndarray, aspect: float) -> np.ndarray:
    """The nearest position of a camera with this rotation that sees all but one in 2000 points."""
    shown = xyz[:: max(1, len(xyz) // 50_000)].astype(np.float64)
    middle = np.mean(bounding_box(shown), axis=0)
    local = (shown - middle) @ rotation.T
    upwards = (1 - 2 * _MARGIN) * np.tan(np.deg2rad(View.fov) / 2)
    offset, distance = np.zeros(3), 0.0
    for axis, tangent in ((0, upwards * aspect), (1, upwards)):
        # A point is in the image where |q - offset| <= (distance - q_z) * tangent.
        high = np.quantile(local[:, axis] + local[:, 2] * tangent, 0.9995)
        low = np.quantile(-local[:, axis] + local[:, 2] * tangent, 0.9995)
        offset[axis] = (high - low) / 2
        distance = max(distance, (high + low) / (2 * tangent))
    offset[2] = max(distance, local[:, 2].max() + 0.3)
    return middle + offset @ rotation


def rasterize(
    xyz: Float32[np.ndarray, "P 3"],
    view: View,
    *,
    width: int,
    height: int,
    splats: Splats | None = None,
) -> Raster:
    """Finds the point of each pixel and lights the surface that the points form.

    Args:
        xyz: points in meters.
        view: camera.
        width: width of the image in pixels.
        height: height of the image in pixels.
        splats: discs of the points; None estimates them.

    Source:
        Eye-dome lighting: Boucheny 2009, "Visualisation scientifique de grands volumes de données", chapter 4.
    """
    splats = Splats.of_points(xyz) if splats is None else splats
    factor = SUPERSAMPLING
    depth, index = _splat(xyz, splats, 1.1, view, width * factor, height * factor)
    fill_holes(depth, index, round(1.5 * factor), 0.01)
    blocks = [depth[y::factor, x::factor] for y in range(factor) for x in range(factor)]
    return Raster(index, _shade(np.minimum.reduce(blocks), float(np.median(splats.spacing)), view), len(xyz))


def _shade(depth: np.ndarray, spacing: float, view: View) -> np.ndarray:
    """Brightness of each pixel from its depth; `spacing` is the typical point spacing in meters."""
    height, width = depth.shape
    seen = np.isfinite(depth)
    if not seen.any():
        return np.ones((height, width), np.float32)
    focal = view.focal(height)
    distance = float(np.median(depth[seen]))
    # Each disc is flat: average over the discs of a surface, but not over its edge.
    steps = int(np.clip(round(spacing * focal / distance), 1, 6))
    reach = np.float32(max(0.004, spacing / distance))
    smooth = smooth_depth(smooth_depth(depth, steps, reach), steps, reach)
    scale = height / 900  # the reaches below were chosen at this height
    shade = eye_dome(smooth, max(1, round(1.5 * scale)), max(2, round(7 * scale)), 7.0, 5.0)
    lights = np.array([[0.35, -0.25, 0.9], [-0.75, 0.35, 0.55]])
    lights /= np.linalg.norm(lights, axis=1, keepdims=True)
    weights = np.array([0.42, 0.18])
    return shade * light(smooth, focal, width / 2, height / 2, lights @ view.rotation.T, weights, 0.56)


def _splat(
    xyz: np.ndarray, splats: Splats, size: float, view: View, width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """Depth and point of each pixel; discs have `size` times the spacing of their points as radius."""
    radius, most = np.float32(size) * splats.spacing, max(2.0, height / 30)
    xyz, camera = np.ascontiguousarray(xyz), (view.rotation, view.eye, view.focal(height))
    return splat(xyz, splats.normal, view.hidden(xyz), radius, *camera, most, width, height)
