"""Query decoder: queries read superpoint features layer by layer and become objects (Mask2Former, SPFormer)."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from pcseg.structures import DecoderOutput, MaskActivation


class FourierPosition(nn.Module):
    """Coordinates as sines and cosines of random directions, then a linear layer (Tancik et al. 2020)."""

    directions: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("directions", torch.randn(3, 32) * 1.5)  # radians per meter
        self.linear = nn.Linear(64, width)

    def forward(self, xyz: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n width"]:
        phase = xyz @ self.directions
        return self.linear(torch.cat([phase.sin(), phase.cos()], dim=-1))


def mlp(width: int, out_channels: int, activation: type[nn.Module] = nn.GELU) -> nn.Sequential:
    """Two linear layers with an activation between them.

    Args:
        width: channels of the input and of the hidden layer.
        out_channels: channels of the output.
        activation: class of the activation.
    """
    return nn.Sequential(nn.Linear(width, width), activation(), nn.Linear(width, out_channels))


class _Attention(nn.Module):
    """Multi-head attention with a boolean mask, True where a query may attend."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"decoder width {width} must be a multiple of the number of heads {num_heads}")
        self.num_heads = num_heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(
        self,
        query: Float[Tensor, "B M width"],
        key: Float[Tensor, "B S width"],
        value: Float[Tensor, "B S width"],
        visible: Bool[Tensor, "B #M S"] | None = None,
    ) -> Float[Tensor, "B M width"]:
        projected = self.query(query), self.key(key), self.value(value)
        q, k, v = (x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x in projected)
        mask = None if visible is None else visible[:, None]
        return self.out(F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2))


class _DecoderLayer(nn.Module):
    """Masked cross-attention to superpoints, self-attention among queries, feed-forward; each with a norm after it."""

    def __init__(self, width: int, num_heads: int, ffn_width: int, dropout: float) -> None:
        super().__init__()
        self.cross_attention = _Attention(width, num_heads)
        self.self_attention = _Attention(width, num_heads)
        self.ffn = nn.Sequential(nn.Linear(width, ffn_width), nn.GELU(), nn.Linear(ffn_width, width))
        self.norm_cross = nn.LayerNorm(width)
        self.norm_self = nn.LayerNorm(width)
        self.norm_ffn = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "B M width"],
        query_position: Float[Tensor, "#B M width"],
        memory: Float[Tensor, "B S width"],
        memory_position: Float[Tensor, "B S width"],
        visible: Bool[Tensor, "B M S"],
    ) -> Float[Tensor, "B M width"]:
        read = self.cross_attention(x + query_position, memory + memory_position, memory, visible)
        x = self.norm_cross(x + self.dropout(read))
        placed = x + query_position
        x = self.norm_self(x + self.dropout(self.self_attention(placed, placed, x)))
        return self.norm_ffn(x + self.dropout(self.ffn(x)))


