"""``compare --with``: a run among similar machines, and what is not placed among them."""

import json
from pathlib import Path
from typing import Any

import board_factories
import msgspec
import pytest
from factories import Called

from sdbench.board.measured import measured_work
from sdbench.board.rows import Row
from sdbench.board.similar import place, similar_rows
from sdbench.board.site_data import write_data
from sdbench.board.table import in_order


def row(
    machine: str, seconds: float | None, run: dict[str, Any] | None = None, **fields: Any
) -> Row:
    """A case of a machine by its name; ``run`` are fields of its submission."""
    of_run: dict[str, Any] = {"model_sha256": "d" * 64, "run_id": f"run-of-{machine}"}
    of_case: dict[str, Any] = {
        "case_id": "512x512-float16-000000",
        "diffusers": "0.39.0",
        "setting": "512x512 float16, 20 steps",
        "seconds_per_image": seconds,
        "ci95": None if seconds is None else (0.98 * seconds, 1.02 * seconds),
    }
    submission = board_factories.submission(machine_id=machine, **(of_run | (run or {})))
    return board_factories.row(submission, **(of_case | fields))


OWN = row("own", 10.0)
OTHERS = [row(f"m-{seconds}", seconds) for seconds in (8.0, 9.9, 11.0, 12.0)]


def test_a_run_has_a_place_among_similar_machines() -> None:
    found = place([OWN], OTHERS)
    (case,) = found.cases
    assert (found.similar_machines, found.reason, found.caveats) == (4, None, [])
    assert (case.machines, case.slower, case.percentile) == (4, 2, 50.0)
    assert (case.median_s, case.fastest_s) == (10.45, 8.0)
    assert [(one.machine_id, one.clearly) for one in case.faster] == [
        ("m-8.0", True),
        ("m-9.9", False),
    ]


def test_an_equal_time_counts_half() -> None:
    (case,) = place([OWN], [row("a", 10.0), row("b", 11.0)]).cases
    assert (case.slower, case.percentile, case.faster) == (1, 75.0, [])


@pytest.mark.parametrize(
    "other",
    [
        row("a", 9.0, {"chip": "Apple M4 Pro"}),
        row("a", 9.0, {"memory_bytes": 24 << 30}),
        row("a", 9.0, {"gpu_cores": 8}),
        row("a", 9.0, {"verified": False}),
        row("a", 9.0, {"blockers": ["on-battery"]}),
        row("a", 9.0, {"simulated": True}),
        row("a", 9.0, {"virtual": True}),
        row("a", 9.0, {"virtual": None}),
        row("a", 9.0, image="wrong"),
        row("a", 9.0, image="unknown"),
        row("own", 9.0, {"run_id": "an earlier one"}),
        row("shared", 9.0),
        row("another id", 9.0, {"run_id": "run-of-own"}),
    ],
    ids=lambda other: f"{other.submission.machine_id}",
)
def test_what_is_not_similar_or_not_ranked_or_ones_own_does_not_count(other: Row) -> None:
    found = place([OWN], [other], {"own", "shared"})
    assert (found.similar_machines, found.cases) == (0, [])
    assert found.reason is not None and "no verified run of a similar machine" in found.reason
    beside = place([OWN], [other, *OTHERS], {"own", "shared"})
    assert beside.cases == place([OWN], OTHERS).cases


@pytest.mark.parametrize(
    "other",
    [
        row("a", 9.0, setting="512x512 float16, 10 steps"),
        row("a", 9.0, {"model": "synthetic/sdxl"}),
        row("a", 9.0, {"model_sha256": "e" * 64}),
        row("a", 9.0, {"device": "cpu"}),
    ],
)
def test_another_work_is_not_compared(other: Row) -> None:
    found = place([OWN], [other])
    assert found.similar_machines == 1
    (case,) = found.cases
    assert (case.percentile, case.reason) == (None, "no similar machine has measured it")


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ({"simulated": True}, "simulated"),
        ({"virtual": True}, "virtual machine"),
        ({"virtual": None}, "not known whether"),
        ({"blockers": ["virtual"]}, "virtual machine"),
        ({"blockers": ["preload"]}, "other code"),
        ({"blockers": ["planted-fault"]}, "planted"),
        ({"chip": "–"}, "not recorded"),
        ({"memory_bytes": None}, "not recorded"),
    ],
)
def test_what_is_no_real_machine_has_no_place(run: dict[str, Any], words: str) -> None:
    found = place([row("own", 10.0, run)], OTHERS)
    assert found.cases == [] and words in (found.reason or "")


def test_machines_of_unknown_chip_are_not_similar() -> None:
    unknown = [row("a", 9.0, {"chip": "–"}), row("b", 9.0, {"memory_bytes": None})]
    for one in unknown:
        assert similar_rows(unknown, one.submission.machine_class) == []


