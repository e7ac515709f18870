"""Whether a window can open; known before numpy and Open3D load."""

import ctypes
import os
import sys

INSTEAD = "write a page with --html or a picture with --png"
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
