"""Run-length encoding of masks, as the JSON files of ScanNet++ and of several peers hold it.

``{"length": P, "counts": "start length start length ..."}``: runs of points in the mask, starts counted from 1.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool


def rle_encode(mask: Bool[np.ndarray, "P"]) -> dict[str, Any]:
    """Runs of a mask.

    Args:
        mask: True where the object is.

    Returns:
        dict with length (int) and counts (text).

    Source:
        The mask format of the ScanNet++ benchmark.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8))) + 1
    starts, ends = edges[::2], edges[1::2]
    return {"length": len(mask), "counts": " ".join(map(str, np.stack([starts, ends - starts], axis=1).ravel()))}


def rle_decode(rle: Any) -> Bool[np.ndarray, "P"]:
    """The mask of an encoding.

    Args:
        rle: dict with length and counts; counts may be text or a list of whole numbers.

    Returns:
        Mask of `length` points.

    Raises:
        ValueError: the encoding is damaged; the message begins with what is wrong.
    """
    if not isinstance(rle, dict) or "length" not in rle or "counts" not in rle:
        raise ValueError('expected an object with "length" and "counts"')
    length, counts = rle["length"], rle["counts"]
    if type(length) is not int or not 0 <= length < 2**31:
        raise ValueError(f"length is {length!r}, expected a whole number of points")
    runs = counts.split() if isinstance(counts, str) else counts
    if not isinstance(runs, list) or len(runs) % 2:
        raise ValueError("counts must hold pairs of a start and a length")
    try:
        starts, lengths = np.array([int(run) for run in runs], np.int64).reshape(-1, 2).T
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"counts must hold whole numbers ({error})") from error
    if len(starts) and (min(starts.min(), lengths.min() + 1) < 1 or max(starts.max(), lengths.max()) > length):
        raise ValueError(f"counts has a run outside 1..{length}")
    ends = starts - 1 + lengths
    if len(ends) and ends.max() > length:
        raise ValueError(f"counts has a run that ends at point {ends.max()}, the mask has {length}")
    change = np.zeros(length + 1, np.int64)
    np.add.at(change, starts - 1, 1)
    np.add.at(change, ends, -1)
    return np.cumsum(change)[:length] > 0
