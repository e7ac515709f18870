"""The Influencer Loss against the Hungarian baseline on images of discs: python examples/toy_image.py [STEPS]"""

import sys

import numpy as np
import torch
from torch import Tensor, nn

from pcseg.classes import ClassSet
from pcseg.losses import InfluencerCriterion, SetCriterion
from pcseg.metrics import Scores
from pcseg.prediction import Prediction
from pcseg.structures import Scene

SIZE, WIDTH, CLASSES = 24, 32, ClassSet.from_dict({"name": "shapes", "names": ["disc"]})


def make_images(seed: int, count: int) -> tuple[Tensor, list[np.ndarray]]:
    """Noisy images (B, 3, H, W) of two to six discs that hide each other, and the disc of each pixel, 0 for none."""
    rng, grid = np.random.default_rng(seed), np.mgrid[:SIZE, :SIZE]
    images, ids = np.full((count, 3, SIZE, SIZE), 0.5), np.zeros((count, SIZE, SIZE), np.int32)
    for image, owner in zip(images, ids):
        for number in range(1, rng.integers(3, 8)):
            inside = np.hypot(*(grid - rng.uniform(3, SIZE - 3, (2, 1, 1)))) < rng.uniform(3, 6)
            image[:, inside], owner[inside] = rng.uniform(0, 1, (3, 1)), number
    images += rng.normal(0, 0.03, images.shape)
    return torch.from_numpy(images).float(), [np.unique(owner, return_inverse=True)[1].ravel() for owner in ids]


class Model(nn.Module):
    """Queries from every fourth pixel look at each other; a mask is the product of query and pixel features."""

    def __init__(self) -> None:
        super().__init__()
        convs = [nn.Conv2d(5 if d == 1 else WIDTH, WIDTH, 3, padding=d, dilation=d) for d in (1, 2, 4)]
        self.pixels = nn.Sequential(*(part for conv in convs for part in (conv, nn.GroupNorm(4, WIDTH), nn.ReLU())))
        self.queries = nn.TransformerEncoderLayer(WIDTH, 4, 64, 0.0, batch_first=True)
        self.classes, self.masks = nn.Linear(WIDTH, 2), nn.Linear(WIDTH, WIDTH)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        grid = torch.linspace(-1, 1, SIZE).expand(len(images), 1, SIZE, SIZE)
        features = self.pixels(torch.cat([images, grid, grid.mT], 1))
        queries = self.queries(features[:, :, 2::4, 2::4].flatten(2).mT)
        masks = torch.einsum("bmc,bchw->bmhw", self.masks(queries), features)
        tokens = torch.arange(SIZE**2).view(SIZE, SIZE)[2::4, 2::4].reshape(1, -1).expand(len(images), -1)
        return {"pred_logits": self.classes(queries), "pred_masks": masks, "query_tokens": tokens}


steps = int(sys.argv[1]) if len(sys.argv) > 1 else 1200
for name, criterion in (("Influencer", InfluencerCriterion(1)), ("Hungarian", SetCriterion(1))):
    torch.manual_seed(0)
    model, scores = Model(), Scores(CLASSES, min_points=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(steps):
        images, ids = make_images(step, 8)
        targets = [{"labels": torch.zeros(i.max()).long(), "instance_labels": torch.from_numpy(i)} for i in ids]
        optimizer.zero_grad()
        criterion.total(criterion(model(images), targets, progress=step / steps)).backward()
        optimizer.step()
    images, ids = make_images(10**6, 200)
    outputs = {key: value.detach() for key, value in model(images).items()}
    for index, owner in enumerate(ids):
        truth = owner.astype(np.int32)
        scene = Scene.without_xyz(str(index), len(truth), semantic=np.minimum(truth, 1) - 1, instance=truth)
        masks, score = outputs["pred_masks"][index].flatten(1) > 0, outputs["pred_logits"][index].softmax(1)[:, 0]
        scores.add(Prediction(scene, masks.numpy(), np.zeros(36, int), score.numpy(), classes=CLASSES))
    print(f"{name:10}  AP {100 * scores.compute().ap.ap:.1f}")
