"""``sdbench diagnose``: the document, the words, the exit code."""

import json
from pathlib import Path

import msgspec
from diagnosed_runs import case, loaded_run, only, plan
from factories import Called, make_pass, make_picture
from measured_runs import kept, measured, one_case

from sdbench.diagnosis.result import Finding
from sdbench.records import Case, Slot
from sdbench.runs import LoadedRun

BATCH = case(batching="batch")
BROKEN = [make_pass(1.0, index, images=[make_picture(nan_count=3)]) for index in (1, 2, 3)]


def test_document_of_a_healthy_run(call: Called, tmp_path: Path) -> None:
    path = kept(tmp_path, loaded_run())
    code, out, _ = call("diagnose", path, "--json")
    assert code == 0
    document = json.loads(out)
    assert document["healthy"] is True and document["findings"] == []
    assert {"findings", "claims", "recommendation"} <= document.keys()
    assert [
        set(entry) >= {"id", "verdict", "sentence", "effect", "ci95", "evidence"}
        for entry in document["claims"]
    ] == [True] * 10
    assert document["recommendation"]["goals"][0]["latency"]["case_id"] == case().case_id


def test_document_of_a_broken_run(call: Called, tmp_path: Path) -> None:
    path = kept(tmp_path, loaded_run(only(BATCH, passes=BROKEN)))
    code, out, _ = call("diagnose", path, "--json")
    assert code == 1
    document = json.loads(out)
    found = msgspec.convert(document["findings"][0], Finding)
    assert (found.code, found.severity, found.case_ids) == ("nan-output", "error", [BATCH.case_id])
    assert found.remedy and found.sentence.endswith(".")


def test_words_come_verdict_first(call: Called, tmp_path: Path) -> None:
    path = kept(tmp_path, loaded_run(only(BATCH, passes=BROKEN)))
    code, out, _ = call("diagnose", path)
    assert code == 1
    lines = out.splitlines()
    assert lines[1] == "Not healthy: 1 error: images hold NaN or infinity (64x64 batch)."
    text = "\n".join(lines)
    places = [text.index(words) for words in ("nan-output", "What to use", "import torch", "(a) ")]
    assert places == sorted(places), "the answer comes before the documentation's claims"
    assert "ComfyUI (not measured there)" in text


def test_claims_about_other_devices_are_counted_not_told(call: Called, tmp_path: Path) -> None:
    path = kept(tmp_path, loaded_run(device="cpu"))
    code, out, _ = call("diagnose", path)
    assert code == 0
    assert "not applicable" not in out
    assert "8 claims speak of other devices than cpu and cannot be tested here: --all" in out
    code, out, _ = call("diagnose", path, "--all")
    assert (code, out.count("not applicable")) == (0, 8)
    code, out, _ = call("diagnose", path, "--json")
    assert code == 0
    claims = json.loads(out)["claims"]
    assert [entry["verdict"] for entry in claims].count("not-applicable") == 8


def test_editions_that_contradict_each_other(call: Called, tmp_path: Path) -> None:
    def seconds(slot: Slot, here: Case) -> float:
        return (1.2 if here.attention_slicing else 1.0) * (1 + 0.001 * (slot.index % 3))

    path = kept(tmp_path, loaded_run(device="cuda", seconds=seconds))
    _, out, _ = call("diagnose", path)
    assert "(e) and (g) contradict each other about attention slicing" in out
    assert "This machine agrees with the pages of 2022 and 2023." in out
    _, out, _ = call("diagnose", path, "--json")
    (conflict,) = json.loads(out)["conflicts"]
    assert conflict["agrees_with"] == "2023"


def test_warnings_are_no_failure(call: Called, tmp_path: Path) -> None:
    slow = only(case(), fallback_operators=["aten::silu"])
    path = kept(tmp_path, loaded_run(slow, simulated=True))
    code, out, _ = call("diagnose", path)
    assert code == 0
    assert (
        "Not healthy: 1 warning: operators run on the CPU instead (64x64)." in out
        and "SIMULATED" in out
    )


def test_a_run_without_a_single_process(call: Called, tmp_path: Path) -> None:
    whole = loaded_run(config=plan(1))
    path = kept(tmp_path, LoadedRun(whole.path, whole.run, [], []))
    code, out, _ = call("diagnose", path)
    assert code == 1
    assert "Nothing was measured" in out and "4 of 4 processes have not been run" in out


def test_no_such_run(call: Called, tmp_path: Path) -> None:
    code, _, err = call("diagnose", "nothing", "-o", tmp_path)
    assert code == 2 and "no run called 'nothing'" in err


def test_beyond_a_hundred_cases_are_counted_not_told(call: Called, tmp_path: Path) -> None:
    sizes = [f"{64 * number}x64" for number in range(1, 106)]
    path = kept(tmp_path, measured(config=one_case(1, matrix={"resolution": sizes})))
    out = call("diagnose", path)[1]
    assert "5 more cases: --all shows them" in out and "5 more sizes: --all shows them" in out
    everything = call("diagnose", path, "--all")[1]
    assert "more cases: --all" not in everything
    assert everything.count("x64") == out.count("x64") + 10, "5 in the table, 5 after it"


def test_with_one_process_a_case_none_is_marked_as_best(call: Called, tmp_path: Path) -> None:
    _, three, _ = call("diagnose", kept(tmp_path / "3", loaded_run(config=plan(3))))
    _, one, _ = call("diagnose", kept(tmp_path / "1", loaded_run(config=plan(1))))
    assert "●" in three and "●" not in one and "none better" not in one
