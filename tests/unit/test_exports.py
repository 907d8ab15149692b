"""What other programs read: JUnit, pytest-benchmark, CSV."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from factories import Called, make_pass, make_picture, summarise
from measured_runs import by_arm, changed, ended_as, kept, measured, one_case, steady, two_arms

from sdbench.analysis.run_summary import RunSummary
from sdbench.comparison import compare_axis, failing
from sdbench.report.export.junit import junit_of_comparison, junit_of_runs
from sdbench.report.export.pytest_benchmark import pytest_benchmark_document
from sdbench.report.export.tidy_csv import csv_of_runs
from sdbench.runs import LoadedRun


def summary_of(loaded: LoadedRun) -> RunSummary:
    return summarise(loaded.run, loaded.replicates, "x")


# --- JUnit ---------------------------------------------------------------------------------------

MATRIX = {"resolution": ["64x64", "128x128", "256x256"]}


def mixed() -> LoadedRun:
    """Three cases: one slower, one the same, one crashed in the new variant."""

    def fields(slot: Any) -> dict[str, Any]:
        if slot.arm == "new" and slot.case_id.startswith("256"):
            return ended_as("crashed", reason="ended by <SIGABRT> \x1b[31m")
        return {}

    return measured(
        lambda slot: steady(1.5 if slot.arm == "new" and slot.case_id.startswith("64") else 1.0)(
            slot
        ),
        config=two_arms(matrix=MATRIX),
        fields=fields,
    )


def suite_of(text: str) -> ElementTree.Element:
    (suite,) = ElementTree.fromstring(text).findall("testsuite")
    return suite


def test_junit_of_a_comparison_fails_what_the_exit_code_fails() -> None:
    comparison = compare_axis([mixed()], "arm")
    suite = suite_of(junit_of_comparison(comparison, failing(comparison, ["any"])))
    assert [suite.get(name) for name in ("tests", "failures", "skipped")] == ["3", "2", "0"]
    tests = {test.get("name"): test for test in suite}
    slower = tests["64x64 (old → new)"].find("failure")
    assert slower is not None
    assert slower.get("type") == "slower"
    assert "1.5" in (slower.get("message") or "")
    assert tests["128x128 (old → new)"].find("failure") is None
    assert tests["256x256 (old → new)"].find("failure") is not None
    suite = suite_of(junit_of_comparison(comparison, failing(comparison, ["slower"])))
    assert [suite.get(name) for name in ("failures", "skipped")] == ["1", "1"]


def test_junit_of_a_run_fails_what_did_not_end_well() -> None:
    def fields(slot: Any) -> dict[str, Any]:
        if slot.case_id.startswith("128"):
            return {"passes": [make_pass(1.0, 1, images=[make_picture(black=True)])]}
        if slot.case_id.startswith("256"):
            return ended_as("crashed", reason="ended by <SIGABRT> \x1b[31m")
        return {}

    loaded = measured(config=one_case(3, matrix=MATRIX), fields=fields)
    suite = suite_of(junit_of_runs([summary_of(loaded)]))
    types = [failure.get("type") for failure in suite.findall("testcase/failure")]
    assert types == ["incorrect", "crashed"]
    assert float(suite[0].get("time") or 0) == pytest.approx(1.0, rel=0.01)
    message = suite.findall("testcase/failure")[1].get("message") or ""
    assert "<SIGABRT>" in message
    assert "\x1b" not in message


def test_junit_skips_what_was_not_run() -> None:
    loaded = measured(skip=lambda slot: True)
    suite = suite_of(junit_of_runs([summary_of(loaded)]))
    assert [suite.get(name) for name in ("tests", "failures", "skipped")] == ["1", "0", "1"]


# --- pytest-benchmark ----------------------------------------------------------------------------


def test_round_of_pytest_benchmark_is_a_process() -> None:
    loaded = measured(config=two_arms(5))
    document = pytest_benchmark_document(loaded)
    assert [entry["name"] for entry in document["benchmarks"]] == ["64x64 [old]", "64x64 [new]"]
    stats = document["benchmarks"][0]["stats"]
    assert (stats["rounds"], len(stats["data"])) == (5, 5)
    assert stats["min"] <= stats["q1"] <= stats["median"] <= stats["q3"] <= stats["max"]
    assert stats["median"] == pytest.approx(summary_of(loaded).cases[0].latency_s.median)


def test_statistics_are_pytest_benchmarks_own() -> None:
    from pytest_benchmark.stats import Stats

    loaded = measured(steady(noise=0.1), config=one_case(12))
    document = pytest_benchmark_document(loaded)
    stats = document["benchmarks"][0]["stats"]
    own: Any = Stats()  # type: ignore[no-untyped-call]
    for time in stats["data"]:
        own.update(time)
    for name in ("min", "max", "mean", "stddev", "median", "rounds", "total", "ops"):
        assert stats[name] == pytest.approx(getattr(own, name)), name
    assert {"iqr", "q1", "q3", "ld15iqr", "hd15iqr", "outliers"} <= set(stats)


def test_case_without_a_time_is_left_out() -> None:
    loaded = measured(fields=lambda slot: ended_as("crashed"))
    document = pytest_benchmark_document(loaded)
    assert document["benchmarks"] == []


def test_real_pytest_benchmark_compares_two_exported_runs(call: Called, tmp_path: Path) -> None:
    matrix = {"resolution": ["64x64", "128x128"]}
    for name, seconds in (("first", 1.0), ("second", 2.0)):
        loaded = measured(steady(seconds), config=one_case(3, matrix=matrix), run_id=name)
        path = kept(tmp_path / "results", loaded)
        code, _, err = call(
            "report", path, "-f", "pytest-benchmark", "-o", tmp_path / f"{name}.json"
        )
        assert (code, err) == (0, "")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest_benchmark", "compare"),
            *("first.json", "second.json", "--columns=median,rounds,outliers,iqr"),
            *("--group-by=name", "--csv=out.csv"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "64x64" in done.stdout
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text())))
    medians = [float(row["median"]) for row in rows]
    assert len(rows) == 4
    assert sorted(round(median) for median in medians) == [1, 1, 2, 2]


# --- CSV and the verb ----------------------------------------------------------------------------


def test_csv_has_a_row_for_each_process() -> None:
    loaded = measured(config=two_arms(3))
    rows = list(csv.DictReader(io.StringIO(csv_of_runs([loaded, loaded]))))
    assert len(rows) == 12
    assert {row["arm"] for row in rows} == {"old", "new"}
    assert float(rows[0]["first_pass_s"]) == pytest.approx(2 * float(rows[0]["steady_median_s"]))
    assert rows[0]["resolution"] == "64x64"
    assert rows[0]["load_s"] == ""


def test_report_of_one_run_is_what_run_prints(call: Called, tmp_path: Path) -> None:
    path = kept(tmp_path, measured(config=one_case(3)))
    code, out, err = call("report", path, "-f", "json")
    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads(call("show", path, "--json")[1])
    several = json.loads(call("report", path, path, "--json")[1])
    assert len(several["runs"]) == 2


def test_report_to_where_nothing_can_be_written_is_one_line(call: Called, tmp_path: Path) -> None:
    path = kept(tmp_path, measured(config=one_case(3)))
    code, out, err = call("report", path, "-o", tmp_path / "none" / "x.json")
    assert (code, out) == (2, "")
    assert "cannot write" in err


def test_pytest_benchmark_takes_one_run(call: Called, tmp_path: Path) -> None:
    path = kept(tmp_path, measured(config=one_case(3)))
    code, _, err = call("report", path, path, "-f", "pytest-benchmark")
    assert code == 2
    assert "expected one RUN" in err


def test_nothing_that_names_the_machine_is_exported() -> None:
    import platform

    loaded = changed(measured(by_arm(old=1.0, new=1.0), config=two_arms()), machine_id="0123")
    document = pytest_benchmark_document(loaded)
    assert document["machine_info"]["node"] == "0123"
    assert platform.node() not in json.dumps(document) or len(platform.node()) < 4


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("run.csv", "run_id,"),
        ("run.json", "{"),
        ("run.xml", "<?xml"),
        ("run.html", "<!doctype html>"),
        ("run", "<!doctype html>"),
    ],
)
def test_name_of_the_file_says_what_it_is_to_hold(
    name: str, begins: str, tmp_path: Path, call: Called
) -> None:
    kept(tmp_path / "results", measured(config=one_case(3)))
    target = tmp_path / name
    assert call("report", "latest", "--results", tmp_path / "results", "-o", target)[0] == 0
    assert target.read_text().lower().startswith(begins)


def test_format_asked_for_goes_before_the_name(tmp_path: Path, call: Called) -> None:
    kept(tmp_path / "results", measured(config=one_case(3)))
    target = tmp_path / "table.md"
    command = ("report", "latest", "--results", tmp_path / "results", "-f", "row", "-o", target)
    assert call(*command)[0] == 0
    assert target.read_text().startswith("|")
