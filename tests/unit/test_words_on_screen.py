"""Words that were found wrong: numbers of processes, sizes, shares, and what is cut off."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from diagnosed_runs import case, diagnosis, loaded_run, plan
from measured_runs import changed, kept, measured, one_case
from rich.console import Console
from rich.table import Table

from sdbench.analysis.case_words import process_words, run_number
from sdbench.cli import main
from sdbench.diagnosis.claims import examine_claims
from sdbench.diagnosis.evidence import Evidence
from sdbench.records import Case, Slot
from sdbench.report.terminal.tables import print_table
from sdbench.report.view.build import build_run_report
from sdbench.report.view.comparison_words import change_words
from sdbench.words import memory_words, shell, system_words

SIZES = ({"resolution": "128x128"}, {"resolution": "512x512"}, {"resolution": "768x768"})


def test_people_count_processes_from_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = kept(tmp_path, measured(config=one_case(3)))
    assert main(["show", str(path), "64x64"]) == 0
    out = capsys.readouterr().out
    for number in (1, 2, 3):
        assert f"64x64, run {number} of 3, attempt 1: ok" in out
    assert "run 0" not in out and ".current.0" not in out
    assert (process_words(0, 3), run_number("64x64-abc.current.2")) == ("run 1 of 3", "3")
    assert run_number("no number") == "no number"


@pytest.mark.parametrize(
    ("ratio", "of", "words"),
    [
        (0.744, "time", "26% less time"),
        (1.8, "time", "80% more time"),
        (2.5, "time", "2.5 times the time"),
        (0.97, "time", "3.0% less time"),
        (2.0, "", "2 times as much"),
    ],
)
def test_a_change_is_said_so_that_nobody_has_to_invert_it(
    ratio: float, of: str, words: str
) -> None:
    assert change_words(ratio, of) == words


def test_memory_and_system_are_called_as_they_are_sold() -> None:
    assert memory_words(34_359_738_368) == "32 GB"
    assert memory_words(None) == "–"
    mac = {"system": "Darwin", "release": "14.2.1"}
    assert system_words(mac) == "macOS 14.2.1"
    assert system_words({**mac, "release": "23.2"}, {"identity": {"os_version": "14.2.1"}}) == (
        "macOS 14.2.1"
    )
    assert system_words({"system": "Linux", "release": "6.8"}) == "Linux 6.8"


def test_show_says_what_a_time_is_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mac = {"chip": "Apple M2 Max", "memory_bytes": 34_359_738_368, "system": "Darwin"}
    loaded = changed(measured(config=one_case(3, images=2)), machine={**mac, "release": "14.2.1"})
    assert main(["show", str(kept(tmp_path, loaded))]) == 0
    out = capsys.readouterr().out
    assert "Apple M2 Max, 32 GB, macOS 14.2.1" in out
    assert "2 steps, ddim, 2 images per pass, 3 processes per case" in out


def wide_table(title: str | None) -> Table:
    table = Table(title=title)
    table.add_column("case")
    for name in ("s/image", "95% interval"):
        table.add_column(name, no_wrap=True)
    table.add_row("512x512 sliced", "0.564 s", "0.551–0.574 s")
    return table


@pytest.mark.parametrize("title", ["SIMULATED: no real device", None])
@pytest.mark.parametrize("width", [24, 200])
def test_no_number_is_cut_off_on_a_narrow_screen(width: int, title: str | None) -> None:
    out = io.StringIO()
    print_table(wide_table(title), Console(file=out, width=width))
    assert ("SIMULATED" in out.getvalue(), "None" in out.getvalue()) == (title is not None, False)
    for words in ("512x512", "0.564 s", "0.551–0.574 s"):
        assert words in out.getvalue()
    assert "…" not in out.getvalue()


def test_settings_that_take_the_same_time_are_marked_alike() -> None:
    def nearly(slot: Slot, here: Case) -> float:
        return 1.0001 if here == case() else 1.0

    found = diagnosis(loaded_run(seconds=nearly)).recommendation.tradeoffs
    assert len({entry.efficient for entry in found}) == 1


def test_the_first_number_is_one_picture_at_the_usual_size() -> None:
    sizes = [{**size, **more} for size in SIZES for more in ({}, {"attention_slicing": True})]

    def seconds(slot: Slot, here: Case) -> float:
        scatter = 1 + 0.001 * ((slot.index * 7919) % 11 - 5)
        return here.width / 512 * (2 if here.attention_slicing else 1) * scatter

    head = build_run_report(loaded_run(config=plan(case=sizes), seconds=seconds)).headline
    assert head.main is not None and head.main.choice.case.resolution == "512x512"
    assert head.fastest is not None and head.fastest.choice.case.resolution == "128x128"
    one = build_run_report(loaded_run(config=plan(1, case=sizes), seconds=seconds)).headline
    assert one.main is None and one.main_cell is not None
    assert one.main_cell.name == "512x512"


def test_a_refuted_share_says_in_which_direction() -> None:
    def sliced(times: float) -> Any:
        def seconds(slot: Slot, here: Case) -> float:
            scatter = 1 + 0.001 * ((slot.index * 7919) % 11 - 5)
            return (times if here.attention_slicing else 1.0) * scatter

        loaded = loaded_run(device="cuda", seconds=seconds)
        found = examine_claims(Evidence.of(loaded, []))
        return next(entry for entry in found if entry.id == "e")

    assert sliced(1.7).sentence.endswith("It costs more here than claimed.")
    assert sliced(0.93).sentence.endswith("It costs less here than claimed.")


def test_list_counts_cases_and_processes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept(tmp_path, measured(config=one_case(4)))
    assert main(["list", "-o", str(tmp_path), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["runs"]
    assert (row["outcomes"], row["processes"]) == ({"ok": 1}, 4)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("results/20260102-030405-test-abcd", "results/20260102-030405-test-abcd"),
        ("my runs/x", "'my runs/x'"),
        ("x; rm -rf ~", "'x; rm -rf ~'"),
        ("$(id)", "'$(id)'"),
        ("a'b", "'a'\"'\"'b'"),
        ("-o", "-o"),
    ],
)
def test_command_to_paste_quotes_the_name_of_a_folder(path: str, expected: str) -> None:
    assert shell(path) == expected
