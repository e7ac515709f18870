"""Furniture of several designs, each put together from primitives."""

from pcseg.synthetic.furniture.clutter import desk_item, floor_item, wall_item
from pcseg.synthetic.furniture.fixtures import beam, board, column, door, window
from pcseg.synthetic.furniture.seating import chair, sofa
from pcseg.synthetic.furniture.storage import bookcase, cabinet
from pcseg.synthetic.furniture.tables import conference_table, desk, low_table, table

__all__ = [
    "beam", "board", "bookcase", "cabinet", "chair", "column", "conference_table", "desk", "desk_item", "door",
    "floor_item", "low_table", "sofa", "table", "wall_item", "window",
]  # fmt: skip
