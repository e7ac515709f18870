"""Who may import whom: every import goes to a lower layer, siblings never meet, only build and tools read config."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAYERS = [
    {"files", "parallel", "classes", "class_sets", "structures"},
    {"kernels"},
    {"ops"},
    {"data", "models", "losses", "metrics"},
    {"viz"},
    {"inference"},
    {"training"},
    {"config_reader"},
    {"config"},
    {"build"},
    {"build_training"},
    {"run"},
    {"synthetic"},
    {"sweep"},
    {"cli"},
]
# The report still shares the drawing among the processes of training.
EXCEPTIONS = {("pcseg/viz/report.py", "training")}
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide who imports whom"
            if (node.module or "") == "pcseg":
                found |= {alias.name for alias in node.names}
            elif (node.module or "").startswith("pcseg."):
                found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("pcseg.")}
    return found


def test_every_module_has_a_layer() -> None:
    names = {path.stem for path in (ROOT / "pcseg").iterdir() if not path.name.startswith("__")}
    assert names == set(RANK)


def test_imports_go_down() -> None:
    wrong = []
    for path in sorted((ROOT / "pcseg").rglob("*.py")):
        me = path.relative_to(ROOT / "pcseg").parts[0].removesuffix(".py")
        if me == "__init__":
            continue
        for other in _imports(path) - {me}:
            same = RANK[other] == RANK[me] and me not in LAYERS[0]
            relative = path.relative_to(ROOT).as_posix()
            if (RANK[other] > RANK[me] or same) and (relative, other) not in EXCEPTIONS:
                wrong.append(f"{relative} may not import pcseg.{other}")
    assert not wrong, "\n".join(wrong)


def test_only_sparse_conv_imports_spconv() -> None:
    users = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "pcseg").rglob("*.py")
        if "import spconv" in path.read_text() or "from spconv" in path.read_text()
    ]
    assert users == ["pcseg/ops/sparse_conv.py"]
