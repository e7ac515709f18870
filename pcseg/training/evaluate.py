"""Scores a model on labeled rooms, one room in memory at a time."""

from collections.abc import Collection
from dataclasses import dataclass, field

from PIL import Image
from tqdm import tqdm

from pcseg.data.dataset import RoomDataset
from pcseg.inference.segmenter import Segmenter
from pcseg.metrics.scores import Scores
from pcseg.prediction import Prediction
from pcseg.training.distributed import DistributedContext
from pcseg.viz.render import room_picture


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

    def add(self, prediction: Prediction, *, allow_unlabeled: bool = False) -> None:
        """Adds a room.

        Args:
            prediction: what was predicted for the room.
            allow_unlabeled: accept a room without labels; it is not scored.

        Raises:
            ValueError: a room without labels.
        """
        scene = prediction.scene
        if scene.semantic is not None and scene.instance is not None:
            self.scores.add(prediction)
        elif not allow_unlabeled:
            raise ValueError(f"scene {scene.name} has no labels to compare with")
        self.num_points[scene.name] = len(scene)

    def merge(self, other: "ScoredRooms") -> None:
        """Adds the rooms of another process.

        Raises:
            ValueError: both scored the same room.
        """
        self.scores.merge([other.scores.state()])
        self.num_points |= other.num_points

    def gather(self, processes: DistributedContext) -> "ScoredRooms":
        """The rooms of all processes together, with the numbers that one process would get.

        Raises:
            ValueError: two processes scored the same room.
        """
        whole = ScoredRooms(self.scores.subset([]))
        for part in processes.gather(self):
            whole.merge(part)
        return whole


def evaluate(
    segmenter: Segmenter, rooms: RoomDataset, drawn: Collection[str], processes: DistributedContext
) -> tuple[Scores, dict[str, Image.Image]]:
    """Scores rooms in all processes together, and draws some of them.

    Args:
        segmenter: model to score.
        rooms: labeled rooms.
        drawn: names of the rooms to draw.
        processes: processes that share the rooms.

    Returns:
        The scores of all rooms, and the pictures by room.

    Raises:
        ValueError: a room without labels.
    """
    done = ScoredRooms(Scores(segmenter.classes, min_points=segmenter.options.min_points))
    pictures: dict[str, Image.Image] = {}
    for index in tqdm(processes.shard(len(rooms)), desc="evaluate", unit="room", disable=not processes.is_first):
        prediction = segmenter.predict(rooms.scene(index))
        done.add(prediction)
        if (name := prediction.scene.name) in drawn:
            pictures[name] = room_picture(prediction, width=480, height=360)
    for part in processes.gather(pictures):
        pictures |= part
    return done.gather(processes).scores, pictures
