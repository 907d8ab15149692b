"""Numbers as a person reads them."""

import pytest

from sdbench.words import counted, duration, seconds, size


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.8123, "0.812 s"), (9.876, "9.88 s"), (12.34, "12.3 s"), (123.4, "123 s")],
)
def test_seconds_have_three_figures(value: float | None, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.2, "1 s"), (40.4, "40 s"), (180, "3 min"), (7800, "2 h 10 min"), (36_000, "10 h 00 min")],
)
def test_duration_is_rounded_to_what_matters(value: float, text: str) -> None:
    assert duration(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0 B"),
        (812_000, "812 kB"),
        (812_000_000, "812 MB"),
        (3_400_000_000, "3.4 GB"),
        (-2_000_000_000, "-2.0 GB"),
    ],
)
def test_size_is_in_powers_of_ten(value: float | None, text: str) -> None:
    assert size(value) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 processes"), (1, "1 process"), (2, "2 processes")]
)
def test_one_is_no_plural(count: int, text: str) -> None:
    assert counted(count, "process", "processes") == text
    assert counted(1, "case") + counted(2, "case") == "1 case2 cases"
