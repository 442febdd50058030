"""Tables of parameters: what of a CSV text is refused before any of it is sent."""

from __future__ import annotations

import pytest

from accord.core.errors import Invalid
from accord.delivery.http.tables import read_table


def test_a_row_that_no_task_could_hold_is_refused_with_its_line() -> None:
    text = "a,b\n1,2\n" + f"{'x' * 40_000},{'y' * 40_000}\n"
    with pytest.raises(Invalid, match="Line 3") as caught, read_table(text):
        pass
    assert caught.value.fields == {"field": "csv", "line": 3}


def test_long_values_that_a_task_can_hold_are_taken() -> None:
    with read_table(f"a,b\n{'x' * 30_000},{'y' * 30_000}\n") as table:
        assert table.size == 1
