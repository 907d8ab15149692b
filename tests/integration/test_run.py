"""The main job on a small model, end to end, as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from conftest import MATRIX, Sdbench, SharedRun

from sdbench.files.toml import parse_toml
from sdbench.runs import load_run


def test_matrix_completes_and_pictures_agree(matrix_run: SharedRun) -> None:
    document, loaded = matrix_run.document, matrix_run.loaded()
    assert matrix_run.exit_code == 0
    assert document["outcomes"] == {"ok": 16}
    assert document["device"] == "cpu" and document["simulated"] is False
    for row in document["cases"]:
        assert row["latency_s"]["median"] > 0 and row["latency_s"]["n"] == 1
        assert row["latency_s"]["ci95"] is None
        assert (row["prime_s"] is None) == (not row["case"]["warmup"])
        assert row["first_pass_s"] > 0 and row["load_s"] > 0
        assert row["peak_memory_bytes"] > 50e6 and row["peak_memory_source"] == "rss"

    path = loaded.path
    assert loaded.run.label == "first" and not loaded.warnings
    assert {entry.start for entry in loaded.replicates} == {"fork"}
    for replicate in loaded.replicates:
        hashes = {
            tuple(picture.pixels_sha256 for picture in entry.images)
            for entry in replicate.of_kind("measured")
        }
        assert len(hashes) == 1, "the same process made different images"
        assert not any(p.broken or p.flat for e in replicate.passes for p in e.images)
        telemetry = path / "telemetry" / f"{replicate.replicate_id}.1.jsonl"
        lines = [json.loads(line) for line in telemetry.read_text().splitlines()]
        assert any(line.get("phase") == "pass 1" for line in lines)
        assert replicate.yardstick is None  # one process a case gets no verdict
        (profile,) = replicate.of_kind("profile")
        assert profile.stages is not None
        assert [stage.stage for stage in profile.stages] == [
            "text_encoder",
            *["denoising_step"] * 2,
            "vae_decode",
        ]

    def pictures(**settings: object) -> tuple[str, ...]:
        for planned in loaded.run.plan.cases:
            wanted = {
                "resolution": "64x64",
                "dtype": "float32",
                "warmup": False,
                "batching": "loop",
                **settings,
            }
            if all(getattr(planned.case, axis) == value for axis, value in wanted.items()):
                for replicate in loaded.replicates:
                    if replicate.case_id == planned.case_id:
                        images = replicate.of_kind("measured")[0].images
                        return tuple(picture.pixels_sha256 for picture in images)
        raise AssertionError(settings)

    plain = pictures(attention_slicing=False)
    assert len(set(plain)) == 2, "two images of one pass must differ"
    assert pictures(attention_slicing=False, warmup=True) == plain
    for digest in plain:
        assert (path / "images" / f"{digest}.png").is_file()

    sdbench = matrix_run.sdbench
    shown = sdbench("show", "latest")
    assert shown.returncode == 0 and "16" in str(len(document["cases"]))
    case = sdbench("show", "latest", document["cases"][0]["case_id"])
    assert "denoising_step" in case.stdout
    listed = sdbench.json("list")[1]["runs"]
    assert [run["label"] for run in listed] == ["first"]


def test_arms_run_interleaved_and_telemetry_can_be_off(sdbench: Sdbench) -> None:
    text = """
[matrix]
resolution = ["64x64", "72x72"]
[[arm]]
name = "with"
[[arm]]
name = "without"
telemetry = false
env = {SDBENCH_TEST_NOTHING = "1"}
"""
    code, document = sdbench.json("run", sdbench.config(text), "--set", "replicates=2")
    assert code == 0
    assert {(row["arm"], row["outcome"]) for row in document["cases"]} == {
        ("with", "ok"),
        ("without", "ok"),
    }
    loaded = load_run(Path(sdbench.folder / document["path"]))
    order = [(entry.block, entry.case_id, entry.arm) for entry in loaded.replicates]
    for first, second in zip(order[::2], order[1::2], strict=True):
        assert first[:2] == second[:2] and first[2] != second[2]
    assert order[0][2] != order[4][2], "the arms' order is turned round in the second block"
    for entry in loaded.replicates:
        assert (entry.telemetry is None) == (entry.arm == "without")


@pytest.mark.smoke
def test_one_pass_has_no_steady_time_and_says_why(sdbench: Sdbench) -> None:
    text = '[matrix]\nresolution = ["64x64"]\n'
    code, document = sdbench.json("run", sdbench.config(text), "--set", "passes=1")
    (row,) = document["cases"]
    assert code == 0 and row["latency_s"]["median"] is None
    assert "second pass" in row["latency_s"]["reason"]
    assert row["first_pass_s"] > 0


def test_attention_implementations_and_half_precision(sdbench: Sdbench) -> None:
    text = """
