"""What the window needs from the machine: Open3D, the system's graphics libraries, a display."""

import ctypes
import os
import sys
from types import ModuleType

SYSTEM_PACKAGES = "libgl1 libegl1 libusb-1.0-0 libgomp1 libvulkan1 mesa-vulkan-drivers"  # Debian and Ubuntu
INSTEAD = "write a page with --html or a picture with --png"


def import_open3d() -> ModuleType:
    """Imports Open3D, which takes seconds and is needed for the window alone.

    Raises:
        ValueError: it is not installed, or a system library that it needs is not.
    """
    try:
        import open3d
        import open3d.visualization.gui  # the part that needs the system's libraries
    except (ImportError, OSError) as error:
        raise ValueError(
            f"the window needs Open3D ({error}): run pip install 'pcseg[viz]' and, on Debian and Ubuntu, "
            f"apt-get install {SYSTEM_PACKAGES}, or {INSTEAD}"
        ) from error
    return open3d


def has_display() -> bool:
    """Whether a window can appear; Open3D itself would draw off the screen and wait for ever."""
    if not sys.platform.startswith("linux") or os.environ.get("WAYLAND_DISPLAY"):
        return True
    if not os.environ.get("DISPLAY"):
        return False
    try:
        x11 = ctypes.CDLL("libX11.so.6")
    except OSError:
        return True  # Open3D will tell
    x11.XOpenDisplay.restype = ctypes.c_void_p
    display = x11.XOpenDisplay(None)
    if display is not None:
        x11.XCloseDisplay(ctypes.c_void_p(display))
    return display is not None
