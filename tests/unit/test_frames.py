"""``sdbench.load``: frames with the right dtypes, also where nothing is known."""

import doctest
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from factories import make_pass, make_picture
from measured_runs import kept, measured, one_case, steady, two_arms

import sdbench
from sdbench.analysis.data_frames import RunFrames
from sdbench.errors import SdbenchError, StoreError, UsageError
from sdbench.report.export.tidy_csv import csv_of_runs
from sdbench.runs import LoadedRun

MATRIX = {"resolution": ["64x64", "128x128"], "attention_slicing": [False, True]}


def frames_of(loaded: LoadedRun) -> RunFrames:
    return RunFrames(loaded)


def crashed_in_128(slot: Any) -> dict[str, Any]:
    if slot.case_id.startswith("128"):
        return {
            "outcome": "crashed",
            "reason": "ended by SIGABRT",
            "passes": [],
            "peak_memory_bytes": None,
        }
    return {"versions": {"torch": "2.10.0"}}


@pytest.fixture
def run(tmp_path: Path) -> RunFrames:
    """Two images per pass, four cases, three processes; half of the cases crash."""
    loaded = measured(config=one_case(3, matrix=MATRIX, images=2), fields=crashed_in_128)
    path = kept(tmp_path / "kept", loaded)
    first = loaded.attempts[0]
    lines: list[Any] = [
        {"t": 1000.0, "phase": "import"},
        {"t": 1000.5, "footprint_bytes": 10, "available_bytes": 50, "swap_used_bytes": None},
        {"t": 1001.0, "phase": "pass 1"},
        {"t": 1001.5, "footprint_bytes": 30, "available_bytes": 40, "pressure": "warn"},
    ]
    (path / "telemetry").mkdir()
    text = "".join(json.dumps(line) + "\n" for line in lines) + '{"t": 1002, "footpr'
    (path / "telemetry" / f"{first.replicate_id}.1.jsonl").write_text(text)
    return sdbench.load(path)


def test_cases_tell_what_show_tells(run: RunFrames) -> None:
    cases = run.cases
    assert cases.index.names == ["case_id", "arm"]
    assert len(cases) == 4
    small = cases[cases["resolution"] == "64x64"]
    assert small["seconds_per_picture"].to_numpy() == pytest.approx(0.5, rel=0.02)
    assert (small["seconds_per_picture_ci95_low"] < small["seconds_per_picture"]).all()
    assert (small["processes"] == 3).all()
    crashed = cases[cases["outcome"] == "crashed"]
    assert crashed["reason"].tolist() == ["ended by SIGABRT"] * 2
    assert crashed["seconds_per_picture"].isna().all()
    assert (cases["outcome"] < "failed").tolist() == [True, True, False, False]  # best first


def test_dtypes_hold_with_gaps_and_without_any_row(run: RunFrames) -> None:
    empty = frames_of(measured(skip=lambda slot: True))
    for frames in (run, empty):
        for name in ("cases", "replicates", "passes", "telemetry"):
            frame = getattr(frames, name)
            for column, dtype in frame.dtypes.items():
                assert dtype != np.dtype(object), f"{name}.{column}"
                if column.endswith("_bytes"):
                    assert str(dtype) == "Int64", column
                elif column.endswith("_s"):
                    assert str(dtype) == "float64", column
                elif column.endswith("_utc"):
                    assert str(dtype.tz) == "UTC", column
        assert str(frames.cases["attention_slicing"].dtype) == "bool"
    assert len(empty.replicates) == len(empty.passes) == len(empty.telemetry) == 0
    assert len(empty.cases) == 1


def test_replicates_and_passes_join(run: RunFrames) -> None:
    assert len(run.replicates) == 12
    assert len(run.passes) == 12
    assert run.passes["steady"].sum() == 6
    joined = run.passes.join(run.replicates[["resolution"]], on=["replicate_id", "attempt"])
    assert set(joined["resolution"]) == {"64x64"}
    medians = run.passes[run.passes["steady"]].groupby(["replicate_id", "attempt"])["duration_s"]
    known = run.replicates["steady_median_s"].dropna()
    assert medians.median().reindex(known.index).to_numpy() == pytest.approx(known.to_numpy())


def test_repeated_attempts_are_told_apart() -> None:
    loaded = measured(config=one_case(3))
    again = msgspec.structs.replace(loaded.attempts[0], attempt=2)
    loaded.attempts.append(again)
    frame = frames_of(loaded).replicates
    assert len(frame) == 4
    assert frame.index.is_unique
    assert frame["last_attempt"].tolist() == [False, True, True, True]


def test_wrong_pictures_are_counted() -> None:
    bad = [make_pass(1.0, 1, images=[make_picture(black=True), make_picture()])]
    frame = frames_of(measured(config=one_case(1), fields=lambda slot: {"passes": bad})).passes
    assert frame["wrong_pictures"].tolist() == [1]


def test_samples_know_their_phase_and_a_torn_line_is_left_out(run: RunFrames) -> None:
    frame = run.telemetry
    assert frame.index.names == ["replicate_id", "attempt", "sample"]
    assert frame["t_s"].tolist() == [0.0, 1.0]
    assert frame["phase"].tolist() == ["import", "pass 1"]
    assert frame["footprint_bytes"].tolist() == [10, 30]
    assert frame["swap_used_bytes"].isna().all()
    assert frame.groupby("phase")["footprint_bytes"].max().to_dict() == {"import": 10, "pass 1": 30}


