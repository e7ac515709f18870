"""State of a metric, small enough to send, so that several processes can share the scenes among them."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Generic, TypeVar

from pcseg.classes import ClassSet
from pcseg.prediction import Prediction

Record = TypeVar("Record")


class PerScene(ABC, Generic[Record]):
    """One small record per scene; masks and points are not stored, and no scene counts twice.

    Args:
        classes: the dataset's classes.
        min_points: smaller predictions are dropped, smaller objects are ignored.
    """

    def __init__(self, classes: ClassSet, *, min_points: int = 100) -> None:
        self.classes = classes
        self.min_points = min_points
        self._scenes: dict[str, Record] = {}

    def __len__(self) -> int:
        return len(self._scenes)

    @abstractmethod
    def _record(self, prediction: Prediction) -> Record:
        """What the metric needs of one scene."""

    def add(self, prediction: Prediction) -> None:
        """Adds a scene.

        Args:
            prediction: the predicted objects and the scene with its ground truth. Instance ids are unique in the
                scene; points of a class without instance, and of classes that do not count, are void.

        Raises:
            ValueError: the scene has no ground truth, has other classes, or was added before.
        """
        name = prediction.scene.name
        if name in self._scenes:
            raise ValueError(f"scene {name!r} was added before; every scene counts once, give each its own name")
        self._scenes[name] = self._record(prediction)

    @property
    def names(self) -> list[str]:
        """Names of the scenes added so far, sorted."""
        return sorted(self._scenes)

    def records(self) -> list[Record]:
        """The records in order of name, so that sums do not depend on the order of `add` and `merge`."""
        return [self._scenes[name] for name in self.names]

    def state(self) -> dict[str, Record]:
        """The record of each scene by name, for `merge` of another process."""
        return dict(self._scenes)

    def merge(self, states: Iterable[dict[str, Record]]) -> None:
        """Adds the scenes of other processes; adds none if one of them is refused.

        Args:
            states: results of `state` elsewhere.

        Raises:
            ValueError: a scene is here already, or in two of the states.
        """
        merged = dict(self._scenes)
        for state in states:
            for name, record in state.items():
                if name in merged:
                    raise ValueError(f"scene {name!r} comes from two processes; let one process evaluate each scene")
                merged[name] = record
        self._scenes = merged
