"""Pieces of furniture."""

from dataclasses import dataclass

from pcseg.synthetic.shapes import Patches

CORNERS = ((-1, -1), (-1, 1), (1, -1), (1, 1))  # signs of x and y


@dataclass(frozen=True)
class Top:
    """A level surface for things: a rectangle in the frame of its item, its height and the free height above."""

    x0: float
    y0: float
    x1: float
    y1: float
    z: float
    clearance: float = 1.0


@dataclass(frozen=True)
class Item:
    """One object, around the origin, standing on z = 0, its front towards +y.

    Args:
        patches: its surfaces.
        size: width (x), depth (y) and height of the box around it in meters.
        label: class of S3DIS.
        category: raw category of ScanNet.
        tops: surfaces for things on it.
        thin: whether it is so flat that the surface under it has to be cut out.
    """

    patches: Patches
    size: tuple[float, float, float]
    label: str
    category: str
    tops: tuple[Top, ...] = ()
    thin: bool = False
