"""The config: one section for the options of each part; YAML files hold values, ``key=value`` overrides them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pcseg import config_reader
from pcseg.config_files import find_config
from pcseg.config_reader import ConfigError as ConfigError
from pcseg.config_reader import differences as differences
from pcseg.data.augment import AugmentStep
from pcseg.data.dataset import DataOptions
from pcseg.inference.segmenter import SegmenterOptions
from pcseg.losses.competitive import CompetitiveOptions
from pcseg.losses.embedding import EmbeddingCriterionOptions
from pcseg.losses.mask_influencer import FirstPassOptions
from pcseg.losses.set_criterion import HungarianOptions
from pcseg.models.embedding_heads import EmbeddingHeadsOptions
from pcseg.models.query_decoder import QueryDecoderOptions
from pcseg.models.sparse_unet import SparseUNetOptions
from pcseg.training.loop import TrainOptions
from pcseg.training.optimizer import OptimizerOptions

CriterionOptions = CompetitiveOptions | FirstPassOptions | HungarianOptions | EmbeddingCriterionOptions
# Options that the configs in earlier checkpoints contain; the parts that obeyed them are gone.
REMOVED_OPTIONS = ("criterion.weights.score", "criterion.differentiable_claims", "inference.use_iou_head")


@dataclass(frozen=True)
class ModelOptions:
    """Options of `pcseg.models.influencerformer.InfluencerFormer`."""

    unet: SparseUNetOptions = field(default_factory=SparseUNetOptions)
    decoder: QueryDecoderOptions | EmbeddingHeadsOptions = field(default_factory=QueryDecoderOptions)


@dataclass(frozen=True)
class Config:
    """All options of a run; each section is the options of one part of pcseg.

    Raises:
        ConfigError: sections that do not fit together.
    """

    data: DataOptions
    model: ModelOptions = field(default_factory=ModelOptions)
    criterion: CriterionOptions = field(default_factory=CompetitiveOptions)
    augment: tuple[AugmentStep, ...] = ()
    optimizer: OptimizerOptions = field(default_factory=OptimizerOptions)
    train: TrainOptions = field(default_factory=TrainOptions)
    inference: SegmenterOptions = field(default_factory=SegmenterOptions)

    def __post_init__(self) -> None:
        criterion, decoder = self.criterion, self.model.decoder
        if isinstance(criterion, EmbeddingCriterionOptions) != isinstance(decoder, EmbeddingHeadsOptions):
            kinds = f"criterion.kind {criterion.kind} does not train model.decoder.kind {decoder.kind}"
            raise ConfigError(f"{kinds}; set both to embedding or neither")
        if self.inference.num_queries and getattr(decoder, "queries", None) != "superpoint":
            raise ConfigError("inference.num_queries goes with model.decoder.queries superpoint; leave it at 0")


def load(path: Path | str, overrides: Sequence[str] = ()) -> Config:
    """Read a config, the files it is based on, and overrides; see `pcseg.config_reader.read`.

    Args:
        path: YAML file, or name of a shipped config, such as "demo".
        overrides: ``a.b=value`` with the value in YAML, such as ``optimizer.lr=0.001``.

    Raises:
        ConfigError: the file cannot be read, or a key or a value is not of the schema.
    """
    return config_reader.read(Config, find_config(path), overrides)
