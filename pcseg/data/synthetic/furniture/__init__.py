"""Furniture of several designs, each put together from primitives."""

from pcseg.data.synthetic.furniture.clutter import desk_item, floor_item, wall_item
from pcseg.data.synthetic.furniture.fixtures import beam, board, column, door, window
from pcseg.data.synthetic.furniture.item import Item, Top
from pcseg.data.synthetic.furniture.seating import chair, sofa
from pcseg.data.synthetic.furniture.storage import bookcase, cabinet
from pcseg.data.synthetic.furniture.tables import conference_table, desk, low_table, table

__all__ = [
    "Item",
    "Top",
    "beam",
    "board",
    "bookcase",
    "cabinet",
    "chair",
    "column",
    "conference_table",
    "desk",
    "desk_item",
    "door",
    "floor_item",
    "low_table",
    "sofa",
    "table",
    "wall_item",
    "window",
]
