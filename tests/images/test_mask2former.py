"""The criteria on the outputs of Mask2Former, against the loss of transformers itself, and short runs."""

import json
import re
import runpy
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from transformers import Mask2FormerConfig
from transformers.models.mask2former import modeling_mask2former as theirs

from pcseg.data.coco import CocoDataset
from pcseg.files import read_records
from pcseg.images.config import ImagesOptions, load
from pcseg.images.model import ImageObjects, Mask2Former, Mask2FormerOptions, objects_of
from pcseg.images.run import ResizedImages, coco_results
from pcseg.losses import InfluencerCriterion, SetCriterion, mask2former_outputs
from pcseg.metrics.coco import coco_scores
from pcseg.structures import ImageBatch
from tests.conftest import ROOT, refuses
from tests.tools.commands import passes, refused

CLASSES, SIZE = 5, (12, 16)


def batch(counts: tuple[int, ...]) -> ImageBatch:
    """Images with instances that do not overlap, for masks of a quarter of their size."""
    targets = []
    for count in counts:
        owner = torch.randint(-2, count + 1, SIZE)
        masks = torch.stack([owner == k for k in range(1, count + 1)]) if count else torch.zeros(0, *SIZE).bool()
        labels = torch.randint(0, CLASSES, (count,))
        targets.append({"labels": labels, "masks": masks, "ignored": torch.zeros(SIZE).bool()})
    pixels = torch.randint(0, 256, (len(counts), 3, 4 * SIZE[0], 4 * SIZE[1]), dtype=torch.uint8)
    return ImageBatch(pixels, [str(index) for index in range(len(counts))], targets)


