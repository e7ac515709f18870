"""Results as text, JSON and CSV."""

import json
import math

import numpy as np

from pcseg.metrics.instance_ap import InstanceAP
from pcseg.metrics.panoptic_quality import PanopticQuality
from pcseg.metrics.s3dis_protocols import COLUMNS, S3DISProtocols
from pcseg.metrics.semantic_iou import SemanticIoU
from pcseg.metrics.table import format_table, to_csv, to_json

NAMES = ("wall", "shower curtain", "chair")
SEMANTIC = np.repeat([0, 2], [100, 200]).astype(np.int32)


def _ap() -> InstanceAP:
    metric = InstanceAP(NAMES)
    instance = np.repeat([1, 2, 3], 100).astype(np.int32)
    masks = np.stack([SEMANTIC == 0, instance == 2])
    metric.add("room", masks, np.array([0, 2]), np.array([0.9, 0.5]), SEMANTIC, instance)
    return metric


def test_ap_table() -> None:
    assert format_table(_ap().compute()) == "\n".join(
        [
            "class              ap   ap50   ap25",
            "-" * 35,
            "wall            100.0  100.0  100.0",
            "shower curtain      -      -      -",
            "chair            50.0   50.0   50.0",
            "-" * 35,
            "mean             75.0   75.0   75.0",
        ]
    )


def test_ap_json() -> None:
    content = to_json(_ap().compute())
    assert content == {
        "ap": 0.75,
        "ap50": 0.75,
        "ap25": 0.75,
        "classes": {
            "wall": {"ap": 1.0, "ap50": 1.0, "ap25": 1.0},
            "shower curtain": {"ap": None, "ap50": None, "ap25": None},
            "chair": {"ap": 0.5, "ap50": 0.5, "ap25": 0.5},
        },
    }
    assert json.loads(json.dumps(content, allow_nan=False)) == content


def test_ap_csv() -> None:
    assert to_csv(_ap().compute()).splitlines() == [
        "class,ap,ap50,ap25",
        "wall,1.0,1.0,1.0",
        "shower curtain,,,",
        "chair,0.5,0.5,0.5",
        "mean,0.75,0.75,0.75",
    ]


def test_nothing_measured() -> None:
    result = InstanceAP(NAMES).compute()
    assert format_table(result).splitlines()[-1].split() == ["mean", "-", "-", "-"]
    assert to_json(result)["ap"] is None
    assert format_table(InstanceAP([]).compute()).splitlines()[0].split() == ["class", "ap", "ap50", "ap25"]


def test_other_results() -> None:
    semantic = SemanticIoU(NAMES)
    semantic.add(np.zeros(300, np.int32), SEMANTIC)
    table = format_table(semantic.compute()).splitlines()
    assert table[0].split() == ["class", "iou", "acc"]
    assert table[-2].split() == ["mean", "16.7", "50.0"]
    assert table[-1] == "oa: 33.3"
    assert to_json(semantic.compute())["classes"]["shower curtain"] == {"iou": None, "acc": None}
    assert math.isclose(to_json(semantic.compute())["miou"], 1 / 6)

    panoptic = PanopticQuality(NAMES, {"wall"})
    instance = np.ones(300, np.int32)
    panoptic.add(SEMANTIC, instance, SEMANTIC, instance)
    table = format_table(panoptic.compute()).splitlines()
    assert table[-7].split() == ["mean", "100.0", "100.0", "100.0"]
    assert table[-6:] == [f"{key}_{group}: 100.0" for group in ("things", "stuff") for key in ("pq", "sq", "rq")]
    assert to_json(panoptic.compute())["pq_stuff"] == 1.0

    protocols = S3DISProtocols(NAMES)
    protocols.add("room", (SEMANTIC == 2)[None], np.array([2]), np.array([0.9]), SEMANTIC, instance)
    assert format_table(protocols.compute()).splitlines()[0].split() == ["class", *COLUMNS]
    assert to_json(protocols.compute())["classes"]["chair"]["recall_partition"] == 1.0
    assert len({len(line) for line in format_table(protocols.compute()).splitlines()}) == 1
