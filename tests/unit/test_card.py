"""The card: one picture that says what, on what, how sure and when."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from factories import Called
from measured_runs import by_arm, changed, ended_as, kept, measured, one_case, two_arms
from PIL import Image
from told_runs import HOSTILE, told_run

from sdbench.cli import main
from sdbench.errors import UsageError
from sdbench.report.export.card import card_png
from sdbench.report.view import build_report
from sdbench.runs import LoadedRun


def card_of(*runs: LoadedRun) -> tuple[bytes, str]:
    """The file, and the words in it."""
    data = card_png(runs, build_report(runs))
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (1200, 630)
        image.load()
        assert str(image.info["Software"]).startswith("Written by sdbench")
        return data, str(image.info["Description"])


def test_card_of_a_run_stands_by_itself() -> None:
    loaded = measured(config=one_case(3))
    _, words = card_of(loaded)
    first = words.splitlines()[0]
    assert first.startswith("64x64: ") and "it/s" in first
    for part in ("2 cores", "torch 2.0.0", "2 steps", "3 processes per case", "64x64"):
        assert part in words
    assert loaded.run.run_id in words and "2026" in words
    assert "–" in words, "an interval"


def test_card_of_arms_is_their_comparison() -> None:
    loaded = measured(by_arm(old=1.0, new=0.5), config=two_arms())
    _, words = card_of(loaded)
    assert words.splitlines()[0] == "new: 50% less time against old"
    assert "faster" in words and "×0.499 (0.496–0.502)" in words


def test_card_says_that_nothing_is_real_and_that_a_run_is_not_healthy() -> None:
    _, words = card_of(changed(measured(config=one_case(3)), simulated=True))
    assert words.startswith("SIMULATED: ")
    crashed = ended_as("crashed", reason="ended")
    _, words = card_of(measured(config=one_case(3), fields=lambda slot: crashed))
    assert words.startswith("No steady pass was measured")
    assert "Not healthy" in words


def test_card_of_runs_that_cannot_be_compared_is_refused() -> None:
    base = measured()
    other = changed(measured(), run_id="other", config={**base.run.config, "steps": 99})
    with pytest.raises(UsageError, match="the numbers of steps differ"):
        card_of(base, other)


@pytest.mark.parametrize("bad_first", [True, False])
def test_of_two_runs_the_less_healthy_one_is_named(bad_first: bool) -> None:
    whole = measured(config=one_case(8))
    bad = measured(config=one_case(9), skip=lambda slot: slot.block == 8)
    runs = [bad, changed(whole, run_id="other")]
    _, words = card_of(*(runs if bad_first else runs[::-1]))
    assert "1 of 9 processes has not been run" in words


def test_text_of_others_is_shown_as_text(tmp_path: Path) -> None:
    loaded = told_run(tmp_path)
    machine = {**loaded.run.machine, "chip": f"$x^2$ {HOSTILE}"}
    _, words = card_of(changed(loaded, machine=machine, label=HOSTILE))
    assert "\x1b" not in words and "\u202e" not in words


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Called:
    def invoke(*args: Any) -> tuple[int, str, str]:
        code = main([str(arg) for arg in args])
        return (code, *capsys.readouterr())

    return invoke


def test_a_png_is_a_card_and_only_our_own_is_written_over(tmp_path: Path, call: Called) -> None:
    kept(tmp_path / "results", measured(config=one_case(3)))
    target = tmp_path / "x.png"
    command = ("report", "latest", "--results", tmp_path / "results", "-o", target)
    assert call(*command)[0] == 0
    assert target.read_bytes().startswith(b"\x89PNG")
    assert call(*command)[0] == 0, "it is known as ours"
    Image.new("RGB", (8, 8)).save(target)
    code, _, err = call(*command)
    assert code == 2 and "was not written by sdbench" in err


def test_without_a_name_it_is_card_png(
    tmp_path: Path, call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(tmp_path / "results", measured(config=one_case(3)))
    monkeypatch.chdir(tmp_path)
    code, out, err = call("report", "latest", "-f", "card")
    assert (code, out) == (0, "") and "card.png" in err
    assert (tmp_path / "card.png").read_bytes().startswith(b"\x89PNG")
