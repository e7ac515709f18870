"""Mask2Former of transformers from scratch, and objects from its outputs."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from pcseg.losses.mask2former import mask2former_outputs
from pcseg.structures import ImageBatch


@dataclass(frozen=True)
class Mask2FormerOptions:
    """Options of `Mask2Former`; also the `model` section of a config for images."""

    num_queries: int = 30  # upper bound per image
    width: int = 64  # channels of the pixel decoder and of the queries
    decoder_layers: int = 4  # with losses of their own
    encoder_layers: int = 2  # of the pixel decoder
    swin_width: int = 32  # channels of the first stage of the backbone; each further stage has twice as many
    swin_depths: tuple[int, ...] = (1, 1, 2, 1)
    swin_window: int = 5
    init_std: float = 0.1  # of fresh weights; 0.02, which transformers takes, is for a thousand channels


class ImageObjects(NamedTuple):
    """Objects of one image, the best first."""

    labels: Int64[Tensor, "I"]
    scores: Float[Tensor, "I"]
    masks: Bool[Tensor, "I H W"]


class Mask2Former(nn.Module):
    """Mask2Former with a Swin backbone, with random weights.

    Args:
        num_classes: number of classes C, without no-object.
        options: sizes.
    """

    def __init__(self, num_classes: int, options: Mask2FormerOptions | None = None) -> None:
        super().__init__()
        try:
            from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig
        except ModuleNotFoundError:
            raise ValueError("Mask2Former needs transformers; run: pip install 'pcseg[images]'") from None
        options = options or Mask2FormerOptions()
        width = options.width
        backbone: dict[str, Any] = {
            "embed_dim": options.swin_width,
            "depths": list(options.swin_depths),
            "num_heads": [max(1, options.swin_width * 2**stage // 32) for stage in range(4)],
            "window_size": options.swin_window,
            "drop_path_rate": 0.0,
            "initializer_range": options.init_std,
            "out_features": ["stage1", "stage2", "stage3", "stage4"],
        }
        sizes: dict[str, Any] = {
            **dict.fromkeys(("feature_size", "mask_feature_size", "hidden_dim"), width),
            **dict.fromkeys(("encoder_feedforward_dim", "dim_feedforward"), 4 * width),
            "encoder_layers": options.encoder_layers,
            "decoder_layers": options.decoder_layers + 1,  # transformers counts the queries before the first layer
            "num_attention_heads": max(1, width // 16),
            "num_queries": options.num_queries,
            "num_labels": num_classes,
            "init_std": options.init_std,
        }
        config = Mask2FormerConfig(backbone_config=SwinConfig(**backbone), **sizes)
        self.network = Mask2FormerForUniversalSegmentation(config)

    def forward(self, batch: ImageBatch) -> dict[str, Any]:
        """Logits as the criteria take them, with masks of the size of the target masks."""
        pixels = batch.pixels.float() / 127.5 - 1
        outputs = self.network(pixel_values=pixels, output_auxiliary_logits=True)
        height, width = batch.targets[0]["ignored"].shape
        return mask2former_outputs(outputs, (height, width))


def objects_of(
    logits: Float[Tensor, "M classes"], masks: Float[Tensor, "M h w"], height: int, width: int
) -> ImageObjects:
    """Objects of one image, as Mask2Former makes them: the best M pairs of query and class.

    Args:
        logits: class logits, the last column is no-object.
        masks: mask logits.
        height: height of the image in pixels.
        width: width of the image in pixels.
    """
    num_classes = logits.shape[1] - 1
    scores, pairs = logits.softmax(1)[:, :-1].flatten().topk(len(logits))
    queries = pairs // num_classes
    large = F.interpolate(masks[None], (height, width), mode="bilinear", align_corners=False)[0]
    inside = large > 0
    size = inside.sum((1, 2))
    quality = (large.sigmoid() * inside).sum((1, 2)) / size.clamp(min=1)
    scores, order = (scores * quality[queries]).sort(descending=True, stable=True)
    found = size[queries[order]] > 0
    scores, order = scores[found], order[found]
    return ImageObjects(pairs[order] % num_classes, scores, inside[queries[order]])
