import json
import math

import numpy as np

from pcseg.classes import ClassSet
from pcseg.metrics import InstanceAP, Scores
from tests.metrics.scenes import predict

CLASSES = ClassSet.from_dict({"name": "test", "names": ["wall", "shower curtain", "chair"], "s3dis_protocols": True})
SEMANTIC = np.repeat([0, 2], [100, 200])
INSTANCE = np.repeat([1, 2, 3], 100)
ROOM = predict(np.stack([SEMANTIC == 0, INSTANCE == 2]), [0, 2], [0.9, 0.5], SEMANTIC, INSTANCE, classes=CLASSES)


def _metric(kind: type = InstanceAP) -> InstanceAP:
    metric = kind(CLASSES)
    metric.add(ROOM)
    return metric


def test_table_and_json() -> None:
    assert _metric().compute().to_text().splitlines() == [
        "class              ap   ap50   ap25",
        "-" * 35,
        "wall            100.0  100.0  100.0",
        "shower curtain      -      -      -",
        "chair            50.0   50.0   50.0",
        "-" * 35,
        "mean             75.0   75.0   75.0",
    ]
    assert InstanceAP(CLASSES).compute().to_text().splitlines()[-1].split() == ["mean", "-", "-", "-"]
    content = _metric().compute().to_json()
    values = {"wall": 1.0, "shower curtain": None, "chair": 0.5}
    per_class = {name: dict.fromkeys(("ap", "ap50", "ap25"), value) for name, value in values.items()}
    assert content == {**dict.fromkeys(("ap", "ap50", "ap25"), 0.75), "classes": per_class}
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_other_results() -> None:
    result = _metric(Scores).compute()
    table = result.semantic.to_text().splitlines()
    assert table[0].split() == ["class", "iou", "acc"]
    assert table[-2].split() == ["mean", "75.0", "75.0"]
    assert table[-1] == "oa: 66.7"
    assert result.semantic.to_json()["classes"]["shower curtain"] == {"iou": None, "acc": None}
    assert math.isclose(result.semantic.to_json()["miou"], 0.75)
    table = result.panoptic.to_text().splitlines()
    assert table[-7].split() == ["mean", "83.3", "100.0", "83.3"]
    keys = [f"{key}_{group}: " for group in ("things", "stuff") for key in ("pq", "sq", "rq")]
    assert all(line.startswith(key) for line, key in zip(table[-6:], keys, strict=True))
    assert len({len(line) for line in result.s3dis.to_text().splitlines()}) == 1