def test_losses_of_every_layer_equal_those_of_transformers() -> None:
    """With all pixels instead of sampled points; the matched pairs are equal, too."""
    images = batch((4, 2, 3))
    network = Mask2Former(CLASSES, Mask2FormerOptions(num_queries=9, width=32, decoder_layers=3)).network
    outputs = network(pixel_values=images.pixels.float() / 255, output_auxiliary_logits=True)
    height, width = SIZE
    y, x = torch.meshgrid((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij")
    centers = torch.stack([x, y], -1).reshape(1, -1, 2)
    reference = theirs.Mask2FormerLoss(Mask2FormerConfig(num_labels=CLASSES, train_num_points=height * width), {})
    reference.sample_points_using_uncertainty = lambda logits, *_: centers.expand(len(logits), -1, -1)
    criterion = SetCriterion(CLASSES, load(ROOT / "configs/images_hungarian.yaml").criterion)
    of_layers, of_images = [], []  # matched pairs
    for matcher, pairs in ((reference.matcher, of_layers), (criterion.matcher, of_images)):
        matcher.register_forward_hook(
            lambda *call, pairs=pairs: pairs.append([{*zip(*(ids.tolist() for ids in pair))} for pair in call[2]])
        )
    with mock.patch.object(theirs.torch, "rand", return_value=centers):
        logits = outputs.masks_queries_logits, outputs.class_queries_logits
        masks, labels = zip(*((target["masks"].float(), target["labels"]) for target in images.targets))
        expected = reference(*logits, list(masks), list(labels), outputs.auxiliary_logits)
    found = criterion(mask2former_outputs(outputs), images.targets)
    assert np.shape(of_images) == (3, 4)
    assert [*map(list, zip(*of_layers))] == of_images
    values = {key.replace("cross_entropy", "ce"): value.item() for key, value in expected.items()}
    assert {key: value.item() for key, value in found.items()} == pytest.approx(values, abs=1e-5)


def test_the_training_loop_of_the_documentation_runs() -> None:
    images, network = batch((4, 2, 3)), Mask2Former(CLASSES, Mask2FormerOptions(width=32, decoder_layers=1)).network
    snippet = re.findall("```python\n(.*?)```", (ROOT / "docs" / "images.md").read_text(), re.DOTALL)[0]
    known = {"num_classes": CLASSES, "model": network, "h": SIZE[0], "w": SIZE[1], "step": 1, "num_steps": 2}
    exec(snippet, {**known, "pixel_values": images.pixels / 255, "targets": images.targets})
    assert 0 < network.class_predictor.weight.grad.norm() < np.inf


@pytest.mark.parametrize("criterion", [InfluencerCriterion(CLASSES), SetCriterion(CLASSES)])
def test_ignored_pixels_do_not_count(criterion: torch.nn.Module) -> None:
    images = batch((3, 0))
    outputs = {"pred_logits": torch.randn(2, 6, CLASSES + 1), "pred_masks": torch.randn(2, 6, *SIZE)}
    for target in images.targets:
        target["ignored"] = torch.rand(SIZE) < 0.3
        target["masks"] &= ~target["ignored"]
    before = criterion.total(criterion(outputs, images.targets))
    masks = [torch.where(target["ignored"], 9.0, m) for m, target in zip(outputs["pred_masks"], images.targets)]
    after = criterion.total(criterion({**outputs, "pred_masks": torch.stack(masks)}, images.targets))
    torch.testing.assert_close(before, after)
    images.targets[0]["ignored"] = torch.zeros(3).bool()
    refuses("scene 0: ignored has 3 tokens, pred_masks 192", criterion, outputs, images.targets)


def test_objects_that_are_the_truth_have_full_ap() -> None:
    masks = np.zeros((2, 20, 20), np.float32)
    masks[0, 2:9, 2:9], masks[1, 10:18, 5:15] = 1, 1
    logits = torch.tensor([[9.0, 0, 0], [0, 9, 0], [0, 0, 9]])
    found = objects_of(logits, torch.from_numpy(np.concatenate([masks, masks[:1] * 0]) * 20 - 10), 20, 20)
    assert (found.labels[:2].tolist(), found.masks[:2].sum((1, 2)).tolist()) == ([0, 1], [49, 80])
    objects = coco_results(ImageObjects(*(part[:2] for part in found)), 0, (1, 2))
    truth = {"images": [{"id": 0, "height": 20, "width": 20}], "categories": [{"id": 1}, {"id": 2}]}
    scores = coco_scores({**truth, "annotations": objects}, objects)
    assert scores.mean == scores.per_group["small"] == pytest.approx({"ap": 1, "ap50": 1, "ap75": 1})
    assert np.isnan(scores.per_group["large"]["ap"])
    assert scores.count_text() == "2 of 2 objects found, 0 predictions without object"
    wrong = [objects[0], {**objects[0], "category_id": 2}]
    for results, ap, found, false in (([], 0, 0, 0), (wrong, 0.5, 1, 1)):
        scores = coco_scores({**truth, "annotations": objects}, results)
        assert (scores.ap, scores.counts.sum((0, 1)).tolist()) == (pytest.approx(ap), [found, 2 - found, false])
        assert scores.worst(3) == [0]


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images") / "made"
    passes("synth", folder, "--format", "coco", "--rooms", 5, "--points", 3000, "--workers", 1)
    return folder


def test_makes_images(rooms: Path) -> None:
    for split, num_images in (("train", 20), ("val", 5)):
        images = CocoDataset(rooms / f"annotations/instances_{split}.json", rooms / split)
        assert (len(images), images.classes.names[:3]) == (num_images, ("ceiling", "floor", "wall"))
        assert images[3].image.shape == (160, 160, 3)
        assert len(images[3].labels) > 2
    stored = ResizedImages(images, ImagesOptions(rooms, size=(64, 96)))
    before = stored[(0,), 3]
    assert before.targets[0]["masks"].shape[1:] == (32, 48)
    with mock.patch.object(CocoDataset, "__getitem__", side_effect=AssertionError("read twice")):
        items = [stored[(seed,), 3] for seed in range(9)]
    parts = [(item.pixels, item.targets[0]["masks"]) for item in (before, *items)]
    same = [all(map(torch.equal, part, parts[0])) for part in parts]
    mirrored = [all(a.equal(b.flip(-1)) for a, b in zip(part, parts[0])) for part in parts]
    assert same[:2] == [True, True]
    assert mirrored == [not each for each in same]
    assert any(mirrored)


@pytest.mark.parametrize("name", ["images", "images_hungarian"])
def test_trains_resumes_shows_and_scores_images(name: str, rooms: Path, tmp_path: Path) -> None:
    small = ["data.size=[64, 64]", "model.width=32", "model.decoder_layers=1", "model.swin_width=16"]
    command = ["train", ROOT / f"configs/{name}.yaml", f"data.root={rooms}", *small, "train.batch_size=2"]
    passes(*command, "train.steps=2", "--run", tmp_path)
    said, _ = passes("train", "--resume", "--run", tmp_path, "train.steps=3")
    assert re.search("20 images.*ap50", said, re.DOTALL)
    records = read_records(tmp_path / "metrics.jsonl")
    assert [record["step"] for record in records] == [1, 2, 3]
    assert np.isfinite([record["loss_ce_0"] for record in records]).all()
    results = sorted((tmp_path / "results").glob("*.npz"))
    assert len(results) == 5
    passes("show", results[0], "--png", tmp_path / "a.png", "--html", tmp_path / "a.html")
    assert (tmp_path / "a.png").stat().st_size > 10_000
    command = ["test", command[1], tmp_path / "last.pt", *command[2:-1]]
    out = tmp_path / "test"
    words = ("--json", out / "a.json", "--report", out / "a.html", "--export", out, "--results", tmp_path / "all")
    passes(*command, *words)
    last = read_records(tmp_path / "evaluations.jsonl")[-1]
    assert json.loads((out / "a.json").read_text()) | {"step": last["step"]} == {"program": "pcseg", **last}
    assert {*json.loads((out / "results.json").read_text())[0]} == {"image_id", "category_id", "score", "segmentation"}
    assert len(list((tmp_path / "all").glob("*.npz"))) == 5
    page = (out / "a.html").read_text()
    assert page.count("<img ") == 5
    assert "AP at IoU 0.75" in page
    assert "rooms" not in re.sub(r"base64,[^\"]*", "", page)
    assert "for rooms" in refused(*command, "--csv", tmp_path / "a.csv")


@pytest.mark.parametrize("name", ["toy_image", "toy_pointcloud"])
def test_examples_run(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with mock.patch("sys.argv", [name, "2"]):
        runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["Influencer", "Hungarian"]
