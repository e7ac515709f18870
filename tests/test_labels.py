import numpy as np
import pytest

from pcseg.labels import CLASS_SETS, S3DIS, SCANNET20, class_set


@pytest.mark.parametrize("classes", CLASS_SETS.values(), ids=list(CLASS_SETS))
def test_every_class_has_one_id_and_one_color(classes) -> None:
    assert len(classes) == len(classes.ids) == len(classes.colors) == len(set(classes.names)) == len(set(classes.ids))
    # 0 * 1000 + instance reads as void in the benchmark's ground-truth files.
    assert 0 not in classes.ids
    assert set(classes.instance_names) <= set(classes.names)
    assert classes.stuff <= set(classes.names)


def test_s3dis_counts_all_thirteen_and_scannet_leaves_wall_and_floor() -> None:
    assert len(S3DIS) == 13
    assert S3DIS.instance_classes == tuple(range(13))
    assert len(SCANNET20.instance_names) == 18
    assert not {"wall", "floor"} & set(SCANNET20.instance_names)


def test_ids_become_indices() -> None:
    assert SCANNET20.index_of_ids(np.array([0, 1, 39, 13, 999, -5])).tolist() == [-1, 0, 19, -1, -1, -1]


def test_unknown_names_are_told() -> None:
    with pytest.raises(ValueError, match="no class set 's3dsi'; known: s3dis"):
        class_set("s3dsi")
    with pytest.raises(ValueError, match="s3dis has no class 'lamp'"):
        S3DIS.index("lamp")
