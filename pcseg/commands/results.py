"""Results of predictions, as commands find them; results of evaluations, as commands print and write them."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pcseg.metrics.scores import Scores


def claim(*files: Path | None) -> Callable[[], None]:
    """Checks the files that a command will write, before its work; the result prints their names afterwards.

    Raises:
        ValueError: one is a folder, or a file that pcseg did not write.
    """
    paths = [file for file in files if file is not None]
    if not paths:
        return lambda: None
    from pcseg.files import first_of
    from pcseg.inference.prediction_files import check_target, replaced_text

    for path in paths:
        check_target(path)
    text = f"files: {first_of(paths)}{replaced_text(paths)}"
    return lambda: print(text)


def report_scores(args: argparse.Namespace, scores: "Scores") -> None:
    """Prints the result, and writes it to the files of --json and --csv."""
    from pcseg.files import atomic_write, write_json

    result = scores.compute()
    print(result.to_text())
    print(
        f"In percent. Objects and predictions of fewer than {scores.min_points} points do not count, and predictions "
        f"that score below {scores.min_score:g} count for AP only."
    )
    if args.json:
        write_json(args.json, result.to_json())
    if args.csv:
        atomic_write(args.csv, result.to_csv())


def inputs_in(paths: Sequence[Path], *, results: bool) -> list[Path]:
    """What is in the folders, in place of them; files and processed rooms stay.

    Args:
        paths: files, processed rooms, and folders.
        results: take the results in a folder (.npz), if it has any. Otherwise, and if False, take its processed rooms,
            or the scans that pcseg did not write.

    Raises:
        ValueError: nothing of this is in a folder.
    """
    from pcseg.data.scan_files import find_scans
    from pcseg.data.store import MANIFEST
    from pcseg.inference.prediction_files import is_own
    from pcseg.prediction import is_result

    found: list[Path] = []
    for path in paths:
        if not results and path.suffix.lower() in (".ply", ".npz") and path.is_file() and is_own(path):
            raise ValueError(f"{path}: a result of pcseg; give the scan itself")
        if not path.is_dir() or (path / MANIFEST).exists():
            found.append(path)
        elif results and (inside := [file for file in sorted(path.glob("[!.]*.npz")) if is_result(file)]):
            found += inside
        elif rooms := sorted(path.glob(f"[!.]*/{MANIFEST}")):
            found += [room.parent for room in rooms]
        elif scans := [scan for scan in find_scans(path) if not is_own(scan)]:
            found += scans
        else:
            raise ValueError(f"{path}: no scan in it, only results of pcseg")
    return found
