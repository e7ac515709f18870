"""Prediction with tiles, views and filters, mostly by a model that finds red points."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pcseg.classes import S3DIS
from pcseg.inference.segmenter import VIEWS, Segmenter, SegmenterOptions
from pcseg.kernels.conv import HAS_BF16
from pcseg.models.influencerformer import InfluencerFormer
from pcseg.models.query_decoder import QueryDecoder, QueryDecoderOptions
from pcseg.models.sparse_unet import SparseUNet, SparseUNetOptions
from pcseg.ops.superpoints import SuperpointOptions
from pcseg.structures import DecoderOutput, Scene, SceneBatch
from pcseg.synthetic import make_room
from tests.conftest import holds, refuses
from tests.scenes import random_scene

TABLE, FLOOR = S3DIS.index("table"), S3DIS.index("floor")


class FindsRed(InfluencerFormer):
    """One query is a table, where it is red; the other one is the floor, everything else."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.weight = nn.Parameter(torch.zeros(1))
        self.decoder = SimpleNamespace(options=QueryDecoderOptions())
        self.sizes: list[int] = []

    def forward(self, batch: SceneBatch, num_queries: int | None = None) -> DecoderOutput:
        self.sizes.append(len(batch.voxel_coords))
        num = len(batch.superpoint_xyz)
        red = torch.zeros(num).index_add(0, batch.pair_superpoint, batch.voxel_features[batch.pair_voxel, 0])
        logit = 20 * red.sign()
        logits = torch.full((1, 2, len(S3DIS) + 1), -20.0)
        logits[0, 0, TABLE] = logits[0, 1, FLOOR] = 20
        semantic = torch.nn.functional.one_hot(torch.where(red > 0, TABLE, FLOOR), len(S3DIS)) * 20.0
        return {"pred_logits": logits, "pred_masks": [torch.stack([logit, -logit], 1)], "pred_semantic": [semantic]}


def _hall(*tables: tuple[float, float]) -> Scene:
    """A floor of 14 x 4 m, with red squares of 1 m across it, from x to x; superpoints are squares of 0.5 m."""
    x, y = (a.ravel() for a in np.meshgrid(np.arange(0, 14, 0.1), np.arange(0, 4, 0.1), indexing="ij"))
    xyz = np.stack([x, y, np.zeros_like(x)], axis=1).astype(np.float32) + np.float32(0.05)
    rgb = np.zeros((len(x), 3), np.uint8)
    for low, high in tables:
        rgb[(xyz[:, 0] > low) & (xyz[:, 0] < high) & (xyz[:, 1] > 1) & (xyz[:, 1] < 2)] = 255, 0, 0
    block = np.floor(xyz[:, 0] / 0.5).astype(int) * 8 + np.floor(xyz[:, 1] / 0.5).astype(int)
    return Scene("hall", xyz, rgb, superpoint=np.unique(block, return_inverse=True)[1].astype(np.int32))


def _segmenter(model: InfluencerFormer | None = None, **options: Any) -> Segmenter:
    return Segmenter(model or FindsRed(), S3DIS, 0.1, ("rgb", "xyz"), SegmenterOptions(score_threshold=0.5, **options))


@pytest.fixture(scope="module")
def real_model() -> InfluencerFormer:
    torch.manual_seed(0)
    unet = SparseUNet(6, SparseUNetOptions((8, 16), blocks_per_level=1))
    options = QueryDecoderOptions(width=16, num_heads=2, num_layers=1, ffn_width=32)
    return InfluencerFormer(unet, QueryDecoder(unet.out_channels, len(S3DIS), options))


@pytest.mark.parametrize("shift", [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0])
def test_a_room_cut_by_a_seam_through_a_table_has_one_table(shift: float) -> None:
    hall, segmenter = _hall((4 + shift, 6 + shift)), _segmenter()
    instances = segmenter.predict(hall)
    assert len(segmenter.model.sizes) == 4, "the hall is four tiles of 5 m"
    assert max(segmenter.model.sizes) <= 5.5 / 0.1 * 40
    assert sorted(instances.labels.tolist()) == sorted([TABLE, FLOOR])
    red = hall.rgb[:, 0] > 0
    for index, label in enumerate(instances.labels):
        np.testing.assert_array_equal(instances.point_mask(index), red if label == TABLE else ~red)
    assert instances.scores.min() > 0.85  # of the table a tile may see too little to report it
    np.testing.assert_array_equal(instances.semantic, np.where(red, TABLE, FLOOR))


