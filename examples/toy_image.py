"""The Influencer Loss against the Hungarian baseline on images of discs: python examples/toy_image.py [STEPS]"""

import argparse

import numpy as np
import torch
from torch import Tensor, nn

from pcseg import Prediction, Scene, losses, metrics
from pcseg.classes import ClassSet

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("steps", type=int, nargs="?", default=800, help="number of training steps (default: 800)")
SIZE, WIDTH, STEPS = 24, 32, parser.parse_args().steps
DISC = ClassSet.from_dict({"name": "shapes", "names": ["disc"]})
START = torch.arange(SIZE**2).view(SIZE, SIZE)[2::4, 2::4].flatten()  # pixels that queries start from


def make_images(seed: int, count: int) -> tuple[Tensor, Tensor]:
    """Noisy images (B, 3, H, W) of two to six discs that hide each other, and the disc of each pixel, 0 for none."""
    rng, grid = np.random.default_rng(seed), np.mgrid[:SIZE, :SIZE]
    images, ids = np.full((count, 3, SIZE, SIZE), 0.5), np.zeros((count, SIZE, SIZE), np.int64)
    for image, owner in zip(images, ids):
        for number in range(1, rng.integers(3, 8)):
            inside = np.hypot(*(grid - rng.uniform(3, SIZE - 3, (2, 1, 1)))) < rng.uniform(3, 6)
            image[:, inside], owner[inside] = rng.uniform(0, 1, (3, 1)), number
    return torch.from_numpy(images + rng.normal(0, 0.03, images.shape)).float(), torch.from_numpy(ids).flatten(1)


class Model(nn.Module):  # queries look at each other; a mask is the product of features of a query and of the pixels
    def __init__(self) -> None:
        super().__init__()
        convs = [nn.Conv2d(3 if d == 1 else WIDTH, WIDTH, 3, padding=d, dilation=d) for d in (1, 2, 4)]
        self.pixels = nn.Sequential(*(part for conv in convs for part in (conv, nn.GroupNorm(4, WIDTH), nn.ReLU())))
        self.look = nn.TransformerEncoderLayer(WIDTH, 4, 64, 0.0, batch_first=True)
        self.heads = nn.Linear(WIDTH, 2 + WIDTH)

    def forward(self, images: Tensor) -> dict:
        pixels = self.pixels(images).flatten(2)
        logits, masks = self.heads(self.look(pixels[:, :, START].mT)).split([2, WIDTH], 2)
        return {"pred_logits": logits, "pred_masks": [*pixels.mT @ masks.mT], "query_tokens": START.tile(len(masks), 1)}


for name, criterion in (("Influencer", losses.InfluencerCriterion(1)), ("Hungarian", losses.SetCriterion(1))):
    torch.manual_seed(0)
    model, total = Model(), metrics.Scores(DISC, min_points=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(STEPS):
        images, ids = make_images(step, 8)
        targets = [{"labels": torch.zeros(6).long(), "instance_labels": owner} for owner in ids]
        optimizer.zero_grad()
        criterion.total(criterion(model(images), targets, progress=step / STEPS)).backward()
        optimizer.step()
    images, ids = make_images(10**6, 200)
    outputs = model.requires_grad_(False)(images)
    for i, (owner, mask, odds) in enumerate(zip(ids.int().numpy(), outputs["pred_masks"], outputs["pred_logits"])):
        scene = Scene.without_xyz(str(i), SIZE**2, semantic=owner.clip(max=1) - 1, instance=owner)
        total.add(Prediction(scene, mask.T.numpy() > 0, np.zeros(36, int), odds.softmax(1)[:, 0].numpy(), classes=DISC))
    print(f"{name:10}  AP {100 * total.compute().ap.ap:.1f}")
