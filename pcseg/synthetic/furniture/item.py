"""What a furniture factory gives."""

from dataclasses import dataclass

from pcseg.synthetic.shapes import Patches


@dataclass(frozen=True)
class Top:
    """A level surface that things can stand on: a rectangle in the frame of its item, and the free height above."""

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
        size: width (x), depth (y) and height of the box around it, meters.
        label: its class of S3DIS.
        category: what ScanNet's annotators would call it.
        tops: where things can stand on it.
        thin: it lies so close on another surface that the surface has to be cut out beneath it.
    """

    patches: Patches
    size: tuple[float, float, float]
    label: str
    category: str
    tops: tuple[Top, ...] = ()
    thin: bool = False
