"""Real images held against the CPU's: references computed, kept and found again."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from conftest import Sdbench, SharedRun

from sdbench.correctness.thresholds import OWN_ROUNDING_TIMES
from sdbench.records import Compared
from sdbench.runs import LoadedRun, load_run

ONE_CASE = '[matrix]\nresolution = ["64x64"]\n'
# A fault that is not the device's: every layer norm in the worker is 5% too large.
WRONG_NORM = """
from torch.nn import functional
right = functional.layer_norm
functional.layer_norm = lambda *args, **kwargs: 1.05 * right(*args, **kwargs)
"""


def loaded_run(sdbench: Sdbench, document: dict[str, Any]) -> LoadedRun:
    return load_run(sdbench.folder / document["path"])


def files_of(shelf: Path) -> dict[str, int]:
    """The references kept, and when each was written."""
    return {str(path): path.stat().st_mtime_ns for path in shelf.rglob("*") if path.is_file()}


def test_cpu_is_the_same_as_the_cpu_in_every_setting(
    matrix_run: SharedRun, sdbench: Sdbench
) -> None:
    assert matrix_run.exit_code == 0
    loaded = matrix_run.loaded()
    assert len(loaded.compared) == 16
    for record in loaded.compared:
        case = loaded.run.plan.planned(record.case_id).case
        assert record.verdict in ({"match"} if case.dtype == "float32" else {"match", "drift"})
        assert record.margin is not None and record.reference is not None
        plain = not case.attention_slicing and case.batching == "loop"
        if case.dtype == "float32" and plain:
            assert record.margin == 0.0, "the same work in a fresh process"
        assert [stage.stage for stage in record.stages] == ["text", "latents", "picture"]
        assert record.divergence[0].step == [0, 1, 2]
        assert record.divergence[0].rel_l2[0] is not None
        assert {image.image for image in record.images} == {0, 1}
    for row in matrix_run.document["cases"]:
        assert row["correct"] in ("match", "drift") and row["correct_margin"] is not None

    cache = matrix_run.cache
    floors = [json.loads(path.read_text()) for path in cache.rglob("floor-float32.json")]
    assert floors
    for floor in floors:
        # float64 against float32 from the same noise: about 1e-6 in pixels (seen: 0.8e-6 to
        # 1.9e-6); noise drawn in the run's dtype gives 0.9
        assert 0 < floor["picture_max_abs"] < 4e-6

    before = files_of(cache / "references")
    config = sdbench.config(ONE_CASE, references=True)
    _, document = sdbench.json("run", config, SDBENCH_CACHE=str(cache))
    assert document["cases"][0]["correct"] == "match"
    assert files_of(cache / "references") == before, "computed once, then found"


def test_a_fault_in_the_workers_is_found_and_does_not_reach_the_reference(
    sdbench: Sdbench,
) -> None:
    (sdbench.folder / "wrong_norm.py").write_text(WRONG_NORM)
    _, document = sdbench.json(
        *("run", sdbench.config(f'{ONE_CASE}dtype = ["float32", "bfloat16"]\n', references=True)),
        *("--set", "images=1"),
        SDBENCH_WORKER_PRELOAD="wrong_norm",
        PYTHONPATH=str(sdbench.folder),
    )
    for row in document["cases"]:
        assert row["outcome"] == "ok" and row["correct"] in ("drift", "broken")
    loaded = loaded_run(sdbench, document)
    by_dtype = {record.dtype: record for record in loaded.compared}
    margin = by_dtype["float32"].margin
    assert margin is None or margin > 10
    # In half precision the images are made as rounding alone makes them, and that explains nothing.
    for image in by_dtype["bfloat16"].images:
        assert image.own_rounding is not None and image.own_rounding.beyond
        assert image.own_rounding.times in OWN_ROUNDING_TIMES
        assert len(set(image.own_rounding.pixels_sha256)) > 1, "each is another image"
        for digest in image.own_rounding.pixels_sha256:
            assert (loaded.path / "images" / f"{digest}.png").is_file()
    verdicts = [entry.dtype for entry in loaded.comparisons]
    times = max(i.own_rounding.times for i in by_dtype["bfloat16"].images if i.own_rounding)
    rounds = 1 + OWN_ROUNDING_TIMES.index(times)
    assert verdicts.count("bfloat16") == 1 + rounds, "compared before and after each, all kept"


def test_what_was_decoded_in_tiles_is_held_against_the_cpu_s_in_tiles(sdbench: Sdbench) -> None:
    matrix = '[matrix]\nresolution = ["136x64"]\nvae_tiling = [false, true]\n'
    config = sdbench.config(matrix, references=True)
    _, document = sdbench.json("run", config, "--set", "images=1")
    loaded = loaded_run(sdbench, document)
    images = {
        loaded.run.plan.planned(record.case_id).case.vae_tiling: record.images[0]
        for record in loaded.compared
    }
    assert [images[tiled].margin for tiled in (False, True)] == [0.0, 0.0]
    right = {tiled: one.reference_pixels_sha256 for tiled, one in images.items()}
    assert right[True] != right[False], "136 pixels are more than a tile of this VAE"


def test_what_could_not_be_compared_is_compared_once_it_can_be(sdbench: Sdbench) -> None:
    run = ("run", sdbench.config(ONE_CASE, references=True), "--set", "seed=7")
    code, document = sdbench.json(*run, "--set", "reference.budget_s=0")
    (row,) = document["cases"]
    assert (code, row["correct"]) == (0, "unknown")
    assert "reference.budget_s" in row["correct_reason"]
    assert "not checked" in sdbench("show", "latest").stdout

    other = sdbench.json(*run)[1]
    assert other["cases"][0]["correct"] == "match"
    code, document = sdbench.json("resume", document["path"])
    assert (code, document["cases"][0]["correct"]) == (0, "match")
    verdicts = [entry.verdict for entry in loaded_run(sdbench, document).comparisons]
    assert verdicts == ["unknown", "match"], "the earlier one is kept"
    sdbench("resume", document["path"])
    assert len(loaded_run(sdbench, document).comparisons) == 2, "the same is not said twice"


def test_the_cpu_s_picture_and_the_trace_are_kept_with_the_run(sdbench: Sdbench) -> None:
    document = sdbench.json("run", sdbench.config(ONE_CASE, references=True))[1]
    loaded = loaded_run(sdbench, document)
    (record,) = loaded.compared
    for image in record.images:
        assert (loaded.path / "images" / f"{image.reference_pixels_sha256}.png").is_file()
    (profile,) = loaded.replicates[0].of_kind("profile")
    assert (loaded.path / "traces" / f"{profile.trace_sha256}.safetensors").is_file()
    assert profile.trace_missing is None
    measured = loaded.replicates[0].of_kind("measured")[0]
    assert profile.images[0] == measured.images[0], "tracing leaves the image alone"
    shown = sdbench("show", "latest", record.case_id).stdout
    assert "same as CPU" in shown and "text embeddings" in shown


def compared_with(sdbench: Sdbench, *options: str) -> Compared:
    code, document = sdbench.json("run", sdbench.config(ONE_CASE, references=True), *options)
    assert code == 0, document
    (record,) = loaded_run(sdbench, document).compared
    return record


@pytest.mark.parametrize("scheduler", ["pndm", "euler", "dpmsolver"])
def test_schedulers_with_a_memory_are_forced_back_as_well(sdbench: Sdbench, scheduler: str) -> None:
    vae = ("--set", "matrix.vae_slicing=[true]", "--set", "matrix.vae_tiling=[true]")
    record = compared_with(
        sdbench, *("--set", f"scheduler={scheduler}", "--set", 'matrix.batching=["batch"]'), *vae
    )
    assert record.verdict == "match"
    (curve, *_) = record.divergence
    assert len(curve.step) == (4 if scheduler == "pndm" else 3)
    assert None not in curve.allowed_rel_l2


@pytest.mark.skipif(
    "SDBENCH_TEST_TORCH113" not in os.environ, reason="no interpreter with torch 1.13.1 is named"
)
def test_torch_1_13_makes_and_finds_its_own_references(sdbench: Sdbench) -> None:
    cache = sdbench.folder / "cache"
    sdbench.environment["SDBENCH_CACHE"] = str(cache)
    stack = os.environ["SDBENCH_TEST_TORCH113"]
    record = compared_with(sdbench, "--stack", stack, "--set", 'matrix.batching=["batch"]')
    assert record.verdict == "match"
    assert record.reference is not None and "torch 1.13.1" in record.reference
    (floor,) = [json.loads(path.read_text()) for path in cache.rglob("floor-float32.json")]
    assert 0 < floor["picture_max_abs"] < 4e-6, "as close to float64 as on newer releases"
    (path,) = (sdbench.folder / "results").iterdir()
    loaded = load_run(path)
    assert {entry.flops for entry in loaded.replicates} == {None}
    assert "2.1" in (loaded.replicates[0].flops_missing or "")
    assert all(entry.flops_per_s for entry in loaded.ceilings)
