"""Every JSON document says what it is and what measured it, and gives both kinds of seconds."""

import json
from pathlib import Path
from typing import Any

import pytest
from factories import Called, make_config, make_replicate, make_run

from sdbench import __version__
from sdbench.analysis.provenance import provenance, with_seconds_per_pass
from sdbench.cli.output import DOCUMENT_SCHEMA, identified
from sdbench.records import SCHEMA_VERSION
from sdbench.runs import RunFolder, load_run


@pytest.fixture
def run(results: Path) -> Path:
    """Two images a pass, steady passes of 1 s."""
    made = make_run(make_config(images=2, steps=7, replicates=3), sdbench="0.0.9")
    folder = RunFolder.create(results, made)
    for slot in made.plan.slots:
        folder.append(make_replicate(slot))
    folder.close()
    return folder.path


def document_of(call: Called, *arguments: str | Path) -> dict[str, Any]:
    _, out, _ = call(*arguments, "--json")
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.mark.parametrize("verb", ["show", "diagnose", "report"])
def test_document_of_a_run_says_what_measured_it(verb: str, call: Called, run: Path) -> None:
    more = ("-o", "-") if verb == "report" else ()
    document = document_of(call, verb, run, *more)
    assert document["sdbench_version"] == "0.0.9", "of the sdbench that measured"
    assert document["machine"]["chip"] == "Test"
    assert document["versions"] == {"current": {"python": "3.11.0", "torch": "2.0.0"}}
    assert (document["config"]["steps"], document["config"]["images"]) == (7, 2)
    assert document["schema"] == (DOCUMENT_SCHEMA if verb == "diagnose" else SCHEMA_VERSION)


def test_document_of_a_case_says_it_too(call: Called, run: Path) -> None:
    case_id = load_run(run).run.plan.cases[0].case_id
    document = document_of(call, "show", run, case_id)
    assert {"schema", "sdbench_version", "machine", "versions", "config"} <= {*document}


def test_case_has_seconds_a_pass_and_a_picture(call: Called, run: Path) -> None:
    for row in document_of(call, "show", run)["cases"]:
        assert (row["seconds_per_pass"], row["seconds_per_picture"]) == (1.0, 0.5)
        assert row["latency_s"]["median"] == row["seconds_per_pass"]
    for row in document_of(call, "diagnose", run)["recommendation"]["tradeoffs"]:
        assert row["seconds_per_pass"] == 2 * row["seconds_per_picture"]
    history = document_of(call, "history", "-o", run.parent)["runs"]
    assert [(row["seconds_per_pass"], row["seconds_per_picture"]) for row in history] == [(1, 0.5)]


def test_comparison_has_both_for_both_sides_and_every_run(call: Called, run: Path) -> None:
    document = document_of(call, "compare", run, run)
    for row in document["cases"]:
        for side in ("base", "new"):
            assert row[f"{side}_seconds_per_pass"] == row[f"{side}_s"] == 1.0
            assert row[f"{side}_seconds_per_picture"] == 0.5
    assert [one["config"]["steps"] for one in document["runs"]] == [7, 7]


@pytest.mark.parametrize(
    "arguments", [("list",), ("stacks", "list"), ("models",), ("issues",), ("doctor",)]
)
def test_every_other_document_has_schema_and_version(
    arguments: tuple[str, ...], call: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    recordings = Path(__file__).parents[1] / "data" / "machines"
    monkeypatch.setenv("SDBENCH_MACHINE_RECORDING", str(recordings / "m2-max-macos14"))
    document = document_of(call, *arguments)
    assert document["schema"] == DOCUMENT_SCHEMA
    assert document["sdbench_version"] == __version__
    if arguments == ("doctor",):
        assert document["machine"]["chip"].startswith("Apple M2")
        assert "python" in document["versions"]


def test_dry_run_names_machine_and_versions(call: Called) -> None:
    document = document_of(call, "run", "quick", "--device", "cpu", "--dry-run")
    assert document["machine"]["system"] and document["versions"]["current"]["torch"]
    assert document["config"]["steps"]


def test_several_runs_in_one_document(call: Called, run: Path) -> None:
    document = document_of(call, "report", run, run, "-o", "-")
    assert document["schema"] == DOCUMENT_SCHEMA and len(document["runs"]) == 2


def test_what_a_document_has_itself_is_kept() -> None:
    assert identified({"schema": 9, "x": 1}) == {
        "schema": 9,
        "x": 1,
        "sdbench_version": __version__,
    }


def test_seconds_a_pass_stand_beside_seconds_a_picture_wherever_those_are() -> None:
    document = {"a": [{"seconds_per_picture": 0.5}], "b": {"seconds_per_picture": None}}
    assert with_seconds_per_pass(document, 4) == {
        "a": [{"seconds_per_picture": 0.5, "seconds_per_pass": 2.0}],
        "b": {"seconds_per_picture": None, "seconds_per_pass": None},
    }


def test_machine_is_named_by_its_id_too() -> None:
    run = make_run()
    assert provenance(run)["machine"]["machine_id"] == run.machine_id
