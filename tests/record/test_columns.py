import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inetprobe.record.arrow.columns import _distinct


@given(st.lists(st.integers(0, 255), max_size=40), st.sampled_from(["u1", "<i4", "<u8", "S16"]))
def test_distinct_values_are_unique_and_give_back_each_row(numbers, kind):
    column = np.array([b"%d" % number for number in numbers] if kind == "S16" else numbers, kind)
    values, places = _distinct(column)
    assert values[places].tolist() == column.tolist()
    assert values.tolist() == sorted(set(column.tolist()))
