"""Points to pixels without a display or a graphics library: splats, holes closed, light."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from pcseg.kernels.render import fill_holes, paint, splat
from pcseg.kernels.shade import eye_dome, light, smooth_depth
from pcseg.viz.splats import Splats
from pcseg.viz.view import View

BACKGROUND = (250, 250, 251)
CEILING_CUT = 0.3  # meters under the top of the room


@dataclass(frozen=True)
class Raster:
    """Which point each pixel shows and how bright it is; one raster serves any number of colorings.

    Args:
        index: point of each pixel, -1 for none; supersampled.
        shade: brightness of each pixel of the picture.
    """

    index: Int32[np.ndarray, "h w"]
    shade: Float32[np.ndarray, "H W"]

    @property
    def supersampling(self) -> int:
        """Pixels of `index` along each side of one pixel of the picture."""
        return len(self.index) // len(self.shade)

    def paint(
        self, colors: UInt8[np.ndarray, "P 3"], background: tuple[int, int, int] = BACKGROUND
    ) -> UInt8[np.ndarray, "H W 3"]:
        """The picture for one coloring of the points."""
        return paint(
            self.index, self.shade, np.ascontiguousarray(colors), np.array(background, np.uint8), self.supersampling
        )


def room_view(
    xyz: Float32[np.ndarray, "P 3"],
    *,
    width: int,
    height: int,
    azimuth: float | None = None,
    elevation: float = 50.0,
    cut: float | None = None,
    open_front: bool = True,
) -> View:
    """Looks into a room from a corner above, with the ceiling cut off.

    Args:
        xyz: coordinates, meters, z up.
        width: of the picture, pixels.
        height: of the picture, pixels.
        azimuth: where the camera stands; None tries eight directions and takes the one that shows most of the room.
        elevation: degrees above the horizon.
        cut: height above which points are hidden; None is 0.3 m under the top of the room.
        open_front: hides the walls between the camera and the room.

    Returns:
        The view.

    Raises:
        ValueError: no points, or none below the cut.
    """
    if len(xyz) == 0:
        raise ValueError("no points to frame")
    if cut is None:
        bottom, top = np.quantile(xyz[:, 2], [0.001, 0.999])
        cut = float(max(top - CEILING_CUT, bottom + 0.6 * (top - bottom)))
    options = {"width": width, "height": height, "elevation": elevation, "cut": cut, "open_front": open_front}
    if azimuth is not None:
        return View.frame(xyz, azimuth=azimuth, **options)
    sample = np.ascontiguousarray(xyz[:: max(1, len(xyz) // 8_000)])
    splats = Splats.of_points(sample)
    views = [View.frame(sample, azimuth=float(angle), **options) for angle in range(30, 390, 45)]
    shown = []
    for view in views:
        _, index = _splat(sample, view.hidden(sample), splats, 1.5, view, 240, 180)
        # Large and fully seen: both what is visible and how much of the picture it fills count.
        shown.append(len(np.unique(index[index >= 0])) * np.sqrt((index >= 0).mean()))
    best = views[int(np.argmax(shown))]
    return View.frame(xyz, azimuth=best.azimuth, **options)


def rasterize(
    xyz: Float32[np.ndarray, "P 3"],
    *,
    width: int,
    height: int,
    view: View,
    splats: Splats | None = None,
    point_size: float = 1.0,
    supersampling: int = 2,
) -> Raster:
    """Finds the point of each pixel and lights the surface they form.

    Args:
        xyz: coordinates, meters.
        width: of the picture, pixels.
        height: of the picture, pixels.
        view: the camera.
        splats: spacing and normals of the points, where they are known already.
        point_size: 1 is what closes the surfaces.
        supersampling: 2 draws twice as wide and high and averages.

    Returns:
        The raster.

    Source:
        Eye-dome lighting: Boucheny 2009, "Visualization scientifique de grands volumes de données", chapter 4.
    """
    if width < 1 or height < 1:
        raise ValueError(f"a picture needs at least one pixel, got {width} x {height}")
    if splats is None:
        splats = Splats.of_points(xyz)
    wide, high = width * supersampling, height * supersampling
    depth, index = _splat(xyz, view.hidden(xyz), splats, 1.1 * point_size, view, wide, high)
    fill_holes(depth, index, max(1, round(1.5 * supersampling)), 0.01)
    corners = [depth[y::supersampling, x::supersampling] for y in range(supersampling) for x in range(supersampling)]
    return Raster(index, _shade(np.minimum.reduce(corners), _median(splats.spacing), view))


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else 0.0


def _shade(depth: np.ndarray, radius: float, view: View) -> np.ndarray:
    """Brightness of each pixel from the depth; `radius`: of most points, meters."""
    height, width = depth.shape
    seen = np.isfinite(depth)
    if not seen.any():
        return np.ones((height, width), np.float32)
    focal = height / 2 / np.tan(np.deg2rad(view.fov) / 2)
    distance = float(np.median(depth[seen]))
    # Each disc is flat: average over the discs of a surface, but not over its edge.
    steps = int(np.clip(round(1.0 * radius * focal / distance), 1, 6))
    reach = np.float32(max(0.004, 1.0 * radius / distance))
    smooth = smooth_depth(smooth_depth(depth, steps, reach), steps, reach)
    scale = height / 900  # the reaches below were chosen at this height
    shade = eye_dome(smooth, max(1, round(1.5 * scale)), max(2, round(7 * scale)), 7.0, 5.0)
    lights = np.array([[0.35, -0.25, 0.9], [-0.75, 0.35, 0.55]])
    lights /= np.linalg.norm(lights, axis=1, keepdims=True)
    weights = np.array([0.42, 0.18])
    return shade * light(smooth, focal, width / 2, height / 2, lights @ view.rotation.T, weights, 0.56)


def _splat(
    xyz: np.ndarray, hidden: np.ndarray, splats: Splats, size: float, view: View, width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """Depth and point of each pixel."""
    return splat(
        np.ascontiguousarray(xyz),
        splats.normal,
        hidden,
        np.float32(size) * splats.spacing,
        view.rotation,
        view.eye,
        height / 2 / np.tan(np.deg2rad(view.fov) / 2),
        max(2.0, height / 30),
        width,
        height,
    )


def render_points(
    xyz: Float32[np.ndarray, "P 3"],
    colors: UInt8[np.ndarray, "Q 3"],
    *,
    width: int,
    height: int,
    view: View,
    splats: Splats | None = None,
    point_size: float = 1.0,
    supersampling: int = 2,
    background: tuple[int, int, int] = BACKGROUND,
) -> UInt8[np.ndarray, "H W 3"]:
    """A picture of points.

    Args:
        xyz: coordinates, meters.
        colors: 0..255, as many as points.
        width: pixels.
        height: pixels.
        view: the camera.
        splats: spacing and normals of the points, where they are known already.
        point_size: 1 is what closes the surfaces.
        supersampling: 2 draws twice as wide and high and averages.
        background: color of pixels without a point.

    Returns:
        The picture.

    Raises:
        ValueError: as many colors as points are needed.
    """
    if len(colors) != len(xyz):
        raise ValueError(f"each point needs a color: {len(xyz)} points, {len(colors)} colors")
    raster = rasterize(
        xyz, width=width, height=height, view=view, splats=splats, point_size=point_size, supersampling=supersampling
    )
    return raster.paint(colors, background)
