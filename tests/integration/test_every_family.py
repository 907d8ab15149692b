"""Every family of pipelines through all verbs: run, diagnose, repro, localise, report."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import other_pipelines
import pytest
from conftest import Sdbench

from sdbench.correctness.padding import PADDED
from sdbench.models.catalogue import SYNTHETIC
from sdbench.runs import load_run

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
FAMILIES = sorted(name for name in SYNTHETIC if name.startswith("synthetic/tiny"))
WORK = """
[matrix]
resolution = ["64x64"]
batching = ["loop", "batch"]
attention_slicing = [false, true]
"""


def through_all_verbs(sdbench: Sdbench, model: str, *options: str) -> dict[str, Any]:
    """One run of a model and what the other verbs make of it."""
    config = sdbench.config(WORK, references=True)
    code, document = sdbench.json("run", config, "--model", model, *options, **ONE_THREAD)
    assert code == 0, document["cases"]
    correct = {case["case_id"]: case["correct"] for case in document["cases"]}
    assert set(correct.values()) == {"match"}, correct
    _, diagnosis = sdbench.json("diagnose", document["path"])
    found = [(one["code"], one["severity"], one["sentence"]) for one in diagnosis["findings"]]
    assert all(severity != "error" for _, severity, _ in found), (
        found
    )  # a busy machine is a warning
    case_id = document["cases"][0]["case_id"]
    assert sdbench("repro", document["path"], case_id, "-o", "repro", "--force").returncode == 0
    script = subprocess.run(
        [sys.executable, str(sdbench.folder / "repro" / "repro.py")],
        capture_output=True,
        text=True,
        timeout=600,
        env=sdbench.variables(**ONE_THREAD),
        check=False,
    )
    assert script.returncode == 0 and script.stdout.endswith("PASS\n"), script
    assert sdbench("report", document["path"], "-o", "page.html").returncode == 0
    return document


def localised(sdbench: Sdbench, model: str, *more: str) -> None:
    """No operator of the model is beyond its floor on the CPU itself."""
    options = ("--resolution", "64x64", "--device", "cpu", "--steps", "2")
    code, found = sdbench.json("localise", "--model", model, *options, *more, **ONE_THREAD)
    assert (code, found["beyond"], found["complete"]) == (0, 0, True)


def test_a_transformer_family_is_measured_and_compared(sdbench: Sdbench) -> None:
    """In `make test` for all families: text of another kind, packed latents, a flow scheduler."""
    document = through_all_verbs(sdbench, "synthetic/tiny-flux")
    run = load_run(sdbench.folder / document["path"])
    profiled = [one for entry in run.replicates for one in entry.passes if one.kind == "profile"]
    assert {(one.denoiser_calls, one.denoiser_samples) for one in profiled} == {(2, 2), (2, 4)}
    for one in profiled:
        assert one.token_widths == {"text_encoder": [77], "text_encoder_2": [512]}
        entries = {(entry.prompt, entry.encoder) for entry in one.prompt_tokens or []}
        assert {encoder for _, encoder in entries} == {"text_encoder", "text_encoder_2"}
    slicing_has_no_effect(sdbench, document["path"])


def slicing_has_no_effect(sdbench: Sdbench, path: str) -> None:
    """On record, as a finding, in the table, and without a verdict or a claim."""
    _, diagnosis = sdbench.json("diagnose", path)
    (finding,) = (one for one in diagnosis["findings"] if one["code"] == "no-effect-setting")
    assert finding["evidence"]["setting"] == "attention_slicing"
    assert (finding["severity"], len(finding["case_ids"])) == ("info", 2)
    claims = {one["id"]: one for one in diagnosis["claims"]}
    assert all("not tested: attention slicing has no" in claims[one]["sentence"] for one in "de")
    _, comparison = sdbench.json("compare", path, "--by", "attention_slicing")
    found = {(one["verdict"], one["reason"], one["ratio"]) for one in comparison["cases"]}
    assert found == {("inconclusive", "no-effect", None)}
    assert "sliced has no effect on this model" in sdbench("show", path).stdout


@pytest.mark.long
@pytest.mark.parametrize("model", FAMILIES)
def test_every_family_through_all_verbs(sdbench: Sdbench, model: str) -> None:
    through_all_verbs(sdbench, model)
    localised(sdbench, model)


@pytest.mark.long
@pytest.mark.parametrize("name", other_pipelines.OTHERS)
def test_a_pipeline_that_no_file_names_through_all_verbs(
    sdbench: Sdbench, cache: Path, name: str
) -> None:
    assert sdbench("models", "make", "synthetic/tiny-pixart").returncode == 0
    pixart = cache / "models" / "synthetic--tiny-pixart"
    folder = other_pipelines.save(name, pixart, sdbench.folder / name)
    through_all_verbs(sdbench, str(folder))
    localised(sdbench, str(folder))


@pytest.mark.long
def test_prompts_that_are_padded_for_each_other_are_no_fault(sdbench: Sdbench, cache: Path) -> None:
    """A family that pads without a mask, and unequal prompts: no other run makes such a batch."""
    assert sdbench("models", "make", "synthetic/tiny-pixart").returncode == 0
    pixart = cache / "models" / "synthetic--tiny-pixart"
    name = other_pipelines.PADS_WITHOUT_MASK
    folder = other_pipelines.save(name, pixart, sdbench.folder / name)
    config = sdbench.config(WORK.replace("false, true", "false"), references=True)
    prompts = f'prompts=["a cat", "{"a long prompt, " * 6}"]'
    options = ("--model", str(folder), "--set", prompts)
    _, document = sdbench.json("run", config, *options, **ONE_THREAD)
    by_batching = {case["case"]["batching"]: case for case in document["cases"]}
    assert by_batching["loop"]["correct"] == "match"
    assert by_batching["batch"]["correct"] == "unknown", by_batching["batch"]
    assert by_batching["batch"]["correct_reason"] == PADDED
    run = load_run(sdbench.folder / document["path"])
    widths = {
        tuple(one.token_widths["text_encoder"])
        for entry in run.replicates
        for one in entry.of_kind("profile")
        if one.token_widths is not None
    }
    assert len(widths) == 2, "the batch is wider than the first prompt alone"
    _, diagnosis = sdbench.json("diagnose", document["path"])
    codes = {one["code"] for one in diagnosis["findings"] if one["severity"] != "info"}
    assert codes <= {"unfinished", "noisy-host"}
