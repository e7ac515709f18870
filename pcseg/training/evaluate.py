"""Scores a model on labeled rooms, one room in memory at a time."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from PIL import Image
from tqdm import tqdm

from pcseg.data.dataset import RoomDataset
from pcseg.inference.segmenter import Segmenter
from pcseg.metrics.scores import Evaluation, Scores
from pcseg.prediction import Prediction
from pcseg.structures import Scene
from pcseg.training.distributed import DistributedContext
from pcseg.viz.render import room_picture

OnRoom = Callable[[Prediction], None]


@dataclass
class ScoredRooms:
    """Rooms that were predicted.

    Args:
        scores: scores of the labeled rooms.
        num_points: number of points of every predicted room, by name.
    """

    scores: Scores
    num_points: dict[str, int] = field(default_factory=dict)

    @property
    def unlabeled(self) -> list[str]:
        """Predicted rooms without labels, which cannot be scored."""
        return sorted(set(self.num_points) - set(self.scores.names))

    def gather(self, processes: DistributedContext) -> "ScoredRooms":
        """The rooms of all processes together, with the numbers that one process would get.

        Args:
            processes: processes that share the rooms.

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
    """Predicts every room and computes all measures.

    Args:
        segmenter: model to score.
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
    """Predicts every room and keeps the records that the measures need.

    Args:
        segmenter: model to score.
        rooms: scenes with superpoints.
        on_room: called with each prediction after it was scored.
        allow_unlabeled: predict rooms without labels and do not score them; otherwise they are refused.
        show_progress: show a progress bar on stderr.

    Returns:
        About ten kilobytes per room.

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
    """Scores the rooms in all processes together, and draws some of them.

    Args:
        segmenter: model to score.
        rooms: labeled rooms.
        drawn: names of the rooms to draw.
        processes: processes that share the rooms.

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
