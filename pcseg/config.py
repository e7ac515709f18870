"""The recipe: frozen dataclasses are the only schema; YAML files hold values, ``key=value`` overrides them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pcseg import config_reader
from pcseg.config_reader import ConfigError as ConfigError
from pcseg.config_reader import differences as differences
from pcseg.training.optimizer import OptimizerOptions
from pcseg.training.trainer import TrainOptions


@dataclass(frozen=True)
class DataConfig:
    """Which rooms, and how they become voxels."""

    root: Path  # folder of processed rooms
    classes: str = "s3dis"  # class set, see pcseg/classes.py
    train: tuple[str, ...] = ("*",)  # globs of room names, "!glob" excludes, or a .txt file with one name a line
    val: tuple[str, ...] = ()
    voxel_size: float = 0.05  # meters
    features: tuple[str, ...] = ("rgb", "xyz")  # out of rgb, xyz, normal, height


@dataclass(frozen=True)
class AugmentStep:
    """One augmentation of pcseg/data/augment.py and its keyword arguments."""

    name: str
    options: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class UNetConfig:
    """Sparse U-Net: channels of each level, residual blocks a level."""

    channels: tuple[int, ...] = (32, 64, 96, 128, 160)
    blocks_per_level: int = 2
    checkpointing: bool = False  # compute blocks again in backward: less memory, more time


@dataclass(frozen=True)
class DecoderConfig:
    """Query decoder."""

    kind: Literal["queries"] = "queries"
    width: int = 256
    num_heads: int = 8
    num_layers: int = 6
    ffn_width: int = 1024
    num_queries: int = 100
    queries: Literal["superpoint", "learned"] = "superpoint"
    mask_activation: Literal["sigmoid", "softmax"] = "sigmoid"
    votes: bool = True  # superpoints predict the center of their object and are placed there
    feature_distance: float = 1.0  # meters for a unit between mask features, where queries are spread; 0: by place
    dropout: float = 0.0


@dataclass(frozen=True)
class EmbeddingConfig:
    """Two embeddings of each superpoint in the place of queries; trained with criterion.kind embedding."""

    kind: Literal["embedding"] = "embedding"
    width: int = 256
    dimensions: int = 8  # of an embedding
    votes: bool = True  # as in the query decoder
    radius: float = 0.9  # within which an influencer attracts followers; the margins of the criterion are larger

    @property
    def mask_activation(self) -> Literal["sigmoid"]:
        """Of the masks that clusters become."""
        return "sigmoid"


@dataclass(frozen=True)
class ModelConfig:
    """The network."""

    unet: UNetConfig = field(default_factory=UNetConfig)
    decoder: DecoderConfig | EmbeddingConfig = field(default_factory=DecoderConfig)


@dataclass(frozen=True)
class LossWeights:
    """Weights of the losses that every criterion has."""

    classes: float = 0.5
    score: float = 0.5
    semantic: float = 0.2
    center: float = 1.0
    no_object: float = 0.1  # of no-object queries inside the class loss
    aux_layers: bool = True  # deep supervision: the losses of intermediate layers count as well


@dataclass(frozen=True)
class CompetitiveConfig:
    """The Influencer Loss in the form that trains; keywords of CompetitiveInfluencerLoss."""

    kind: Literal["competitive"] = "competitive"
    weights: LossWeights = field(default_factory=LossWeights)
    mask_weight: float = 1.0
    temperature: float = 0.05
    final_temperature: float = 0.005
    anneal: float = 0.5  # share of training over which the temperature falls
    bce_weight: float = 1.0
    dice_weight: float = 1.0
    rep_weight: float = 0.1  # of what a query covers of other instances
    rep_power: float = 3.0  # of the norm over them; the higher, the more the one that is covered most decides
    mean: Literal["geometric", "arithmetic"] = "geometric"  # of the probabilities of being right; the latter to compare
    class_weight: float = 0.5  # of the class probability in the claims
    origin_weight: float = 0.3  # of a superpoint query's start in the instance, in the claims
    claims: Literal["dual", "sinkhorn", "none", "matching"] = "dual"
    differentiable_claims: bool = False
    responsibility_temperature: float = 0.01
    num_rounds: int = 10
    weight_tokens: bool = False  # weigh superpoints by their points


@dataclass(frozen=True)
class FirstPassConfig:
    """The Influencer Loss as first specified (it does not train, and is here to show that)."""

    kind: Literal["first_pass"] = "first_pass"
    weights: LossWeights = field(default_factory=LossWeights)
    attr_weight: float = 1.0
    rep_weight: float = 1.0
    bg_weight: float = 1.0
    rep_margin: float = 1.0
    temperature: float = 1.0


@dataclass(frozen=True)
class HungarianConfig:
    """The baseline: Hungarian matching, with SPFormer's weights."""

    kind: Literal["hungarian"] = "hungarian"
    weights: LossWeights = field(default_factory=LossWeights)
    mask_weight: float = 1.0
    dice_weight: float = 1.0
    cost_class: float = 0.5
    cost_mask: float = 1.0
    cost_dice: float = 1.0
    weight_tokens: bool = False


