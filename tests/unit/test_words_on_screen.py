"""Words that were found wrong: numbers of processes, sizes, shares, and what is cut off."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from diagnosed_runs import case, diagnosis, loaded_run, plan
from measured_runs import changed, kept, measured, one_case, two_arms
from rich.console import Console
from rich.table import Table

from sdbench.analysis.case_words import process_words, run_number
from sdbench.cli import main
from sdbench.cli.streams import escape_unknown_characters
from sdbench.diagnosis.claims import examine_claims
from sdbench.diagnosis.evidence import Evidence
from sdbench.records import Case, Slot
from sdbench.report.terminal.lines import print_command, say, say_plain
from sdbench.report.terminal.tables import print_table
from sdbench.report.view.build import build_run_report
from sdbench.report.view.comparison_words import change_words
from sdbench.runs import LoadedRun
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


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(width: int) -> tuple[_Terminal, Console]:
    out = _Terminal()
    return out, Console(file=out, width=width, force_terminal=True, color_system=None)


@pytest.mark.parametrize("width", range(24, 140, 7))
def test_no_word_of_a_table_is_cut_at_any_width(width: int) -> None:
    table = Table(show_edge=False, pad_edge=False)
    for name in ("case", "new", "peak memory"):
        table.add_column(name)
    table.add_column("time", no_wrap=True)
    table.add_row("192x192 sliced", "torch-2.13", "47% more (420 MB → 618 MB)", "×0.744")
    out, console = on_terminal(width)
    print_table(table, console)
    words = out.getvalue().split()
    for word in ("torch-2.13", "sliced", "×0.744", "618", "more"):
        assert word in words
    assert "…" not in out.getvalue()
    assert max(map(len, out.getvalue().splitlines())) <= max(width, 30)


def test_a_table_that_becomes_blocks_breaks_no_number_from_its_unit() -> None:
    out = io.StringIO()
    print_table(wide_table(None), Console(file=out, width=30))
    assert "95% interval 0.551–0.574 s" in out.getvalue()


@pytest.mark.parametrize("width", [60, 24])
def test_what_all_rows_have_in_common_is_said_once_on_a_narrow_screen(width: int) -> None:
    table = Table(show_edge=False, pad_edge=False)
    for name in ("case", "variant", "outcome", "s/image", "image"):
        table.add_column(name)
    table.add_row("64x64", "old", "[green]ok[/]", "0.51 s", "as asked, same as CPU")
    table.add_row("64x64 sliced", "old", "[green]ok[/]", "0.62 s", "as asked, same as CPU")
    out, console = on_terminal(width)
    print_table(table, console)
    text = " ".join(out.getvalue().split())
    assert text.endswith("every row: outcome ok · image as asked, same as CPU")
    assert text.count("same as CPU") == 1 and text.count("old") == 2
    if width == 24:
        assert "64x64 · old" in text


def test_a_column_that_differs_in_one_row_stays_a_column() -> None:
    table = Table(show_edge=False, pad_edge=False)
    for name in ("case", "outcome"):
        table.add_column(name)
    table.add_row("64x64 sliced in bfloat16", "ok")
    table.add_row("128x128 sliced in bfloat16", "crashed")
    out, console = on_terminal(20)
    print_table(table, console)
    assert "every row" not in out.getvalue() and "outcome crashed" in out.getvalue()


def test_a_command_at_the_end_of_a_sentence_is_not_broken() -> None:
    sentence = "Too early to say what to use: sdbench run quick --set replicates=3"
    out, console = on_terminal(40)
    say_plain(console, sentence)
    assert [line.rstrip() for line in out.getvalue().splitlines()] == [
        "Too early to say what to use:",
        "  sdbench run quick --set replicates=3",
    ]
    out, console = on_terminal(80)
    say_plain(console, f"[1/2] {sentence}", lead="! ")
    assert out.getvalue().rstrip() == f"! [1/2] {sentence}"


def test_a_sentence_is_wrapped_at_words_on_a_terminal_and_nowhere_else() -> None:
    sentence = "at least 133.0 GB of memory left, [red]pressure[/] at most normal"
    out, console = on_terminal(26)
    say(console, sentence, lead="note  ")
    lines = out.getvalue().splitlines()
    assert lines[0] == "note  at least 133.0 GB of"
    assert all(line.startswith(" " * 6) and len(line) <= 26 for line in lines[1:])
    assert " ".join(" ".join(lines).split()) == (
        "note at least 133.0 GB of memory left, pressure at most normal"
    )
    piped = io.StringIO()
    say(Console(file=piped, width=26), sentence, lead="note  ")
    assert len(piped.getvalue().splitlines()) == 1


def test_a_number_keeps_its_unit_where_a_sentence_is_wrapped() -> None:
    for width in range(30, 60):
        out, console = on_terminal(width)
        say(console, "held by the driver 5.2 GB, maximum 140 GB, after 12.3 s of 74.2 it/s")
        for line in out.getvalue().splitlines():
            assert not line[-1].isdigit(), (width, line)


def test_a_command_is_never_wrapped() -> None:
    out, console = on_terminal(30)
    print_command(console, "sdbench localise --model builtin/shapes --resolution 64x64")
    assert out.getvalue().splitlines() == [
        "sdbench localise --model builtin/shapes --resolution 64x64"
    ]


def test_steps_and_iterations_stand_next_to_a_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(kept(tmp_path, measured(config=one_case(3, images=2))))
    assert main(["show", path]) == 0
    head = next(line for line in capsys.readouterr().out.splitlines() if "s/image" in line)
    assert [cell.strip() for cell in head.split("┃")][2:4] == ["s/image", "it/s"]
    assert main(["show", path, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["cases"]
    assert row["steps"] == 2
    assert row["iterations_per_second"] == pytest.approx(2 / row["seconds_per_picture"])


def test_a_case_begins_with_its_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(kept(tmp_path, measured(config=one_case(3, images=2))))
    assert main(["show", path, "64x64"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("time ")
    assert "3 processes" in lines[1] and "it/s (2 steps)" in lines[1]


def test_kernel_version_is_not_called_a_release_of_macos() -> None:
    mac = {"system": "Darwin", "release": "23.2.0"}
    assert system_words(mac) == "Darwin 23.2.0"
    assert system_words({"system": "Darwin", "release": "26.1"}) == "macOS 26.1"
    assert system_words({"system": "Darwin", "release": "15.3.1"}) == "macOS 15.3.1"


def test_a_long_lead_does_not_squeeze_the_sentence_behind_it() -> None:
    out, console = on_terminal(40)
    say(
        console,
        "torch 2.13.0, Python 3.11.7, numpy 2.4.6",
        lead="  versions of this machine as of today: ",
    )
    lines = out.getvalue().splitlines()
    assert len(lines) == 3 and all(line.startswith("  ") for line in lines)


def test_an_id_in_the_list_is_never_broken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kept(tmp_path, changed(measured(), run_id="20261122-155401-" + "long-" * 20 + "0a65"))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    for width in (60, 80, 120):
        monkeypatch.setattr(
            "sdbench.cli.list.console", lambda width=width: Console(width=width, emoji=False)
        )
        assert main(["list", "-o", str(tmp_path)]) == 0
        assert path.name in capsys.readouterr().out.split()
    assert main(["list", "-o", str(tmp_path), "--json"]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert [row["torch"] for row in runs if "torch" in row] == [["2.0.0"]]


@pytest.mark.parametrize("verb", ["show", "diagnose", "list", "compare"])
def test_an_output_that_knows_ascii_only_has_no_escapes_of_our_own_characters(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kept(tmp_path, measured(config=two_arms(3)))
    out = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(out, encoding="ascii"))
    escape_unknown_characters()
    assert main([verb, *(["-o", str(tmp_path)] if verb == "list" else [str(path)])]) in (0, 1)
    sys.stdout.flush()
    text = out.getvalue().decode("ascii")
    assert path.name in text and "\\u" not in text and "\\x" not in text


@pytest.mark.parametrize("own", [True, False])
def test_only_ones_own_runs_are_offered_to_be_measured_again(
    own: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [str(kept(tmp_path / name, measured(config=one_case(1)))) for name in "ab"]
    monkeypatch.setattr(LoadedRun, "own", property(lambda self: own))
    assert main(["compare", *paths, "--fail-on", "undecided"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("next: sdbench ") and last.endswith("--rerun") == own
