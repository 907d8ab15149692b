"""Results of every earlier sdbench load for ever; what they did not know has a reason."""

import json
from pathlib import Path

import pytest

from sdbench.analysis.run_summary import as_json, summary_of
from sdbench.cli import main
from sdbench.runner.session import config_of
from sdbench.runs import load_run

RUNS = sorted((Path(__file__).parents[1] / "data" / "runs").iterdir())


@pytest.mark.parametrize("folder", RUNS, ids=lambda folder: str(folder.name))
def test_old_run_loads_whole_and_gives_a_document(folder: Path) -> None:
    loaded = load_run(folder)
    assert loaded.warnings == []
    document = as_json(summary_of(loaded))
    json.dumps(document, allow_nan=False)
    assert document["outcomes"] == {"ok": 1, "crashed": 1}
    assert config_of(loaded.run).name == loaded.run.config["name"]


@pytest.mark.parametrize("folder", RUNS, ids=lambda folder: str(folder.name))
def test_old_run_and_each_of_its_cases_can_be_shown(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(folder)]) == 0
    for planned in load_run(folder).run.plan.cases:
        assert main(["show", str(folder), planned.case_id]) == 0
    assert "0.778 s" in capsys.readouterr().out


def test_first_schema_knew_no_pressure_and_says_so() -> None:
    (folder,) = (folder for folder in RUNS if folder.name == "schema-1-first")
    loaded = load_run(folder)
    summary = summary_of(loaded)
    row = next(row for row in summary.cases if row.outcome == "ok")
    assert row.telemetry.pressure_peak is None
    assert row.telemetry.unavailable["pressure_peak"] == "not recorded"
    assert (row.peak_stage, row.peak_stage_source) == (None, "rss")
    assert "within 1%" in (row.peak_stage_reason or "")
    assert summary.swapped_out_bytes == 0  # from its telemetry
    for replicate in loaded.replicates:
        assert (replicate.gate.flags, replicate.gate.waited_s) == ([], 0.0)
        assert loaded.run.plan.arm(replicate.arm).hold_bytes == 0
