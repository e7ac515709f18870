"""The files of a prediction: a result, points for other programs, a table, ids, a picture and a page."""

from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pcseg.choices import DEFAULT_THRESHOLD
from pcseg.choices import SUFFIXES as SUFFIXES
from pcseg.files import atomic_open
from pcseg.inference.exports import CSV_HEADER, write_csv, write_ply
from pcseg.prediction import Prediction, is_result, size_text
from pcseg.viz.raster import MAX_POINTS

MAX_ROWS = 40  # lines of the table in the terminal
# A .npy file cannot name its program. Readers skip blanks at the end of the header; numpy writes fewer.
_IDS_HEADER = 310
_IDS_START = b"\x93NUMPY\x01\x00" + _IDS_HEADER.to_bytes(2, "little")
_OWN_STARTS = (
    CSV_HEADER.encode(),
    _IDS_START,
    b"class,ap,",
    b"measure,reading,",
    b"predicted_masks/",
    b'[{"image_id": ',
)
# In the first bytes of .ply, .las, .png, .html and .json; a scan may hold the word anywhere.
_OWN_MARKS = (
    b"\ncomment pcseg\n",
    b"\ncomment pcseg class ",
    b"\0pcseg\0",
    b"Software\0pcseg",
    b'<meta name="generator" content="pcseg">',
    b'"program": "pcseg"',
)
_ZIP_END = b"\x05\x00pcseg"  # length of the comment, and the comment


def prediction_targets(scans: Sequence[Path], out: Path, suffixes: Sequence[str] = SUFFIXES) -> list[Path]:
    """Where the files of each scan go.

    Args:
        scans: files, or folders of processed rooms.
        out: folder for all results.
        suffixes: suffixes of the files that will be written for each scan, such as ".ply".

    Returns:
        Folder and name of each scan, without a suffix; all of them differ.

    Raises:
        ValueError: two scans have one name, or a file would overwrite a scan or any other file that is no result.
    """
    owner: dict[Path, Path] = {}
    given = {scan.resolve() for scan in scans}
    for scan in scans:
        target = out / (scan.resolve().name if scan.is_dir() else scan.stem)
        if target in owner:
            raise ValueError(
                f"{scan}: its results would overwrite those of {owner[target]}, which has the same name; rename one, "
                "or give each its own folder"
            )
        for suffix in suffixes:
            check_target(Path(f"{target}{suffix}"), given)
        owner[target] = scan
    return list(owner)


def check_target(path: Path, inputs: Collection[Path] = ()) -> None:
    """Refuses to replace a file that pcseg did not write, or one of the resolved paths that are read.

    Raises:
        ValueError: the path is such a file, or a folder.
    """
    if path.is_dir():
        raise ValueError(f"{path}: a folder; expected the name of a file to write")
    if path.resolve() in inputs:
        raise ValueError(f"{path}: would overwrite the input file; choose another place")
    if path.is_file() and path.stat().st_size and not is_own(path):
        raise ValueError(f"{path}: exists and is not a result of pcseg; move it or choose another place")


def is_own(path: Path) -> bool:
    """Whether pcseg wrote an existing file, as far as its first and last bytes show."""
    with path.open("rb") as file:
        head = file.read(1 << 12)  # points that another program wrote again lose the mark
        file.seek(max(0, path.stat().st_size - len(_ZIP_END)))
        end = file.read()  # of a submission
    is_marked = end == _ZIP_END or any(mark in head for mark in _OWN_MARKS)
    return is_marked or head.startswith(_OWN_STARTS) or is_result(path)


def replaced_text(paths: Iterable[Path]) -> str:
    """What to say after the names of files that are about to be written."""
    num_old = sum(path.exists() for path in paths)
    return f" (replaced {num_old} of an earlier run)" if num_old else ""


