"""Names in a results folder that point to runs in it."""

import json
from pathlib import Path

import pytest
from factories import Called, make_config, make_replicate, make_run, play, small_run

from sdbench.errors import StoreError, UsageError
from sdbench.runs import RunFolder, list_runs
from sdbench.runs.baselines import (
    BASELINES_FILE,
    baseline_run,
    check_baseline_name,
    names_by_run,
    read_baselines,
    save_baseline,
)


def kept(root: Path, number: int, *, complete: bool = True) -> Path:
    """A run whose processes are all recorded, or only the first."""
    run = make_run(make_config(replicates=3), run_id=f"2026010{number}-030405-test-abcd")
    folder = RunFolder.create(root, run)
    for slot in run.plan.slots if complete else run.plan.slots[:1]:
        folder.append(make_replicate(slot))
    folder.close()
    return folder.path


def test_name_points_to_a_run_and_can_be_moved_to_another(results: Path) -> None:
    first, second = kept(results, 1), kept(results, 2)
    save_baseline(results, "main", first)
    save_baseline(results, "old", first)
    assert baseline_run(results, "main") == first
    save_baseline(results, "main", second)
    assert baseline_run(results, "main") == second
    assert names_by_run(read_baselines(results)) == {second.name: ["main"], first.name: ["old"]}
    assert (results / BASELINES_FILE).stat().st_size < 1000, "a pointer, no copy"


@pytest.mark.parametrize("name", ["", "a/b", "..", "-x", "a b", "x" * 65])
def test_impossible_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="expected a name of letters"):
        check_baseline_name(name)


def test_run_of_another_folder_is_no_baseline(results: Path, tmp_path: Path) -> None:
    elsewhere = kept(tmp_path / "elsewhere", 1)
    with pytest.raises(UsageError, match="is not in the results folder"):
        save_baseline(results, "main", elsewhere)


def test_unknown_name_and_lost_run_are_said(results: Path) -> None:
    save_baseline(results, "main", kept(results, 1))
    with pytest.raises(UsageError, match=r"no baseline 'mian' .*; did you mean 'main'\? see sdbe"):
        baseline_run(results, "mian")
    (results / BASELINES_FILE).write_text('{"baselines": {"main": "../../etc"}}')
    with pytest.raises(UsageError, match="is no longer in"):
        baseline_run(results, "main")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"baselines": {"a": 1}}', "[" * 100_000])
def test_file_that_is_none_is_one_line_and_the_list_goes_on(
    text: str, results: Path, call: Called
) -> None:
    path = kept(results, 1)
    (results / BASELINES_FILE).write_text(text)
    with pytest.raises(StoreError, match=BASELINES_FILE):
        read_baselines(results)
    code, out, err = call("list", "-o", results, "--json")
    assert code == 0 and [row["run_id"] for row in json.loads(out)["runs"]] == [path.name]
    assert BASELINES_FILE in err and err.count("\n") == 1


def test_compare_takes_a_baseline_as_its_base_and_saves_the_new_run(
    results: Path, call: Called
) -> None:
    first, second = kept(results, 1), kept(results, 2)
    save_baseline(results, "main", first)
    options = ("-o", results, "--json")
    code, out, _ = call("compare", "latest", "--baseline", "main", *options)
    document = json.loads(out)
    assert (code, document["base"]["run_id"]) == (0, first.name)
    assert [side["run_id"] for side in document["new"]] == [second.name]
    code, _, err = call(
        "compare", "latest", "--baseline", "main", "--save-baseline", "next", *options
    )
    assert code == 0 and "Saved as baseline next" in err
    assert baseline_run(results, "next") == second
    _, out, _ = call("list", "-o", results)
    assert [line.split()[-1] for line in out.splitlines()[2:]] == ["main", "next"]


def test_gate_that_fails_saves_nothing(results: Path, call: Called) -> None:
    kept(results, 1)
    path = kept(results, 2)
    code, _, _ = call(
        *("compare", list_runs(results)[0], path, "--fail-on", "wrong"),
        *("--save-baseline", "next", "-o", results),
    )
    assert code == 1  # no picture was compared with the CPU's, so nothing could be judged
    assert read_baselines(results) == {}


def test_run_that_is_not_complete_is_not_saved(results: Path, call: Called) -> None:
    first, second = kept(results, 1), kept(results, 2, complete=False)
    _, _, err = call("compare", first, second, "--save-baseline", "next", "-o", results)
    assert "Not saved as baseline next: the run is not complete" in err
    assert read_baselines(results) == {}


@pytest.mark.usefixtures("tiny")
def test_run_saves_itself_and_refuses_an_impossible_name_first(results: Path, call: Called) -> None:
    assert call(*small_run(results, "--save-baseline", "a/b"), script=play)[0] == 2
    assert list_runs(results) == []
    code, _, err = call(*small_run(results, "--save-baseline", "main"), script=play)
    assert code == 0 and "sdbench compare latest --baseline main" in err
    assert baseline_run(results, "main") == list_runs(results)[0]
