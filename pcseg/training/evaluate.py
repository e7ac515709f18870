"""Scores a model on labeled rooms, one room in memory at a time."""

from collections.abc import Collection

from PIL import Image

from pcseg.data.dataset import RoomDataset
from pcseg.inference.segmenter import Segmenter
from pcseg.metrics.scores import Scores
from pcseg.parallel import progress_bar
from pcseg.training.distributed import DistributedContext
from pcseg.viz.render import room_picture


def evaluate(
    segmenter: Segmenter, rooms: RoomDataset, drawn: Collection[str], processes: DistributedContext
) -> tuple[Scores, dict[str, Image.Image]]:
    """Scores rooms in all processes together, and draws some of them.

    Args:
        segmenter: model and its options of inference, the same in all processes.
        rooms: rooms with labels, shared out among the processes.
        drawn: names of the rooms to draw.
        processes: processes that take part.

    Returns:
        The scores of all rooms, and the pictures by room.

    Raises:
        ValueError: a room without labels.
    """
    scores = Scores(segmenter.classes, min_points=segmenter.options.min_points)
    pictures: dict[str, Image.Image] = {}
    for index in progress_bar(
        processes.shard(len(rooms)), desc="evaluate", unit="room", disable=not processes.is_first
    ):
        prediction = segmenter.predict(rooms.scene(index))
        scores.add(prediction)
        if (name := prediction.scene.name) in drawn:
            pictures[name] = room_picture(prediction, width=480, height=360, views=1)
    for part in processes.gather(pictures):
        pictures |= part
    return gather_scores(scores, processes), pictures


def gather_scores(scores: Scores, processes: DistributedContext) -> Scores:
    """The scores of all processes together, with the numbers that one process would get.

    Raises:
        ValueError: two processes scored the same room.
    """
    whole = scores.subset([])
    whole.merge(processes.gather(scores.state()))
    return whole