def write_prediction(
    target: Path,
    prediction: Prediction,
    *,
    threshold: float = DEFAULT_THRESHOLD,
    suffixes: Collection[str] = SUFFIXES,
    stage: Callable[[str], None] = lambda text: None,
) -> None:
    """Writes the files of a prediction: the target's name with each of the suffixes.

    The .npz and the page hold every object; the others hold those from the threshold on, one id per point. Points, ids
    and boxes for other programs are those of the scan's file, in its order and frame; see `ScanFile`.

    Args:
        target: path of the files without their suffixes; its folder is created if it is missing.
        prediction: objects and their scene.
        threshold: lowest score of objects in files other than .npz and .html; the slider of the page starts there.
        suffixes: kinds of files to write, of `SUFFIXES`.
        stage: called with the name of each step, from several threads.

    Raises:
        ValueError: no objects were predicted, or the scene has no points.
        OSError: a file cannot be written.
    """
    writers: dict[str, tuple[str, Callable[[Path], object]]] = {
        ".npz": ("result", prediction.save),
        ".ply": ("points", lambda path: write_ply(path, prediction, threshold)),
        ".instances.csv": ("table", lambda path: write_csv(path, prediction, threshold)),
        ".ids.npy": ("ids", lambda path: _write_ids(path, prediction, threshold)),
        ".png": ("picture", lambda path: _write_picture(path, prediction, threshold)),
        ".html": ("page", lambda path: _write_page(path, prediction, threshold)),
    }

    def write_file(suffix: str) -> None:
        name, write = writers[suffix]
        stage(f"writing the {name}")
        write(Path(f"{target}{suffix}"))

    # Two files at a time, unless the scan is large and takes much memory.
    with ThreadPoolExecutor(2 if len(prediction.scene) <= MAX_POINTS else 1) as pool:
        list(pool.map(write_file, [suffix for suffix in writers if suffix in suffixes]))


def _write_picture(path: Path, prediction: Prediction, threshold: float) -> None:
    from pcseg.viz.grid import save_png  # imports Pillow
    from pcseg.viz.render import room_picture

    save_png(path, room_picture(prediction, threshold=threshold))


def _write_page(path: Path, prediction: Prediction, threshold: float) -> None:
    from pcseg.viz.html import write_page

    write_page(path, prediction, threshold=threshold)


def object_table(rows: Sequence[dict[str, Any]], surfaces: Collection[str] = ()) -> list[str]:
    """Lines of a table for the terminal: id, class, score, edge lengths of the box in meters, points.

    Args:
        rows: objects as `object_rows` gives them; of more than 40 the first are shown.
        surfaces: names of classes that come last, such as wall; apart from that, the best objects come first.

    >>> low, high = dict(min_x=0.0, min_y=0.0, min_z=0.0), dict(max_x=0.5, max_y=0.6, max_z=1.0)
    >>> print("\\n".join(object_table([{"id": 3, "class": "chair", "score": 0.876, "points": 1200, **low, **high}])))
      id  class  score         size in meters     points
       3  chair   0.88   0.50 x  0.60 x  1.00      1,200
    """
    shown = sorted(rows, key=lambda row: (row["class"] in surfaces, -row["score"]))[:MAX_ROWS]
    width = max([5, *(len(row["class"]) for row in shown)])
    lines = [f"  id  {'class':<{width}}  score  {'size in meters':>21}     points"] if shown else []
    for row in shown:
        low, high = ([row[f"{end}_{axis}"] for axis in "xyz"] for end in ("min", "max"))
        size = size_text(low, high, width=5)
        lines.append(f"{row['id']:>4}  {row['class']:<{width}}  {row['score']:5.2f}  {size}  {row['points']:>9,}")
    return [*lines, *([f"      and {len(rows) - MAX_ROWS} more"] if len(rows) > MAX_ROWS else [])]


def _write_ids(path: Path, prediction: Prediction, threshold: float) -> None:
    ids, file = prediction.point_ids(threshold), prediction.scene.file
    ids = ids if file is None else file.labels(ids)
    header = repr({"descr": "<i4", "fortran_order": False, "shape": ids.shape}).ljust(_IDS_HEADER - 1) + "\n"
    with atomic_open(path) as out:
        out.write(_IDS_START + header.encode())
        out.write(ids.astype("<i4", copy=False).data)
