"""Images of points without a display or a graphics library: discs, closed holes, light."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from pcseg.kernels.render import fill_holes, paint, splat
from pcseg.kernels.shade import eye_dome, light, smooth_depth
from pcseg.viz.splats import Splats
from pcseg.viz.view import View

BACKGROUND = (250, 250, 251)
CEILING_CUT = 0.3  # meters below the top of the room


@dataclass(frozen=True)
class Raster:
    """The point that each pixel shows and its brightness; one raster serves any number of colorings.

    Args:
        index: point of each pixel, -1 for none; supersampled.
        shade: brightness of each pixel of the image.
        num_points: number of points that were drawn.
    """

    index: Int32[np.ndarray, "h w"]
    shade: Float32[np.ndarray, "H W"]
    num_points: int

    @property
    def supersampling(self) -> int:
        """Pixels of `index` along each side of one pixel of the image."""
        return len(self.index) // len(self.shade)

    def paint(
        self, colors: UInt8[np.ndarray, "Q 3"], background: tuple[int, int, int] = BACKGROUND
    ) -> UInt8[np.ndarray, "H W 3"]:
        """The image for one coloring of the points.

        Args:
            colors: color of each point.
            background: color of pixels that show no point.

        Raises:
            ValueError: there are more or fewer colors than points.
        """
        if len(colors) != self.num_points:
            raise ValueError(f"each point needs a color: {self.num_points} points, {len(colors)} colors")
        back = np.array(background, np.uint8)
        return paint(self.index, self.shade, np.ascontiguousarray(colors), back, self.supersampling)


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
    """A camera that looks into a room from a corner above, with the ceiling cut off.

    Args:
        xyz: coordinates in meters, z up.
        width: width of the image in pixels.
        height: height of the image in pixels.
        azimuth: direction of the camera in degrees; None tries eight and takes the one that shows most of the room.
        elevation: degrees above the horizon.
        cut: height above which points are hidden; None is 0.3 m below the top of the room.
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
        _, index = _splat(sample, splats, 1.5, view, 240, 180)
        # Both the number of visible points and the filled share of the image count.
        shown.append(len(np.unique(index[index >= 0])) * np.sqrt((index >= 0).mean()))
    best = views[int(np.argmax(shown))]
    return View.frame(xyz, azimuth=best.azimuth, **options)


def rasterize(
    xyz: Float32[np.ndarray, "P 3"],
    view: View,
    *,
    width: int,
    height: int,
    splats: Splats | None = None,
    supersampling: int = 2,
) -> Raster:
    """Finds the point of each pixel and lights the surface that the points form.

    Args:
        xyz: coordinates in meters.
        view: the camera.
        width: width of the image in pixels.
        height: height of the image in pixels.
        splats: spacing and normals of the points, if known already.
        supersampling: pixels per pixel of the image along each side, which are averaged.

    Returns:
        The raster.

    Raises:
        ValueError: the image has no pixel.

    Source:
        Eye-dome lighting: Boucheny 2009, "Visualisation scientifique de grands volumes de données", chapter 4.
    """
    if width < 1 or height < 1:
        raise ValueError(f"a picture needs at least one pixel, got {width} x {height}")
    splats = Splats.of_points(xyz) if splats is None else splats
    depth, index = _splat(xyz, splats, 1.1, view, width * supersampling, height * supersampling)
    fill_holes(depth, index, max(1, round(1.5 * supersampling)), 0.01)
    blocks = [depth[y::supersampling, x::supersampling] for y in range(supersampling) for x in range(supersampling)]
    spacing = float(np.median(splats.spacing)) if len(xyz) else 0.0
    return Raster(index, _shade(np.minimum.reduce(blocks), spacing, view), len(xyz))


def _shade(depth: np.ndarray, spacing: float, view: View) -> np.ndarray:
    """Brightness of each pixel from its depth; `spacing` is that of most points in meters."""
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
