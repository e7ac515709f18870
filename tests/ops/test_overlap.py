import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcseg.ops.overlap import overlap_table
from tests.reference import overlap as slow

IDS = st.one_of(st.integers(0, 4), st.sampled_from([-(2**40), -1, 17, 2**31, 2**40]))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(pairs=st.lists(st.tuples(IDS, IDS), max_size=40))
def test_equals_sets_of_points(pairs: list[tuple[int, int]]) -> None:
    a, b = [i for i, _ in pairs], [j for _, j in pairs]
    table = overlap_table(np.array(a, np.int64), np.array(b, np.int64))
    keys = list(zip(table.a.tolist(), table.b.tolist()))
    assert dict(zip(keys, table.points.tolist())) == slow.overlap_table(a, b)
    assert keys == sorted(keys)
    assert dict(zip(keys, table.iou().tolist())) == pytest.approx(slow.iou(a, b))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(pairs=st.lists(st.tuples(st.integers(0, 5), st.integers(-1, 3)), max_size=30))
def test_majority_and_dense(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs, np.int32).reshape(-1, 2).T
    assert overlap_table(a, b).majority(7, empty=-5).tolist() == slow.majority(a.tolist(), b.tolist(), 7, -5)
    dense = overlap_table(a, b + 1).dense(6, 5)
    assert {(i, j - 1): dense[i, j] for i, j in np.argwhere(dense)} == slow.overlap_table(a.tolist(), b.tolist())
