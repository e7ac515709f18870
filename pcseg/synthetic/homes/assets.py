"""Fetches the furniture catalogs of Sweet Home 3D and converts their models; nothing of them is part of pcseg."""

import hashlib
import json
import logging
import shutil
import subprocess
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from pcseg.files import atomic_write
from pcseg.synthetic.homes.catalog import Entry, read_catalogs, read_model
from pcseg.synthetic.homes.models import Model

# Debian packages with the SHA-256 of the versions that the rooms were tuned with.
PACKAGES = {
    "sweethome3d-furniture_1.8-1_all.deb": "3ccb90c63f9525e887a767b9cd5c8b6933b8b6b2973a615a5359ee68a2118668",
    "sweethome3d_7.0.2+dfsg-3_all.deb": "54bce4394ae763da1ffccff8f025565ce7161dc6934371e07480034ef155c411",
}
LICENSES = {
    "BlendSwap-CC-0": "CC0 1.0, the BlendSwap contributors",
    "BlendSwap-CC-BY": "CC-BY 3.0, the BlendSwap contributors",
    "KatorLegaz": "CC-BY 3.0 US, Andrew Kator and Jennifer Legaz",
    "Scopia": "CC-BY 3.0, Scopia Visual Interfaces Systems",
    "SweetHome3D": "CC-BY 3.0, Emmanuel Puybaret (eTeks) and contributors",
}
LIST = "assets.json"
logger = logging.getLogger(__name__)


def fetch_assets(
    out: Path, packages: Sequence[Path] = (), *, any_version: bool = False, note: Callable[[str], None] = logger.info
) -> Counter[str]:
    """Unpacks the catalogs, converts every model that kinds.yaml uses, and writes the attribution.

    Args:
        out: folder for the models, ATTRIBUTION.md and assets.json, which is written last.
        packages: the Debian packages; fetched with apt-get where none are given.
        any_version: accept packages with another SHA-256.
        note: receives one line per stage.

    Returns:
        Number of models of each kind.

    Raises:
        FileNotFoundError: a given package does not exist.
        ValueError: a package cannot be fetched or unpacked, or is of another version.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if not packages:
            note("fetching the furniture catalogs (137 MB) with apt-get ...")
            packages = _download(folder)
        for path in packages:
            _check(path, any_version)
        note("unpacking ...")
        libraries = _unpack(packages, folder)
        note("converting models ...")
        entries = [(entry, entry.kind) for entry in read_catalogs(libraries)]
        (out / "models").mkdir(parents=True, exist_ok=True)
        kinds: dict[str, str] = {}
        used: list[Entry] = []
        for entry, kind in entries:
            if kind is None:
                continue
            try:
                model = read_model(entry, kind)
            except (ValueError, OSError) as error:
                note(f"left out: {entry.library}/{entry.id}: {error}")
                continue
            model.save(out / "models" / f"{model.name}.npz")
            kinds[model.name] = kind
            used.append(entry)
    atomic_write(out / "ATTRIBUTION.md", _attribution(used))
    content = {"packages": [path.name for path in packages], "models": dict(sorted(kinds.items()))}
    atomic_write(out / LIST, json.dumps(content, indent=1))
    return Counter(kinds.values())


def load_models(folder: Path) -> dict[str, list[Model]]:
    """Models of each kind, in the order of their names.

    Args:
        folder: what `fetch_assets` wrote.

    Raises:
        ValueError: the folder holds no assets, or not all of them.
    """
    path = folder / LIST
    if not path.exists():
        raise ValueError(f"{folder}: no furniture models ({LIST} is missing); add --fetch-assets")
    kinds: dict[str, list[Model]] = {}
    for name, kind in json.loads(path.read_text("utf-8"))["models"].items():
        file = folder / "models" / f"{name}.npz"
        if not file.exists():
            raise ValueError(f"{folder}: the model {name} is missing; add --fetch-assets, to fetch it again")
        kinds.setdefault(kind, []).append(Model.load(file))
    return kinds


def _download(folder: Path) -> list[Path]:
    names = [name.split("_")[0] for name in PACKAGES]
    if shutil.which("apt-get") is None:
        raise ValueError(f"apt-get is not available; download {', '.join(PACKAGES)} from Debian and pass their paths")
    done = subprocess.run(["apt-get", "download", *names], cwd=folder, capture_output=True, text=True)
    found = sorted(folder.glob("*.deb"))
    if done.returncode or len(found) != len(names):
        raise ValueError(f"apt-get download {' '.join(names)} failed: {done.stderr.strip().splitlines()[-1:]}")
    return found


def _check(path: Path, any_version: bool) -> None:
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; expected one of {', '.join(PACKAGES)}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest not in PACKAGES.values() and not any_version:
        raise ValueError(
            f"{path}: SHA-256 {digest} does not match {' or '.join(PACKAGES)}; "
            "pass --any-version to use it, the rooms will differ"
        )


def _unpack(packages: Sequence[Path], folder: Path) -> Path:
    """One folder per library, from the zip files inside the packages."""
    libraries = folder / "libraries"
    for package in packages:
        content = folder / package.stem
        if subprocess.run(["dpkg", "-x", str(package), str(content)], capture_output=True).returncode:
            raise ValueError(f"{package}: cannot be unpacked, the file is damaged")
        for archive in sorted([*content.rglob("*.sh3f"), *content.rglob("sweethome3d.jar")]):
            with zipfile.ZipFile(archive) as file:
                if archive.suffix == ".sh3f":
                    file.extractall(libraries / archive.stem)
                    continue
                # Textures of the program are GPL: only its models are used.
                names = [
                    n for n in file.namelist() if n.startswith("com/eteks/sweethome3d/io/") and "/textures/" not in n
                ]
                file.extractall(libraries / "SweetHome3D", names)
    if not libraries.exists():
        raise ValueError(f"{', '.join(map(str, packages))}: no furniture catalog inside")
    return libraries


def _attribution(entries: Sequence[Entry]) -> str:
    lines = [
        "# Furniture models",
        "",
        "Models of the furniture catalogs of Sweet Home 3D (https://www.sweethome3d.com).",
    ]
    for library in sorted({entry.library for entry in entries}):
        lines += ["", f"## {library}: {LICENSES.get(library, 'see the package')}", ""]
        lines += [f"* {entry.name} ({entry.creator})" for entry in entries if entry.library == library]
    return "\n".join(lines) + "\n"
