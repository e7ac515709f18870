"""Shows a prediction with what this machine has: a window, a browser, or a file to open elsewhere."""

import logging
import tempfile
import webbrowser
from pathlib import Path

from pcseg.prediction import Prediction
from pcseg.viz import viewer
from pcseg.viz.html import write_page

logger = logging.getLogger(__name__)


def show(prediction: Prediction, threshold: float) -> Path | None:
    """Opens a window, and returns when it is closed; without Open3D or a display, writes a page and opens that.

    Returns:
        The page; None after a window.

    Raises:
        ValueError: the scene has no points.
    """
    try:
        viewer.show_scenes([lambda: prediction], threshold=threshold)
        return None
    except ValueError as error:
        logger.info("%s", error)
    path = Path(tempfile.mkdtemp(prefix="pcseg-")) / "scene.html"
    write_page(path, prediction, threshold=threshold)
    # Without a display, the browser that opens may be one for text, in this terminal.
    if not (viewer.has_display() and webbrowser.open(path.as_uri())):
        logger.warning("no display and no browser: open %s", path)
    return path