def test_other_blockers_are_told_and_the_run_is_placed() -> None:
    found = place([row("own", 10.0, {"blockers": ["on-battery"], "verified": False})], OTHERS)
    assert found.caveats == ["on-battery"] and found.cases[0].percentile == 50.0


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (row("own", None), "no time"),
        (row("own", 10.0, image="wrong"), "wrong"),
        (row("own", 10.0, image="unknown"), "not checked"),
        (row("own", 10.0, outcome="crashed"), "crashed"),
    ],
)
def test_a_case_that_says_nothing_has_no_place(own: Row, words: str) -> None:
    (case,) = place([own], OTHERS).cases
    assert case.percentile is None and words in (case.reason or "")
    assert case.faster == []


def test_a_machine_counts_once_and_with_the_same_versions() -> None:
    old = [row("a", seconds, torch="2.5.1") for seconds in (20.0, 21.0, 22.0)]
    (case,) = place([OWN], [*old, row("a", 9.0)]).cases
    assert (case.machines, case.slower) == (1, 0)
    (case,) = place([OWN], [*old, row("b", 5.0, torch="2.5.1")]).cases
    assert (case.machines, case.slower, case.median_s) == (2, 1, 13.0)
    assert [one.torch for one in case.faster] == ["2.5.1"]


def test_what_was_measured_before_a_run() -> None:
    found = measured_work(OTHERS, "2.13.0", "0.39.0")
    assert found is not None
    assert (found.machines, found.seconds_per_image) == (4, 10.45)
    assert found.low_s == pytest.approx(7.84) and found.high_s == pytest.approx(12.24)
    assert measured_work([], "2.13.0", "0.39.0") is None


# --- the command line -----------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    write_data(folder, in_order(OTHERS), [], {})
    return folder


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, results: Path) -> None:
    """Runs in git were all made in virtual machines; the rows of one are replaced."""
    (results / "own").mkdir(parents=True)
    (results / "own/run.json").write_text("{}")
    monkeypatch.setattr("sdbench.board.inputs.rows_of_run", lambda folder: [OWN])


def test_compare_with_a_site(site: Path, own: None, results: Path, call: Called) -> None:
    code, out, _ = call("compare", results / "own", "--with", site)
    assert code == 0
    assert "Apple M4, 10 GPU cores, 16 GB, and 4 similar machines" in out
    assert "2 of 4 (50%)" in out
    assert "faster: 512x512-float16-000000: 8 s (7.84 s to 8.16 s) with torch 2.13.0" in out
    code, out, _ = call("compare", results / "own", "--with", site, "--json")
    document = json.loads(out)
    assert document["cases"][0]["percentile"] == 50.0 and document["site"] == str(site)


def test_other_options_are_refused(site: Path, own: None, results: Path, call: Called) -> None:
    for words in (["--by", "arm"], ["--bisect"], ["--fail-on", "slower"], [results / "own"]):
        code, _, err = call("compare", results / "own", *words, "--with", site)
        assert code == 2 and "--with: expected one RUN" in err


def test_no_site(tmp_path: Path, own: None, results: Path, call: Called) -> None:
    code, _, err = call("compare", results / "own", "--with", tmp_path)
    assert code == 2 and err.count("\n") == 1 and "board" in err


HOSTILE = [
    lambda text: b"\x80\x04pickle",
    lambda text: b"[" * 100_000,
    lambda text: text.replace(b"8.0", b"-8.0"),
    lambda text: text.replace(b"8.0", b"1e999"),
    lambda text: text.replace(b"8.0", b"NaN"),
    lambda text: text.replace(b'"n":[3', b'"n":[-3'),
    lambda text: text.replace(b'"submission":[0', b'"submission":[99'),
    lambda text: text.replace(b'"submission":[0', b'"submission":[-1'),
    lambda text: text.replace(b'"n":[', b'"n":[7,'),
]


@pytest.mark.parametrize("change", HOSTILE)
def test_hostile_data_are_one_line(
    change: Any, site: Path, own: None, results: Path, call: Called
) -> None:
    piece = site / "data/cases-0000.json"
    before = piece.read_bytes()
    piece.write_bytes(change(before))
    assert piece.read_bytes() != before
    code, out, err = call("compare", results / "own", "--with", site)
    assert (code, out, err.count("\n")) == (3, "", 1), err


def test_a_site_of_links_is_not_followed(
    site: Path, own: None, results: Path, call: Called, tmp_path: Path
) -> None:
    piece = site / "data/cases-0000.json"
    elsewhere = tmp_path / "elsewhere.json"
    piece.rename(elsewhere)
    piece.symlink_to(elsewhere)
    assert call("compare", results / "own", "--with", site)[0] == 3


def test_names_of_others_cannot_command_a_terminal(
    site: Path, own: None, results: Path, call: Called
) -> None:
    board = site / "data/board.json"
    document = json.loads(board.read_bytes())
    document["words"]["torch"] = ["\x1b[2J2.13.0"]
    board.write_bytes(msgspec.json.encode(document))
    code, out, _ = call("compare", results / "own", "--with", site)
    assert code == 0 and "\x1b" not in out