class _AnchorHead(nn.Module):
    """Position and reach of a query: masks fall off with the squared distance from its anchor.

    Source: Liu et al. 2022 (DAB-DETR) and Lai et al. 2023 (MAFT) for query positions that are refined layer by layer.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shift = nn.Linear(width, 3)
        self.sharpness = nn.Linear(width, 1)
        nn.init.zeros_(self.shift.weight)
        nn.init.zeros_(self.shift.bias)

    def move(self, x: Float[Tensor, "B M width"], anchors: Float[Tensor, "B M 3"]) -> Float[Tensor, "B M 3"]:
        """Anchors of queries x after this layer, in meters."""
        return anchors + self.shift(x)

    def distance(
        self, x: Float[Tensor, "B M width"], anchors: Float[Tensor, "B M 3"], places: Float[Tensor, "B S 3"]
    ) -> Float[Tensor, "B S M"]:
        """Squared distance of each superpoint from the anchor of each query x, times the sharpness of the query."""
        square = (places[:, :, None] - anchors[:, None]).square().sum(-1)
        return square * F.softplus(self.sharpness(x)).transpose(1, 2)


@dataclass(frozen=True)
class QueryDecoderOptions:
    """Options of `QueryDecoder`; ``model.decoder`` of a config."""

    kind: Literal["queries"] = "queries"
    width: int = 256  # channels of queries
    num_heads: int = 8  # attention heads
    num_layers: int = 6  # 0 leaves the heads on the initial queries
    ffn_width: int = 1024  # hidden channels of the feed-forward part
    num_queries: int = 100  # queries of a room; with superpoint queries the most that one room gets
    # Learned contents and anchors, or each query starts at a superpoint, with its feature and place.
    queries: Literal["superpoint", "learned"] = "superpoint"
    # Each mask is independent, or queries and one empty choice (logit 0) compete for each superpoint.
    mask_activation: MaskActivation = "sigmoid"
    votes: bool = True  # superpoints predict the center of their object and are placed there
    # Meters for a unit of distance between normalized mask features, where superpoint queries are spread; 0: by place.
    feature_distance: float = 1.0
    dropout: float = 0.0  # probability in the layers


class QueryDecoder(nn.Module):
    """Superpoint features in, mask and class (of C, and no-object) of every query out, after each layer.

    Source: Cheng et al. 2022 (Mask2Former) for the layers, Sun et al. 2023 (SPFormer) for superpoints,
        Kolodiazhnyi et al. 2024 (OneFormer3D) for queries that start from superpoints, Qi et al. 2019 (VoteNet)
        for votes.
    """

    def __init__(self, in_channels: int, num_classes: int, options: QueryDecoderOptions) -> None:
        super().__init__()
        self.options = options
        width, num_queries = options.width, options.num_queries
        self.input = nn.Sequential(nn.Linear(in_channels, width), nn.LayerNorm(width))
        self.position = FourierPosition(width)
        self.mask_features = mlp(width, width)
        if options.queries == "learned":
            self.query_content = nn.Embedding(num_queries, width)
            # Spread over a room of ordinary size; they move from there.
            self.query_anchor = nn.Parameter((torch.rand(num_queries, 3) - torch.tensor([0.5, 0.5, 0.0])) * 4)
        else:
            self.query_content = mlp(width, width)
        self.layers = nn.ModuleList(
            _DecoderLayer(width, options.num_heads, options.ffn_width, options.dropout)
            for _ in range(options.num_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.class_head = mlp(width, num_classes + 1, nn.ReLU)
        self.mask_head = mlp(width, width, nn.ReLU)
        self.anchor_head = _AnchorHead(width)
        self.semantic_head = nn.Linear(width, num_classes)
        self.vote_head = mlp(width, 3) if options.votes else None

    def forward(
        self,
        features: Float[Tensor, "S channels"],
        xyz: Float[Tensor, "S 3"],
        offsets: Int64[Tensor, "offsets"],
        num_queries: int | None = None,
    ) -> DecoderOutput:
        """Decode the superpoints of a batch, room after room.

        Args:
            features: features of each superpoint.
            xyz: mean coordinates of each superpoint in meters.
            offsets: room b owns rows ``offsets[b]:offsets[b + 1]``; no room may be empty.
            num_queries: most queries per room. None uses the number in training; only superpoint queries take another
                one.

        Returns:
            Output of the last layer; ``aux_outputs`` has the outputs of the initial queries and of the earlier layers.

        Raises:
            ValueError: an empty room, or another number of queries than a decoder has learned.
        """
        sizes = offsets.diff().tolist()
        if min(sizes) == 0:
            raise ValueError(f"room {sizes.index(0)} of the batch has no superpoints")
        memory_flat = self.input(features)
        semantic = list(self.semantic_head(memory_flat).split(sizes))
        votes = None if self.vote_head is None else xyz + self.vote_head(memory_flat)
        memory, real = pad_rooms(memory_flat, sizes)
        # Objects of one class differ by their places, so masks see these. The loss of masks does not move votes.
        places, _ = pad_rooms(xyz if votes is None else votes.detach(), sizes)
        memory_position = self.position(places)
        mask_features = self.mask_features(memory + memory_position)
        x, anchors, tokens = self._start(memory, places, mask_features, sizes, num_queries)

        def read_out() -> DecoderOutput:
            y = self.norm(x)
            masks = mask_features @ self.mask_head(y).transpose(1, 2) * y.shape[-1] ** -0.5
            masks = masks - self.anchor_head.distance(y, anchors, places)
            return {"pred_logits": self.class_head(y), "pred_masks": [room[:size] for room, size in zip(masks, sizes)]}

        outputs = [read_out()]
        for layer in self.layers:
            visible = self._visible(outputs[-1]["pred_masks"], real)
            x = layer(x, self.position(anchors), memory, memory_position, visible)
            anchors = self.anchor_head.move(self.norm(x), anchors)
            outputs.append(read_out())
        last = outputs[-1]
        last["pred_semantic"] = semantic
        if votes is not None:
            last["pred_centers"] = list(votes.split(sizes))
        if tokens is not None:
            last["query_tokens"] = tokens
        last["aux_outputs"] = outputs[:-1]
        return last

    def _start(
        self,
        memory: Float[Tensor, "B S width"],
        places: Float[Tensor, "B S 3"],
        mask_features: Float[Tensor, "B S width"],
        sizes: list[int],
        num_queries: int | None,
    ) -> tuple[Float[Tensor, "B M width"], Float[Tensor, "B M 3"], Int64[Tensor, "B M"] | None]:
        """Content, anchor and superpoint of the initial queries; learned ones have no superpoint."""
        if isinstance(self.query_content, nn.Embedding):
            learned = len(self.query_anchor)
            if num_queries not in (None, learned):
                raise ValueError(f"num_queries={num_queries}, but the decoder has {learned} learned queries")
            content, anchors = self.query_content.weight, self.query_anchor
            return content.expand(len(sizes), -1, -1), anchors.expand(len(sizes), -1, -1), None
        # Every room of a batch gets the same number of queries, so that class logits stay one array.
        count = min(self.options.num_queries if num_queries is None else num_queries, *sizes)
        spread = places
        if self.options.feature_distance:
            # Adjacent objects differ little in place; those that masks can separate get a query each.
            directions = F.normalize(mask_features.detach().float(), dim=-1)
            spread = torch.cat([places, self.options.feature_distance * directions], dim=-1)
        tokens = torch.stack([choose_spread(room[:size], count) for room, size in zip(spread, sizes)])
        rows = tokens[..., None]
        chosen = memory.detach().gather(1, rows.expand(-1, -1, memory.shape[-1]))
        return self.query_content(chosen), places.gather(1, rows.expand(-1, -1, 3)), tokens

    @torch.no_grad()
    def _visible(self, masks: list[Tensor], real: Bool[Tensor, "B S"]) -> Bool[Tensor, "B M S"]:
        """Superpoints that each query attends to: its mask, or all superpoints if the mask is empty."""
        inside = [mask_is_on(mask, self.options.mask_activation).T for mask in masks]
        padded = torch.stack([F.pad(room, (0, real.shape[1] - room.shape[1])) for room in inside])
        return torch.where(padded.any(-1, keepdim=True), padded, real[:, None])


def mask_is_on(logits: Float[Tensor, "N M"], activation: MaskActivation) -> Bool[Tensor, "N M"]:
    """Where a mask is on: logits over 0 (sigmoid) that are also the largest of their row (softmax)."""
    on = logits > 0
    if activation == "softmax" and logits.shape[1]:
        on &= logits == logits.amax(1, keepdim=True)
    return on


def pad_rooms(values: Float[Tensor, "S channels"], sizes: list[int]) -> tuple[Tensor, Bool[Tensor, "B longest"]]:
    """Pad rooms of some sizes to one array (B, longest, channels); and which of its rows are real."""
    padded = nn.utils.rnn.pad_sequence(list(values.split(sizes)), batch_first=True)
    rows = torch.arange(padded.shape[1], device=values.device)
    return padded, rows < torch.tensor(sizes, device=values.device)[:, None]


@torch.no_grad()
def choose_spread(points: Float[Tensor, "S dimensions"], count: int) -> Int64[Tensor, "count"]:
    """Rows of points far from each other, by farthest point sampling from the first row, in order; all if too few.

    >>> choose_spread(torch.tensor([[0.0], [0.1], [5.0], [0.2]]), 3).tolist()
    [0, 2, 3]
    """
    if count >= len(points):
        return torch.arange(len(points), device=points.device)
    rows = torch.zeros(count, dtype=torch.int64, device=points.device)
    distance = torch.full((len(points),), torch.inf, device=points.device)
    for i in range(1, count):
        distance = torch.minimum(distance, (points - points[rows[i - 1 : i]]).square_().sum(1))
        rows[i] = distance.argmax()
    return rows.sort().values
