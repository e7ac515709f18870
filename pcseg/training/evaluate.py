"""Score a model on labeled rooms, one room in memory at a time."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from PIL import Image
from tqdm import tqdm

from pcseg.data.dataset import RoomDataset
from pcseg.inference.segmenter import Segmenter
from pcseg.metrics.scores import Evaluation, Scores
from pcseg.structures import Prediction, Scene
from pcseg.training.distributed import DistributedContext
from pcseg.viz.render import room_picture

__all__ = ["Evaluation", "ScoredRooms", "evaluate", "score_and_draw", "score_rooms"]

OnRoom = Callable[[Prediction], None]


@dataclass
class ScoredRooms:
    """Rooms that were predicted.

    Args:
        scores: the labeled ones.
        num_points: points of every room that was predicted, by name.
    """

    scores: Scores
    num_points: dict[str, int] = field(default_factory=dict)

    @property
    def unlabeled(self) -> list[str]:
        """Rooms that were predicted and could not be scored."""
        return sorted(set(self.num_points) - set(self.scores.names))

    def gather(self, processes: DistributedContext) -> "ScoredRooms":
        """The rooms of all processes together; numbers are those that one process alone would get.

        Raises:
            ValueError: two processes scored the same room.
        """
        whole = ScoredRooms(self.scores.subset([]))
        for part in processes.gather(self):
            whole.merge(part)
        return whole

    def merge(self, other: "ScoredRooms") -> None:
        """Adds the rooms of another process.

        Raises:
            ValueError: both scored the same room.
        """
        self.scores.merge([other.scores.state()])
        self.num_points |= other.num_points


def evaluate(segmenter: Segmenter, rooms: Iterable[Scene], *, on_room: OnRoom | None = None) -> Evaluation:
    """Predict every room and measure.

    Args:
        segmenter: the model.
        rooms: labeled scenes with superpoints.
        on_room: called with each prediction, to save or draw it.

    Raises:
        ValueError: a room without labels.
    """
    return score_rooms(segmenter, rooms, on_room=on_room).scores.compute()


def score_rooms(
    segmenter: Segmenter,
    rooms: Iterable[Scene],
    *,
    on_room: OnRoom | None = None,
    allow_unlabeled: bool = False,
    show_progress: bool = True,
) -> ScoredRooms:
    """Predict every room and keep what the measures need of it.

    Args:
        segmenter: the model.
        rooms: scenes with superpoints.
        on_room: called with each prediction after it was scored.
        allow_unlabeled: rooms without labels are predicted and not scored; otherwise they are refused.
        show_progress: draws a bar on stderr.

    Returns:
        ScoredRooms, some ten kilobytes a room.

    Raises:
        ValueError: a room without labels.
    """
    done = ScoredRooms(Scores(segmenter.classes, min_points=segmenter.options.min_points))
    for scene in tqdm(rooms, desc="evaluate", unit="room", disable=not show_progress):
        labeled = scene.semantic is not None and scene.instance is not None
        if not labeled and not allow_unlabeled:
            raise ValueError(f"scene {scene.name} has no labels to compare with")
        prediction = segmenter.predict(scene)
        if labeled:
            done.scores.add(prediction)
        done.num_points[scene.name] = len(scene)
        if on_room is not None:
            on_room(prediction)
    return done


def score_and_draw(
    segmenter: Segmenter, rooms: RoomDataset, drawn: Collection[str], processes: DistributedContext
) -> tuple[Scores, dict[str, Image.Image]]:
    """Score the rooms in all processes together, and draw some of them.

    Args:
        segmenter: the model.
        rooms: labeled.
        drawn: names of those to draw.
        processes: that share the rooms.

    Returns:
        The scores of all rooms, and the pictures by room.
    """
    pictures: dict[str, Image.Image] = {}

    def draw(prediction: Prediction) -> None:
        if prediction.scene.name in drawn:
            pictures[prediction.scene.name] = room_picture(prediction, width=480, height=360)

    scenes = (rooms.scene(i) for i in processes.shard(len(rooms)))
    done = score_rooms(segmenter, scenes, on_room=draw, show_progress=processes.is_first)
    for part in processes.gather(pictures):
        pictures |= part
    return done.gather(processes).scores, pictures