@dataclass(frozen=True)
class EmbeddingLossWeights:
    """Weights of the losses of two embeddings."""

    followers: float = 1.0
    influencers: float = 1.0
    influence: float = 1.0
    semantic: float = 1.0
    center: float = 1.0

    @property
    def aux_layers(self) -> bool:
        """There are no intermediate layers that could be left out."""
        return True


@dataclass(frozen=True)
class EmbeddingCriterionConfig:
    """The original Influencer Loss, on two embeddings; keywords of EmbeddingCriterion."""

    kind: Literal["embedding"] = "embedding"
    weights: EmbeddingLossWeights = field(default_factory=EmbeddingLossWeights)
    pairs: Literal["radius", "all"] = "radius"  # of different instances that repel each other
    follower_margin: float = 1.0
    influencer_margin: float = 1.0
    neg_ratio: float = 1.0


CriterionConfig = CompetitiveConfig | FirstPassConfig | HungarianConfig | EmbeddingCriterionConfig


@dataclass(frozen=True)
class InferenceConfig:
    """From queries to instances."""

    num_queries: int = 0  # of a room, where queries start at superpoints; 0 for as many as in training
    top_k: int = 200
    min_points: int = 100
    score_threshold: float = 0.0
    iou_power: float = 5.0  # of the IoU that a mask's probabilities lead one to expect, in the score
    use_iou_head: bool = False
    mask_threshold: float = 0.5  # a mask is where its probability is higher; 0.15 suits softmax masks
    tile_above: float = 10.0  # meters; a longer scan goes room by room, longer rooms in tiles; .inf: all in one
    tile_size: float = 5.0
    tile_overlap: float = 2.0
    views: Literal["one", "flips", "flips_rotations"] = "one"  # test-time augmentation: 1, 4 or 8 predictions
    matrix_nms: bool = True  # scores of objects that overlap better ones of their class fall
    non_overlapping: bool = False  # each superpoint to the best of its objects only


@dataclass(frozen=True)
class Config:
    """A whole recipe."""

    data: DataConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    criterion: CriterionConfig = field(default_factory=CompetitiveConfig)
    augment: tuple[AugmentStep, ...] = ()
    optimizer: OptimizerOptions = field(default_factory=OptimizerOptions)
    train: TrainOptions = field(default_factory=TrainOptions)
    inference: InferenceConfig = field(default_factory=InferenceConfig)


def load(path: Path | str, overrides: Sequence[str] = ()) -> Config:
    """Read a recipe, the recipes it is based on, and overrides; see `pcseg.config_reader.read`.

    Raises:
        ConfigError: the file cannot be read, or a key or a value is not of the schema.
    """
    return config_reader.read(Config, Path(path), overrides)


def loads(text: str) -> Config:
    """The recipe that `dumps` wrote."""
    return config_reader.from_text(Config, text)


def dumps(config: Config) -> str:
    """The fully resolved recipe as YAML; `loads` reads it back unchanged."""
    return config_reader.to_text(config)
