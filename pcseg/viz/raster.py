"""Images of points without a display or a graphics library: discs, closed holes, light."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from pcseg.kernels.render import fill_holes, paint, splat
from pcseg.kernels.shade import eye_dome, light, smooth_depth
from pcseg.viz.splats import Splats
from pcseg.viz.view import View, bounding_box, look

BACKGROUND = (250, 250, 251)
_MARGIN = 0.03  # fraction of the image that stays free on each side
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

    def aim(points: np.ndarray, azimuth: float) -> View:
        rotation = look(azimuth, elevation)
        return View(_nearest_eye(points, rotation, width / height), rotation, cut=cut, open_front=open_front)

    below = xyz[xyz[:, 2] <= cut]
    if len(below) == 0:
        raise ValueError(f"no point is below the cut at {cut:.2f} m")
    if azimuth is None:
        sample = np.ascontiguousarray(below[:: max(1, len(below) // 8_000)])
        splats, most = Splats.of_points(sample), -1.0
        for angle in range(30, 390, 45):
            _, index = _splat(sample, splats, 1.5, aim(sample, float(angle)), 240, 180)
            # Both the number of visible points and the filled share of the image count.
            visible = len(np.unique(index[index >= 0])) * np.sqrt((index >= 0).mean())
            if visible > most:
                most, azimuth = visible, float(angle)
    return aim(below, azimuth or 0.0)


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
