import json
from pathlib import Path

import numpy as np
import pytest

from pcseg.classes import CLASS_SETS, OBJECT_COLORS, S3DIS, SCANNET20, SCANNET200, SURFACE_COLORS, ClassSet, class_set
from tests.conftest import refuses


@pytest.mark.parametrize("name", CLASS_SETS)
def test_every_class_has_one_id_and_one_color(name: str) -> None:
    classes = class_set(name)
    assert len(classes) == len(classes.ids) == len(classes.colors) == len(set(classes.names)) == len(set(classes.ids))
    # 0 * 1000 + instance reads as void in the benchmark's ground-truth files.
    assert 0 not in classes.ids
    assert set(classes.instance_names) <= set(classes.names)
    assert classes.stuff <= set(classes.names)
    assert classes.name == name
    assert ClassSet.from_dict(json.loads(json.dumps(classes.to_dict()))) == classes


def test_benchmarks_groups_of_scannet200_and_unknown_names() -> None:
    for classes, num, not_instances, ids, indices in (
        (S3DIS, 13, set(), [0, 1, 13, 14], [-1, 0, 12, -1]),
        (SCANNET20, 20, {"wall", "floor"}, [0, 1, 39, 13, 999, -5], [-1, 0, 19, -1, -1, -1]),
        (SCANNET200, 200, {"wall", "floor"}, [1, 1191, 12], [0, 199, -1]),
    ):
        assert (len(classes), set(classes.names) - set(classes.instance_names)) == (num, not_instances)
        assert classes.index_of_ids(np.array(ids)).tolist() == indices
        assert classes.s3dis_protocols == (classes is S3DIS)
    assert {group: len(names) for group, names in SCANNET200.groups.items()} == {"head": 66, "common": 68, "tail": 66}
    assert {name for names in SCANNET200.groups.values() for name in names} == set(SCANNET200.names)
    assert len(set(SCANNET200.colors)) == 200
    refuses("no class set 's3dsi'; known: s3dis", class_set, "s3dsi")
    refuses("s3dis has no class 'lamp'", S3DIS.index, "lamp")
    refuses(r"mine\.yaml: cannot read the classes: No such file", class_set, "mine.yaml")


def test_custom_classes_and_mappings(tmp_path: Path) -> None:
    indoor = class_set("indoor")
    for name in ("s3dis", "scannet20", "scannet200", "indoor"):
        other = class_set(name)
        mapped = {a: other.names[i] if i >= 0 else None for a, i in zip(indoor.names, indoor.mapping_to(other))}
        assert mapped["chair"] == "chair"
        assert mapped["pillow"] == {"s3dis": "clutter", "scannet20": None}.get(name, "pillow")
    refuses("no mapping from classes scannet20 to indoor; known: none", class_set("scannet20").mapping_to, indoor)
    path = tmp_path / "workshop.yaml"
    path.write_text("names: [floor, bench, vice]\nstuff: [floor]\n")
    classes = class_set(path)
    assert (classes.name, classes.ids, classes.instance_names) == ("workshop", (1, 2, 3), ("bench", "vice"))
    assert classes.colors == tuple(map(tuple, [*SURFACE_COLORS[:1].tolist(), *OBJECT_COLORS[:2].tolist()]))
    assert classes == class_set(str(path))
    assert indoor.mapping_to(classes).tolist() == [0 if name == "floor" else -1 for name in indoor.names]
    text = "name: mine\nnames: [a, b]\nids: [7, 3]\ncolors: [[1, 2, 3], [4, 5, 6]]\ninstance_names: [b]\n"
    path.write_text(text + "groups: {g: [a]}\ns3dis_protocols: true\n")
    colors = (1, 2, 3), (4, 5, 6)
    assert class_set(path) == ClassSet("mine", ("a", "b"), (7, 3), colors, frozenset(), ("b",), {"g": ("a",)}, True)


def test_mistakes_in_a_file_of_classes_are_named(tmp_path: Path) -> None:
    for text, message in (
        ("", "expected a mapping with a list `names`"),
        ("names: []", "expected a mapping with a list `names`"),
        ("names: [a, 3]", "names as a list of class names"),
        ("names: [a, a]", "names has 'a' twice"),
        ("names: [a]\nstuf: [a]", "unknown key 'stuf'"),
        ("names: [a]\nstuff: [b]", "stuff has 'b', which is not among names: a"),
        ("names: [a, b]\nids: [0, 1]", "ids as 2 different whole numbers above 0"),
        ("names: [a, b]\nids: [1]", "ids as 2 different whole numbers above 0"),
        ("names: [a]\ncolors: [[0, 0, 256]]", r"colors as 1 lists \[r, g, b\]"),
        ("names: [a]\ngroups: [a]", "groups as a mapping"),
        ("names: [a]\ns3dis_protocols: 1", "s3dis_protocols as true or false"),
        ("names: [a]\nname: 5", "expected a name for the class set"),
        ("names: [a]\nname: s3dis", "s3dis is the name of a built-in class set"),
        ("names: [a", "not YAML"),
    ):
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        refuses(message, class_set, path)
