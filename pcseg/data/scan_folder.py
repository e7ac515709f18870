"""A folder of labeled scans, of any format that read_scan takes, as a dataset."""

from pathlib import Path
from typing import Any

from pcseg.data.scan_files import EXTENSIONS, describe, read_scan
from pcseg.structures import Scene


def find_scans(raw: Path) -> list[Path]:
    """Scans of a folder in order of name, or the one scan that `raw` is.

    Raises:
        ValueError: no such folder, or no scan in it.
    """
    if raw.is_file():
        return [raw]
    if not raw.is_dir():
        raise ValueError(f"{raw}: no such folder; expected a folder of scans")
    scans = sorted(path for path in raw.iterdir() if path.is_file() and path.suffix.lower() in EXTENSIONS)
    if not scans:
        raise ValueError(f"{raw}: no scan in it; expected files {' '.join(EXTENSIONS)}")
    return scans


def scan_name(path: Path) -> str:
    """Name of a scan: its file's, without the extension."""
    return path.stem


def scan_source(path: Path) -> list[Path]:
    """The files that a scan is read from: itself."""
    return [path]


def read_labeled_scan(path: Path, *, needs_labels: bool = True, **options: Any) -> tuple[Scene, list[str]]:
    """A scan with its labels, and the advice on it.

    Args:
        path: the file.
        needs_labels: refuse a scan without them.
        options: of `read_scan`.

    Raises:
        ValueError: what `read_scan` refuses; no labels.
    """
    scene = read_scan(path, **options)
    missing = [key for key in ("semantic", "instance") if getattr(scene, key) is None]
    if needs_labels and missing:
        raise ValueError(
            f"{path}: no {' and no '.join(missing)} in it; name its columns so, give --label-ids if `label` holds "
            f"ids of a benchmark, or take unlabeled scans with --unlabeled"
        )
    return scene, [f"{path.name}: {advice}" for advice in describe(scene)]
