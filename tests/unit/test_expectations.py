"""What counts as a regression, what exit code it makes, and what is known beforehand."""

from pathlib import Path
from typing import Any

import pytest
from factories import make_pass, make_picture
from measured_runs import by_arm, measured, two_arms

from sdbench.comparison import (
    Comparison,
    FailOn,
    bisect_code,
    compare_axis,
    failing,
    load_expectations,
)
from sdbench.errors import ConfigError

CASE = measured().run.plan.cases[0].case_id
CRASHED: dict[str, Any] = {"outcome": "crashed", "passes": []}
OOM: dict[str, Any] = {"outcome": "oom", "passes": []}
BLACK: dict[str, Any] = {
    "passes": [make_pass(1.0, index, images=[make_picture(black=True)]) for index in (1, 2)]
}
SKIPPED: dict[str, Any] = {"outcome": "skipped", "passes": []}


def compared(
    old: float | dict[str, Any] = 1.0,
    new: float | dict[str, Any] = 1.0,
    expected: dict[str, Any] | None = None,
    replicates: int = 8,
) -> Comparison:
    """One case, two variants; a number is a time, a dictionary how it ended."""
    sides = {"old": old, "new": new}
    times = {arm: side if isinstance(side, float) else 1.0 for arm, side in sides.items()}
    fields = {arm: side for arm, side in sides.items() if isinstance(side, dict)}
    loaded = measured(
        by_arm(**times),
        config=two_arms(replicates),
        fields=lambda slot: fields.get(slot.arm, {}),
    )
    return compare_axis([loaded], "arm", expectations=expected)


def fails(comparison: Comparison, *conditions: FailOn) -> bool:
    return bool(failing(comparison, conditions))


@pytest.mark.parametrize(
    ("old", "new", "slower", "wrong"),
    [
        (1.0, 1.0, False, False),
        (1.0, 1.2, True, False),
        (1.2, 1.0, False, False),
        (1.0, BLACK, False, True),
        (BLACK, BLACK, False, True),  # a wrong image has to be expected in so many words
        (BLACK, 1.0, False, False),
        (1.0, CRASHED, False, True),
        (CRASHED, CRASHED, False, False),  # no worse than before
        (CRASHED, 1.0, False, False),
        (1.0, SKIPPED, False, False),
    ],
)
def test_conditions(old: Any, new: Any, slower: bool, wrong: bool) -> None:
    comparison = compared(old, new)
    assert fails(comparison, "slower") == slower
    assert fails(comparison, "wrong") == wrong
    assert fails(comparison, "any") == fails(comparison, "slower", "wrong") == (slower or wrong)
    assert not fails(comparison)
    assert bool(comparison.summary.regressions) == (slower or wrong)


def test_known_crash_is_no_regression() -> None:
    comparison = compared(1.0, CRASHED, {CASE: "crashed"})
    assert not fails(comparison, "any")
    assert comparison.cases[0].expected == "crashed"


def test_another_end_than_the_known_one_is_a_regression() -> None:
    assert fails(compared(1.0, OOM, {CASE: "crashed"}), "wrong")
    assert fails(compared(CRASHED, CRASHED, {CASE: "ok"}), "wrong")


def test_mended_crash_is_noticed() -> None:
    comparison = compared(1.0, 1.0, {CASE: "crashed"})
    assert comparison.summary.mended == [f"{CASE} (new)"]
    assert "1 fixed." in comparison.summary.sentence
    assert not fails(comparison, "any")
    assert compared(CRASHED, 1.0).cases[0].mended  # also without a file: the base crashed
    assert not compared(1.0, 1.0).cases[0].mended


def test_known_wrong_picture_is_no_regression_and_its_mending_is_noticed() -> None:
    assert not fails(compared(BLACK, BLACK, {CASE: "incorrect"}), "any")
    assert fails(compared(BLACK, CRASHED, {CASE: "incorrect"}), "wrong")
    assert compared(BLACK, 1.0, {CASE: "incorrect"}).cases[0].mended


def test_slower_counts_whatever_is_expected_to_end_well() -> None:
    assert fails(compared(1.0, 1.2, {CASE: "ok"}), "slower")


def test_expected_case_that_is_not_there_is_told() -> None:
    comparison = compared(expected={"no-such-case": "crashed"})
    assert comparison.summary.notes == [
        "expected by the file, but there is no such case: no-such-case"
    ]


# --- bisect --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "conditions", "code"),
    [
        (1.0, 1.0, [], 0),
        (1.2, 1.0, [], 0),
        (1.0, 1.2, [], 1),
        (1.0, BLACK, [], 1),
        (1.0, CRASHED, [], 1),
        (CRASHED, CRASHED, [], 0),
        (1.0, SKIPPED, [], 125),
        (BLACK, 1.0, [], 125),  # right again, but its speed cannot be told
        (BLACK, 1.0, ["wrong"], 0),
        (1.0, 1.2, ["wrong"], 0),
        (1.0, BLACK, ["slower"], 125),
    ],
)
def test_bisect_codes(old: Any, new: Any, conditions: list[FailOn], code: int) -> None:
    assert bisect_code(compared(old, new), conditions) == code


def test_bisect_cannot_tell_where_the_verdict_is_inconclusive() -> None:
    few = compared(1.0, 1.2, replicates=2)
    assert bisect_code(few, []) == 125
    assert bisect_code(few, ["wrong"]) == 0


# --- the file ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("known.toml", f'"{CASE}" = "crashed"\nother = "ok"\n'),
        ("known.json", f'{{"{CASE}": "crashed", "other": "ok"}}'),
    ],
)
def test_file_is_toml_or_json(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert load_expectations(tmp_path / name) == {CASE: "crashed", "other": "ok"}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.toml", "x = 'exploded'", "x: expected one of ok, failed, oom, crashed"),
        ("a.toml", "x = 3", "x: expected one of"),
        ("a.toml", "x = ", "not valid TOML"),
        ("a.json", "{", "not valid JSON"),
        ("a.json", "[]", "expected case ids"),
        ("a.json", '{"x": {}}', "x: expected one of"),
    ],
)
def test_wrong_file_is_one_clear_line(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_expectations(tmp_path / name)
    assert words in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


def test_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_expectations(tmp_path / "none.toml")