def test_rooms_of_a_floor_are_predicted_as_if_alone(real_model: InfluencerFormer) -> None:
    first, second = (make_room(seed, 0, num_points=40_000) for seed in (3, 4))
    gap = float(first.xyz[:, 0].max() - second.xyz[:, 0].min()) + 6
    moved = (second.xyz + np.float32([gap, 0, 0])).astype(np.float32)
    floor = Scene("floor", np.concatenate([first.xyz, moved]), np.concatenate([first.rgb, second.rgb]))
    options = SuperpointOptions(max_superpoints=300)
    segmenter = replace(_segmenter(real_model).with_options(score_threshold=0.0), superpoints=options)
    found = segmenter.predict(floor)
    for rows, room in ((slice(None, len(first)), first), (slice(len(first), None), second.with_(xyz=moved))):
        alone = segmenter.predict(room.with_(superpoint=None, instance=None, semantic=None))
        assert len(set(found.superpoint[rows].tolist())) == alone.scene.num_superpoints
        np.testing.assert_array_equal(found.semantic[rows], alone.semantic)


def test_tables_stay_apart_and_hardly_anything_is_found() -> None:
    assert sorted(_segmenter().predict(_hall((1, 2), (12, 13))).labels.tolist()) == sorted([TABLE, TABLE, FLOOR])
    assert _segmenter(min_points=10_000).predict(_hall((4, 6))).masks.shape == (0, 28 * 8)
    point = Scene("point", np.zeros((1, 3), np.float32), np.full((1, 3), 255, np.uint8))
    assert _segmenter(min_points=1, tile_above=0.0).predict(point).labels.tolist() == [TABLE]
    far = Scene("far", np.array([[0, 0, 0], [500, 500, 0]], np.float32), np.full((2, 3), 255, np.uint8))
    instances = _segmenter(min_points=1).predict(far)
    holds(instances, masks=np.eye(2, dtype=bool), semantic=[TABLE, TABLE])
    assert instances.scene.superpoint is not None


@pytest.mark.parametrize(
    "options", [{"views": "flips"}, {"flat_floor": True}, {"matrix_nms": False}, {"non_overlapping": True}]
)
def test_options_agree_where_there_is_nothing_to_decide(options: dict[str, Any]) -> None:
    hall = _hall((4, 6))
    plain, found = _segmenter().predict(hall), _segmenter(**options).predict(hall)
    holds(found, masks=plain.masks, labels=plain.labels)
    np.testing.assert_allclose(found.scores, plain.scores, atol=1e-6)
    np.testing.assert_array_equal(found.scene.xyz, hall.xyz)


def test_views_are_merged_and_a_small_scan_is_one_tile_to_the_bit(real_model: InfluencerFormer) -> None:
    room, halves = make_room(0, 0, num_points=3000), "bf16" if HAS_BF16 else "auto"
    segmenter = _segmenter(real_model).with_options(score_threshold=0.0, min_points=20, precision=halves)
    message = r"no option threshold; did you mean mask_threshold or score_threshold\?"
    refuses(message, segmenter.with_options, threshold=0.5, error=TypeError)
    refuses("no option rgb; there are top_k, min_points, ", segmenter.with_options, rgb=None, error=TypeError)
    message = "predict has no option fast, threshold; with_options"
    refuses(message, segmenter.predict, room, threshold=0.5, fast=True, error=TypeError)
    refuses("views must be one of one, flips, flips_rotations, got 'all'", segmenter.with_options, views="all")
    refuses("precision must be one of auto, .*, got 'float16'", segmenter.with_options, precision="float16")
    whole = segmenter.predict(room)
    assert real_model.unet.halves == HAS_BF16
    exact_one = segmenter.with_options(precision="float32")
    exact = exact_one.predict(room)
    assert not real_model.unet.halves
    np.testing.assert_allclose(exact.scores[0], whole.scores[0], atol=0.02)
    with ThreadPoolExecutor(2) as pool:  # copies share a network, whose modes they change
        pairs = list(pool.map(lambda one: one.predict(room).scores, [segmenter, exact_one] * 3))
    for each, expected in zip(pairs, [whole, exact] * 3):
        np.testing.assert_array_equal(each, expected.scores)
    refuses("precision fp16: this CPU cannot", segmenter.with_options(precision="fp16").predict, room)
    merged = segmenter.with_options(views="flips_rotations").predict(whole.scene)
    assert min(len(whole), len(merged)) > 0
    assert merged.masks.shape[1] == whole.masks.shape[1]
    assert (np.diff(merged.scores) <= 0).all()
    assert (merged.masks @ np.bincount(whole.superpoint) >= 20).all()
    tiled = segmenter.with_options(tile_above=0.0, tile_size=20.0).predict(room)
    holds(tiled, masks=whole.masks, scores=whole.scores, labels=whole.labels, semantic=whole.semantic)