[matrix]
resolution = ["64x64"]
attention = ["default", "math", "sdpa"]
dtype = ["float32", "bfloat16"]
offload = ["none", "model"]
"""
    # (A CPU takes ten times as long in half precision.)
    little = ("--set", "steps=1", "--set", "images=1", "--set", "passes=1")
    code, document = sdbench.json("run", sdbench.config(text), *little)
    assert code == 0
    assert document["outcomes"] == {"ok": 6, "skipped": 6}
    assert all("offload" in row["reason"] for row in document["cases"] if row["reason"])


def test_a_local_folder_is_measured_like_any_model(sdbench: Sdbench, cache: Path) -> None:
    assert sdbench("models", "make", "synthetic/tiny").returncode == 0
    folder = cache / "models" / "synthetic--tiny"
    text = '[matrix]\nresolution = ["64x64"]\n'
    code, document = sdbench.json("run", sdbench.config(text), "--model", str(folder))
    assert code == 0
    run = load_run(Path(sdbench.folder / document["path"])).run
    assert run.model.trained and run.model.sha256


def test_run_works_from_another_folder_with_shipped_configs(sdbench: Sdbench) -> None:
    code, document = sdbench.json(
        *("run", "quick", "--only", "resolution=128x128", "--only", "batching=batch"),
        *("--only", "warmup=false", "--set", "steps=1", "--set", "guard.min_free_disk_bytes=0"),
    )
    assert code == 0
    assert len(document["cases"]) == 2


def test_dry_run_measures_nothing(sdbench: Sdbench) -> None:
    code, document = sdbench.json("run", "full", "--device", "cpu", "--dry-run")
    assert code == 0
    assert document["estimate"]["duration_s"] > 3600
    assert len(document["plan"]["slots"]) == 72
    assert not (sdbench.folder / "results").exists()


def test_a_long_run_is_not_started_into_a_pipe(sdbench: Sdbench) -> None:
    done = sdbench("run", "full", "--device", "cpu")
    assert done.returncode == 2
    assert "--yes" in done.stderr and "hours" in done.stderr


def test_a_missing_device_is_told_in_one_line(sdbench: Sdbench) -> None:
    if sys.platform == "darwin":
        pytest.skip("mps may be there")
    done = sdbench("run", "quick", "--device", "mps")
    assert done.returncode == 3
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("sdbench:")]
    assert "without mps" in line


def test_records_hold_no_home_folder_or_token(sdbench: Sdbench) -> None:
    secret = "hf_" + "a1B2" * 8
    code, document = sdbench.json(
        "run",
        sdbench.config('[matrix]\nresolution = ["64x64"]\n'),
        HF_TOKEN=secret,
        PYTORCH_TEST_TOKEN=secret,
    )
    assert code == 0
    folder = sdbench.folder / document["path"]
    for file in ("run.json", "records.jsonl"):
        text = (folder / file).read_text()
        assert secret not in text
        assert str(Path.home()) + "/" not in text


def test_run_json_round_trips(matrix_run: SharedRun) -> None:
    from sdbench.runner.session import config_of

    read = msgspec.to_builtins(config_of(matrix_run.loaded().run))["case"]
    written = parse_toml(MATRIX)["case"]
    assert [{key: one[key] for key in given} for one, given in zip(read, written, strict=True)] == (
        written
    )


def test_worker_needs_no_sdbench_installation(cache: Path, tmp_path: Path) -> None:
    """The worker is started by path; -I hides this environment's sdbench from imports by name."""
    from sdbench.process.launch import WORKER_FOLDER

    done = subprocess.run(
        [sys.executable, "-I", WORKER_FOLDER, "--help"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert "--events" in done.stdout
