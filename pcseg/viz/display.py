"""Whether a window can open; known before numpy and Open3D load. How Open3D is imported."""

import ctypes
import os
import sys
from importlib import import_module
from typing import Any

INSTEAD = "write a page with --html or a picture with --png"
PACKAGES = "on Debian and Ubuntu, apt-get install libgl1 libegl1 libusb-1.0-0 libgomp1 libvulkan1 mesa-vulkan-drivers"
NO_DISPLAY = f"there is no display to open a window on; {INSTEAD}"


def has_display() -> bool:
    """Whether a window can appear; without a display, Open3D would draw off-screen and never return."""
    if not sys.platform.startswith("linux") or os.environ.get("WAYLAND_DISPLAY"):
        return True
    if not os.environ.get("DISPLAY"):
        return False
    try:
        x11 = ctypes.CDLL("libX11.so.6")
    except OSError:
        return True  # Open3D will report it
    x11.XOpenDisplay.restype = ctypes.c_void_p
    display = x11.XOpenDisplay(None)
    if display is not None:
        x11.XCloseDisplay(ctypes.c_void_p(display))
    return display is not None


def import_open3d(what: str, extra: str, instead: str = "", *modules: str) -> Any:
    """Open3D, which takes seconds to import.

    Args:
        what: what needs it, for the error message.
        extra: the extra of pcseg that installs it.
        instead: end of the error message.
        *modules: modules of it to import, too.

    Raises:
        ValueError: Open3D or a system library that it needs is not installed.
    """
    try:
        open3d, *_ = map(import_module, ("open3d", *modules))
    except (ImportError, OSError) as error:
        remedy = f"run pip install 'pcseg[{extra}]' and, {PACKAGES}{instead}"
        raise ValueError(f"{what} needs Open3D ({error}): {remedy}") from error
    return open3d
