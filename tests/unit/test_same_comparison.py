"""When a comparison that was made again says nothing new."""

import pytest

from sdbench.runner.compare_pictures import _alike

RECORD = {"verdict": "match", "stages": [{"cosine": 1.0, "rel_l2": 0.0}], "margin": None}


def test_the_last_digits_of_a_number_say_nothing_new() -> None:
    again = RECORD | {"stages": [{"cosine": 0.9999999999999998, "rel_l2": 1e-17}]}
    assert _alike(RECORD, again)


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "unknown"},
        {"stages": [{"cosine": 0.999999, "rel_l2": 0.0}]},
        {"stages": []},
        {"stages": [{"cosine": 1.0}]},
        {"margin": 0.0},
        {"reason": "new"},
    ],
)
def test_anything_else_is_recorded(change: dict[str, object]) -> None:
    assert not _alike(RECORD, RECORD | change)
    assert not _alike(RECORD | change, RECORD)
