"""Runs, cases and verbs are found by what a screen calls them, or by enough of it."""

from pathlib import Path

import pytest
from measured_runs import changed, kept, measured, one_case

from sdbench.analysis.case_names import cases_called, names_of
from sdbench.cli import main
from sdbench.errors import UsageError
from sdbench.records import Case
from sdbench.runs import find_run

PLAIN = Case(resolution="512x512", dtype="float16")
SLICED = Case(resolution="512x512", dtype="float16", attention_slicing=True)
BATCH = Case(resolution="512x512", dtype="float16", attention_slicing=True, batching="batch")
SMALL = Case(resolution="256x256", dtype="float16")
CASES = [PLAIN, SLICED, BATCH, SMALL]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("512x512 sliced float16", [SLICED]),
        (SLICED.case_id, [SLICED]),
        ("512x512 sliced", [SLICED]),
        ("sliced 512x512", [SLICED]),
        ("512x512", [PLAIN]),
        ("batch", [BATCH]),
        ("256x256", [SMALL]),
        ("256", [SMALL]),
        ("512x512-sliced-b", [BATCH]),
        ("sliced", [SLICED, BATCH]),
        ("float16", CASES),
        ("512x512 primed", []),
        ("", []),
        ("  ", []),
    ],
)
def test_as_many_words_as_only_one_case_has_are_enough(name: str, found: list[Case]) -> None:
    assert cases_called(name, CASES) == found


def test_a_name_never_means_a_case_that_lacks_one_of_its_words() -> None:
    assert cases_called("512x512 sliced float32", CASES) == []
    assert cases_called("sliced primed", CASES) == []


def test_names_of_very_many_cases_are_counted() -> None:
    many = [Case(resolution=f"{8 * number}x8") for number in range(1, 31)]
    assert names_of(many).endswith(" and 10 more")
    assert names_of([]) == ""


def test_an_unknown_case_is_answered_with_the_names_of_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    axes = {"resolution": ["64x64"], "attention_slicing": [False, True]}
    path = kept(tmp_path, measured(config=one_case(3, matrix=axes)))
    assert main(["show", str(path), "primed"]) == 2
    assert "there are 64x64, 64x64 sliced" in capsys.readouterr().err


def test_a_run_is_found_by_a_part_of_its_id(tmp_path: Path) -> None:
    one = kept(tmp_path, changed(measured(), run_id="20261122-155633-default-63bc"))
    two = kept(tmp_path, changed(measured(), run_id="20261122-191318-mps-docs-b72f"))
    for name in ("155633", "default", "63bc", "default-63bc", "20261122-15"):
        assert find_run(tmp_path, name) == one, name
    assert find_run(tmp_path, "mps-docs") == two
    for name in ("5633", "docs-b7", "63b"):
        with pytest.raises(UsageError, match="no run called"):
            find_run(tmp_path, name)
    with pytest.raises(UsageError, match=f"2 runs called '20261122' in .*: {one.name}, {two.name}"):
        find_run(tmp_path, "20261122")


def test_where_there_is_no_run_the_command_that_makes_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none yet; make one with: sdbench run"):
        find_run(tmp_path, "latest")


@pytest.mark.parametrize(
    ("typed", "meant"), [("cmopare", "compare"), ("lsit", "list"), ("localize", "localise")]
)
def test_a_verb_that_is_misspelt_is_answered_with_the_one_that_was_meant(
    typed: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([typed, "latest"]) == 2
    assert f"did you mean {meant}?" in capsys.readouterr().err


def test_a_word_unlike_any_verb_is_answered_with_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["xyzzy"]) == 2
    assert "did you mean" not in capsys.readouterr().err


def test_compare_names_the_settings_that_a_run_can_be_compared_by(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    axes = {"resolution": ["64x64"], "attention_slicing": [False, True]}
    path = kept(tmp_path, measured(config=one_case(3, matrix=axes)))
    assert main(["compare", str(path)]) == 2
    assert "or --by AXIS, here attention_slicing" in capsys.readouterr().err
