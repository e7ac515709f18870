"""The Influencer Loss against the Hungarian baseline on synthetic rooms: python examples/toy_pointcloud.py [STEPS]

Same model, rooms and steps for both; prints the AP of rooms that were not trained on.
"""

import argparse

import torch

from pcseg.classes import S3DIS
from pcseg.data.dataset import make_batch
from pcseg.inference.segmenter import Segmenter, SegmenterOptions
from pcseg.losses import InfluencerCriterion, SetCriterion
from pcseg.metrics import Scores
from pcseg.models import InfluencerFormer, QueryDecoder, SparseUNet
from pcseg.models.query_decoder import QueryDecoderOptions
from pcseg.models.sparse_unet import SparseUNetOptions
from pcseg.ops.superpoints import SuperpointOptions
from pcseg.structures import Scene
from pcseg.synthetic import make_room

FEATURES, VOXEL, NUM_CLASSES = ("rgb", "xyz"), 0.15, len(S3DIS)  # the edge of a voxel is in meters


def rooms(indices: range) -> list[Scene]:
    """Labeled rooms with superpoints."""
    return [SuperpointOptions().apply(make_room(0, index, num_points=6_000)) for index in indices]


def train(criterion: torch.nn.Module, scenes: list[Scene], steps: int) -> Segmenter:
    """A model after some steps, one room each."""
    torch.manual_seed(0)
    unet = SparseUNet(6, SparseUNetOptions(channels=(16, 32, 48), blocks_per_level=1))
    options = QueryDecoderOptions(
        width=48, num_heads=4, num_layers=2, ffn_width=96, num_queries=50, queries="superpoint"
    )
    model = InfluencerFormer(unet, QueryDecoder(unet.out_channels, NUM_CLASSES, options))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    kept = [make_batch([s], voxel_size=VOXEL, features=FEATURES, instance_classes=range(NUM_CLASSES)) for s in scenes]
    for step in range(steps):
        batch = kept[step % len(kept)]
        losses = criterion(model.train()(batch), batch.targets, progress=step / steps)
        optimizer.zero_grad()
        criterion.total(losses).backward()
        optimizer.step()
    return Segmenter(model, S3DIS, VOXEL, FEATURES, SegmenterOptions(min_points=20))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("steps", type=int, nargs="?", default=300, help="number of training steps (default: 300)")
    steps = parser.parse_args().steps
    seen, held_out = rooms(range(8)), rooms(range(8, 11))
    for name, criterion in (("Influencer", InfluencerCriterion(13)), ("Hungarian", SetCriterion(13))):
        segmenter, scores = train(criterion, seen, steps), Scores(S3DIS, min_points=20)
        for scene in held_out:
            scores.add(segmenter.predict(scene))
        ap = scores.compute().ap
        print(f"{name:10}  AP {100 * ap.ap:.1f}  AP50 {100 * ap.mean['ap50']:.1f}")
