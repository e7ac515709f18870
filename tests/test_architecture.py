"""The import rule: every import goes to a lower layer, and siblings never import each other."""

import ast
import re
from pathlib import Path

from tests.conftest import ROOT

LAYERS = [
    {"files", "parallel", "choices", "classes", "class_sets", "weights", "structures", "prediction"},
    {"kernels"},
    {"ops"},
    {"data", "models", "losses", "metrics"},
    {"viz"},
    {"inference"},
    {"training"},
    {"config_reader"},
    {"config_files"},
    {"config"},
    {"build"},
    {"trained"},
    {"run"},
    {"sweep", "images"},
    {"synthetic"},
    {"benchmarks"},
    {"commands"},
    {"cli"},
]
# Their whole operation has the slow form: dense convolution, matrix products, a dictionary, ScanNet's program, a norm.
PARTS = {"multiply_pairs", "add_weight_grad", "sigmoid_forward", "sigmoid_backward", "find_shifted", "mesh_graph"}
PARTS |= {"smallest_eigenvalue", "tile_width"}
PARTS |= {"add_moments", "scale_shift_relu", "add_grad_moments", "scale_shift_relu_grad"}
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


def _sources() -> dict[str, str]:
    paths = sorted((ROOT / "pcseg").rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in paths}


def _package(path: str) -> str:
    """Part of pcseg that a file belongs to."""
    return path.split("/")[1].removesuffix(".py")


def _imports(path: str, text: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide who imports whom"
            if (node.module or "") == "pcseg":
                found |= {alias.name for alias in node.names}
            elif (node.module or "").startswith("pcseg."):
                found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("pcseg.")}
    return found - {_package(path)}


def test_imports_go_down_and_every_module_has_a_layer() -> None:
    names = {path.stem for path in (ROOT / "pcseg").iterdir() if not path.name.startswith("__")} - {"py"}  # py.typed
    assert names == set(RANK)
    wrong = []
    for path, text in _sources().items():
        me = _package(path)
        for other in _imports(path, text) if not me.startswith("__") else ():
            same = RANK[other] == RANK[me] and me not in LAYERS[0]
            if (RANK[other] > RANK[me] or same) and (path, other) != ("pcseg/prediction.py", "viz"):  # Prediction.show
                wrong.append(f"{path} may not import pcseg.{other}")
    assert not wrong, "\n".join(wrong)


def test_only_commands_print_and_kernels_stand_alone() -> None:
    names = [(path, getattr(node, "id", "")) for path, text in _sources().items() for node in ast.walk(ast.parse(text))]
    assert {_package(path) for path, name in names if name == "print"} <= {"cli", "commands", "benchmarks"}
    # Benchmarks compare with it.
    users = [path for path, text in _sources().items() if "import spconv" in text or "from spconv" in text]
    assert [path for path in users if _package(path) != "benchmarks"] == ["pcseg/ops/sparse_conv.py"]
    for path, text in _sources().items():
        if _package(path) != "kernels":
            assert not re.search(r"\bnjit\b|^(import|from) numba", text, re.MULTILINE), f"{path}: belongs to kernels"
        elif Path(path).name != "__init__.py":
            assert not _imports(path, text), f"{path}: kernels import nothing of pcseg"
            slow = (ROOT / "tests" / "reference" / Path(path).name).read_text()
            names, twins = (set(re.findall(r"^def ([a-z]\w*)", each, re.MULTILINE)) for each in (text, slow))
            assert names - PARTS <= twins, f"{path}: no twin of {names - PARTS - twins} in tests/reference"
