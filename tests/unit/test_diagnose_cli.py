"""``sdbench diagnose``: the document, the words, the exit code."""

import json
from pathlib import Path

import msgspec
import pytest
from diagnosed_runs import case, loaded_run, only, plan
from factories import make_pass, make_picture

from sdbench.cli import main
from sdbench.insight.records import Finding
from sdbench.store import LoadedRun, RunFolder

BATCH = case(batching="batch")
BROKEN = [make_pass(1.0, index, images=[make_picture(nan_count=3)]) for index in (1, 2, 3)]


def kept(root: Path, loaded: LoadedRun) -> Path:
    folder = RunFolder.create(root, loaded.run)
    for replicate in loaded.attempts:
        folder.append(replicate)
    for record in loaded.comparisons:
        folder.append(record)
    folder.close()
    return folder.path


def test_document_of_a_healthy_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = kept(tmp_path, loaded_run())
    assert main(["diagnose", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["healthy"] is True and document["findings"] == []
    assert {"findings", "claims", "recommendation"} <= document.keys()
    assert [
        set(entry) >= {"id", "verdict", "sentence", "effect", "ci95", "evidence"}
        for entry in document["claims"]
    ] == [True] * 6
    assert document["recommendation"]["goals"][0]["latency"]["case_id"] == case().case_id


def test_document_of_a_broken_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = kept(tmp_path, loaded_run(only(BATCH, passes=BROKEN)))
    assert main(["diagnose", str(path), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    found = msgspec.convert(document["findings"][0], Finding)
    assert (found.code, found.severity, found.case_ids) == ("nan-output", "error", [BATCH.case_id])
    assert found.remedy and found.sentence.endswith(".")


def test_words_come_verdict_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = kept(tmp_path, loaded_run(only(BATCH, passes=BROKEN)))
    assert main(["diagnose", str(path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "Not healthy: 1 error."
    text = "\n".join(lines)
    places = [text.index(words) for words in ("nan-output", "What to use", "import torch", "(a) ")]
    assert places == sorted(places), "the answer comes before the documentation's claims"
    assert "ComfyUI (not measured there)" in text


def test_claims_about_other_devices_are_counted_not_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = kept(tmp_path, loaded_run(device="cpu"))
    assert main(["diagnose", str(path)]) == 0
    out = capsys.readouterr().out
    assert "not-applicable" not in out
    assert "5 claims speak of other devices than cpu and cannot be tested here: --all" in out
    assert main(["diagnose", str(path), "--all"]) == 0
    assert capsys.readouterr().out.count("not-applicable") == 5
    assert main(["diagnose", str(path), "--json"]) == 0
    claims = json.loads(capsys.readouterr().out)["claims"]
    assert [entry["verdict"] for entry in claims].count("not-applicable") == 5


def test_warnings_are_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slow = only(case(), fallback_operators=["aten::silu"])
    path = kept(tmp_path, loaded_run(slow, simulated=True))
    assert main(["diagnose", str(path)]) == 0
    out = capsys.readouterr().out
    assert "Not healthy: 1 warning." in out and "SIMULATED" in out


def test_a_run_without_a_single_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = loaded_run(config=plan(1))
    path = kept(tmp_path, LoadedRun(whole.path, whole.run, [], []))
    assert main(["diagnose", str(path)]) == 1
    out = capsys.readouterr().out
    assert "Nothing was measured" in out and "4 of 4 processes have not been run" in out


def test_no_such_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", "nothing", "-o", str(tmp_path)]) == 2
    assert "no run called 'nothing'" in capsys.readouterr().err