def test_frames_of_runs_can_be_put_below_one_another() -> None:
    one, two = (frames_of(measured(config=two_arms(3), run_id=name)) for name in ("one", "two"))
    both = pd.concat([one.replicates, two.replicates])
    assert both.groupby("run_id").size().to_dict() == {"one": 6, "two": 6}
    assert both.dtypes.equals(one.replicates.dtypes)


def test_repr_says_what_there_is_and_reads_no_telemetry(run: RunFrames) -> None:
    lines = repr(run).splitlines()
    assert lines[0] == f"sdbench run {run.run_id}"
    assert "synthetic/tiny on cpu" in lines[1]
    assert lines[2].split() == [".cases", "4", "rows", "(2", "ok,", "2", "crashed)"]
    assert "telemetry" not in vars(run)
    assert "SIMULATED" in repr(frames_of(measured(simulated=True)))
    assert "\x1b" not in repr(frames_of(measured(run_id="a\x1b[31m")))


def test_load_finds_runs_as_the_command_line_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept(tmp_path / "results", measured(run_id="20260102-one"))
    kept(tmp_path / "results", measured(run_id="20260103-two"))
    assert sdbench.load().run_id == "20260103-two"
    assert sdbench.load("20260102").run_id == "20260102-one"
    assert sdbench.load(tmp_path / "results" / "20260102-one").run_id == "20260102-one"
    assert sdbench.load("latest", results=str(tmp_path / "results")).run_id == "20260103-two"


def test_errors_are_exceptions_of_one_line(tmp_path: Path) -> None:
    path = kept(tmp_path, measured())
    (path / "run.json").write_text("{")
    wrong: list[tuple[Any, type[SdbenchError]]] = [
        (tmp_path / "none", UsageError),
        (3, UsageError),
        (path, StoreError),
    ]
    for run, error in wrong:
        with pytest.raises(error) as caught:
            sdbench.load(run)
        assert "\n" not in str(caught.value)
    with pytest.raises(AttributeError, match=r"^module 'sdbench' has no attribute 'laod'$"):
        sdbench.laod  # noqa: B018


def test_load_costs_nothing_until_it_is_used() -> None:
    program = (
        "import sys, sdbench; before = {*sys.modules}; assert 'load' in dir(sdbench);"
        "sdbench.load; print('pandas' in before, 'msgspec' in before, 'pandas' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False", "False"]


def test_docstring_shows_an_example() -> None:
    text = sdbench.load.__doc__ or ""
    (example,) = (test for test in [doctest.DocTestParser().get_examples(text)] if test)
    sources = [one.source for one in example]
    loaded = frames_of(measured(steady(), config=one_case(3, matrix=MATRIX)))
    for source in sources[2:]:
        eval(source, {"run": loaded})  # it runs
    for name in ("cases", "replicates", "passes", "telemetry"):
        assert f"``{name}``" in (RunFrames.__doc__ or "")


def test_example_of_the_documentation_runs(run: RunFrames, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs/python.md").read_text(encoding="utf-8")
    example = page.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(run.loaded.path.parent.parent)
    run.loaded.path.parent.rename("results")
    names: dict[str, Any] = {}
    exec(example, names)
    assert names["run"].run_id == run.run_id
    (last,) = (line for line in example.splitlines() if "telemetry" in line)
    assert eval(last, names).max() == 30


# --- the CSV is the same rows ---------------------------------------------------------------------


def test_pandas_reads_the_csv_back_as_it_was() -> None:
    loaded = measured(config=one_case(3, matrix=MATRIX, images=2), fields=crashed_in_128)
    frame = frames_of(loaded).replicates.reset_index()
    read = pd.read_csv(
        io.StringIO(csv_of_runs([loaded])), parse_dates=["started_utc"], dtype={"machine_id": str}
    )
    assert set(read.columns) == set(frame.columns)
    for name in frame.columns:
        was, now = frame[name], read[name]
        if was.dtype in ("float64", "int64", "bool"):
            assert now.dtype == was.dtype, name
        if str(was.dtype) == "Int64":
            assert now.astype("Int64").equals(was), name
        elif name == "started_utc":
            assert (now == was).all()
        elif was.dtype != "float64":
            assert now.astype("object").where(now.notna(), None).tolist() == [
                None if pd.isna(value) else value for value in was.tolist()
            ], name
        else:
            assert now.to_numpy() == pytest.approx(was.to_numpy(), nan_ok=True), name


@pytest.mark.parametrize("reason", ["=1+1", "@x", "-2+3", "+x", 'a,b\n"c" \x1b[31m'])
def test_text_in_a_cell_is_text(reason: str) -> None:
    loaded = measured(
        config=one_case(1),
        fields=lambda slot: {"outcome": "failed", "reason": reason, "passes": []},
    )
    text = csv_of_runs([loaded])
    assert "\x1b" not in text
    (cell,) = pd.read_csv(io.StringIO(text))["reason"]
    assert not cell.startswith(("=", "@", "-", "+"))
    assert reason[:3].lstrip("=@-+") in cell


def test_csv_without_a_row_still_has_its_header() -> None:
    read = pd.read_csv(io.StringIO(csv_of_runs([measured(skip=lambda slot: True)])))
    assert len(read) == 0
    assert "steady_median_s" in read.columns


def test_load_is_listed_before_it_is_asked_for() -> None:
    assert {"load", "__version__"} <= set(dir(sdbench))