def test_superpoints_of_a_large_scan_are_made_tile_by_tile() -> None:
    options = SuperpointOptions(voxel_size=0.1, max_superpoints=20)
    instances = replace(_segmenter(), superpoints=options).predict(_hall((4, 6)).with_(superpoint=None))
    assert instances.scene.num_superpoints > 3 * 20, "as many in each of three tiles"
    assert (np.bincount(instances.scene.superpoint) > 0).all()
    assert (instances.labels == TABLE).sum() == 1


def test_what_is_no_scan_is_refused() -> None:
    two = Scene("two", np.zeros((2, 3), np.float32), np.zeros((2, 3), np.uint8))
    for scan, message in (
        (Scene("nothing", np.zeros((0, 3), np.float32)), "scene nothing has no points"),
        *(
            (two.with_(superpoint=np.int32(ids)), rf"expected superpoints .*, got {ids[0]}\.\.{ids[1]}; number")
            for ids in ((-1, 0), (1, 1), (0, 9))
        ),
        (Path(__file__).parent, "inference: a folder, not a scan; give a list of the files in it"),
        (
            [_hall(), *["a.ply"] * 7, np.zeros((9, 3)), 0.5, 0.5],
            "10 of 11 scans .*: a.ply, .*, a.ply and 2 more: no such [^:]*; .* has no rgb.*; [^:]*got float",
        ),
        (np.zeros((9, 4)), r"expected an array of numbers \(P, 3\) of x y z or \(P, 6\).*, got float64 \(9, 4\)"),
        (torch.zeros(3), r"\(P, 3\) of x y z or \(P, 6\).*, got float32 \(3,\)"),
        (np.full((9, 6), -1.0), "points: colors from -1 to -1 are not clearly 0..1"),
        ("nowhere.ply", "nowhere.ply: no such file"),
        ([0.5], r"expected a path, an array \(P, 3\) or \(P, 6\), a Scene, or a list of these, got float"),
    ):
        refuses(message, _segmenter().predict, scan)


def test_arrays_tensors_files_and_lists_of_them(tmp_path: Path) -> None:
    hall, superpoints = _hall((4, 6)), SuperpointOptions("voxel", coarse_voxel_size=0.5)
    points = np.concatenate([hall.xyz, hall.rgb], axis=1)
    np.savez(tmp_path / "hall.npz", xyz=hall.xyz, rgb=hall.rgb, semantic=np.full(len(hall), 99))  # labels are ignored
    fractions = torch.from_numpy(points / np.float32([1, 1, 1, 255, 255, 255]))
    scans = [hall.with_(superpoint=None), points, fractions, tmp_path / "hall.npz", str(tmp_path / "hall.npz")]
    expected, *others = replace(_segmenter(), superpoints=superpoints).predict(scans)
    assert (expected.labels == TABLE).sum() == 1
    for found in others:
        holds(found, masks=expected.masks)


@pytest.mark.parametrize(("name", "count"), [("one", 1), ("flips", 4), ("flips_rotations", 8)])
def test_views_begin_with_the_scan_itself_and_keep_lengths_to_the_bit(name: str, count: int) -> None:
    scene = random_scene()
    np.testing.assert_array_equal(VIEWS[name][0], np.eye(3))
    assert len(VIEWS[name]) == len(np.unique(VIEWS[name], axis=0)) == count
    for matrix in VIEWS[name]:
        view = scene.transformed(matrix)
        np.testing.assert_array_equal(np.sort(np.abs(view.xyz[:, :2])), np.sort(np.abs(scene.xyz[:, :2])))
        np.testing.assert_allclose((view.xyz * view.normal).sum(1), (scene.xyz * scene.normal).sum(1), atol=1e-5)
        holds(view, superpoint=scene.superpoint)
        holds(view.transformed(np.ascontiguousarray(matrix.T)), xyz=scene.xyz)
