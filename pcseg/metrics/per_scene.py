"""State of a metric as one small record per scene, so that several processes can share the scenes between them."""

from collections.abc import Iterable
from typing import Generic, TypeVar

Record = TypeVar("Record")


class PerScene(Generic[Record]):
    """Keeps one record per scene name and never takes a scene twice."""

    def __init__(self) -> None:
        self._scenes: dict[str, Record] = {}

    def __len__(self) -> int:
        return len(self._scenes)

    def _check_new(self, name: str) -> None:
        if name in self._scenes:
            raise ValueError(f"scene {name!r} was added before; every scene counts once, give each its own name")

    def state(self) -> dict[str, Record]:
        """The record of each scene by name: small, can be pickled, and what `merge` of another process takes."""
        return dict(self._scenes)

    def merge(self, states: Iterable[dict[str, Record]]) -> None:
        """Adds the scenes of other processes; nothing is added where one of them is refused.

        Args:
            states: what `state()` returned elsewhere.

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
