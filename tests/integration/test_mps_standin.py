"""The real pipeline on a stand-in ``mps`` device: healthy, aged, and with each known kind of fault.

Every worker is a real process; the device under it is tests/standin, so every result says
simulated.
"""

import os
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Sdbench, SharedRun
from PIL import Image
from shorter import WHOLE

from sdbench.records import Replicate
from sdbench.runs import load_run

STANDIN = Path(__file__).parent.parent / "standin"
MACHINES = Path(__file__).parent.parent / "data/machines"

pytestmark = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("c++"))
    or os.uname().sysname != "Linux"
    or not metadata.version("torch").startswith("2.13"),
    reason="the stand-in device needs Linux, torch 2.13 and a C++ compiler",
)

# One case that meets every fault: a batch, sliced, cold.
ONE_CASE = """
[[case]]
resolution = "64x64"
batching = "batch"
attention_slicing = true
dtype = "float32"
"""


def _standin(**variables: str) -> dict[str, str]:
    return {
        "SDBENCH_WORKER_PRELOAD": "sdbench_standin",
        "PYTHONPATH": str(STANDIN),
        **variables,
    }


def _arms(**variables: dict[str, str]) -> str:
    tables = []
    for name, environment in variables.items():
        pairs = ", ".join(f'{key} = "{value}"' for key, value in environment.items())
        tables.append(f'[[arm]]\nname = "{name.replace("_", "-")}"\nenv = {{ {pairs} }}\n')
    return "\n".join(tables)


def _pixels(replicate: Replicate) -> list[list[str]]:
    """Of each measured pass the pictures' hashes."""
    return [
        [picture.pixels_sha256 for picture in entry.images]
        for entry in replicate.of_kind("measured")
    ]


def _by_arm(sdbench: Sdbench, document: dict[str, Any]) -> dict[str, Replicate]:
    loaded = load_run(sdbench.folder / document["path"])
    assert loaded.run.simulated
    assert all(entry.simulated for entry in loaded.replicates)
    return {entry.arm: entry for entry in loaded.replicates}


def test_matrix_is_ok_simulated_and_identical_to_the_cpu(
    sdbench: Sdbench, matrix_run: SharedRun
) -> None:
    text = """
[matrix]
resolution = ["64x64"]
attention_slicing = [false, true]
warmup = [false, true]
batching = ["loop", "batch"]
dtype = ["float32"]
"""
    config = sdbench.config(text, references=True)
    code, on_mps = sdbench.json(*("run", config, "--device", "mps"), **_standin(), **{WHOLE: "1"})
    assert code == 0
    assert on_mps["device"] == "mps" and on_mps["simulated"] is True
    assert on_mps["outcomes"] == {"ok": 8}
    assert {row["peak_memory_source"] for row in on_mps["cases"]} == {"mps-allocated"}
    on_cpu = {entry.case_id: _pixels(entry) for entry in matrix_run.loaded().replicates}
    loaded = load_run(sdbench.folder / on_mps["path"])
    (check,) = loaded.checks
    assert (check.outcome, check.verdict, check.content) == ("ok", "match", "right")
    assert check.simulated
    replicates = loaded.replicates
    assert len(replicates) == 8
    for entry in replicates:
        assert _pixels(entry) == on_cpu[entry.case_id]
        assert entry.yardstick is None  # one process a case gets no verdict
    shown = sdbench("show", on_mps["run_id"])
    assert "SIMULATED" in shown.stdout


@pytest.mark.cold
def test_auto_finds_the_device(sdbench: Sdbench) -> None:
    code, document = sdbench.json(
        "run",
        sdbench.config(ONE_CASE, references=True),
        "--device",
        "auto",
        "--dry-run",
        **_standin(),
    )
    assert code == 0 and document["device"] == "mps" and document["simulated"] is True


def test_the_announced_time_is_predicted_for_a_chip_with_published_figures(
    sdbench: Sdbench, tmp_path: Path
) -> None:
    """On a recorded M4 and on a chip that nobody knows; workers are asked for the device alone."""
    known = MACHINES / "m4-macos15"
    unknown = tmp_path / "unknown-chip"
    shutil.copytree(known, unknown)
    for path in unknown.iterdir():
        path.write_text(path.read_text().replace("Apple M4", "Apple M9"))
    asked = ("run", "default", "--device", "mps", "--dry-run")
    code, document = sdbench.json(*asked, **_standin(SDBENCH_MACHINE_RECORDING=str(known)))
    assert code == 0 and document["machine"]["chip"] == "Apple M4"
    times = {planned["case"]["dtype"]: planned["time"] for planned in document["plan"]["cases"]}
    assert times["float16"]["low_s"] < times["float16"]["image_s"] < times["float16"]["high_s"]
    assert "Apple M4, 10 GPU cores" in times["float16"]["basis"]
    low_s, high_s = document["estimate"]["likely_s"]
    assert low_s <= document["estimate"]["duration_s"] <= high_s
    assert "no Mac has run sdbench yet" in document["estimate"]["basis"]

    shown = sdbench(*asked, **_standin(SDBENCH_MACHINE_RECORDING=str(known)))
    words = " ".join(shown.stdout.split())
    assert "the time is predicted from published figures of the chip and public reports" in words
    assert "no Mac has run sdbench yet" in words and "SIMULATED" in words
    shown = sdbench(*asked, **_standin(SDBENCH_MACHINE_RECORDING=str(unknown)))
    words = " ".join(shown.stdout.split())
    assert "no times are predicted for Apple M9: sdbench has no published figures of it" in words
    assert "the time is predicted" not in words


def test_each_fault_is_survived_and_seen(sdbench: Sdbench) -> None:
    def fault(text: str, **more: str) -> dict[str, str]:
        return {"SDBENCH_STANDIN_FAULT": text, **more}

    arms = _arms(
        healthy={"SDBENCH_STANDIN_FAULT": ""},
        first_pass=fault("first-pass-differs"),
        batch_noise=fault("batch-noise"),
        batch_abort=fault("batch-abort"),
        sliced_nan=fault("sliced-nan"),
        nan_after=fault("nan-after:passes=1"),
        wrong_layer_norm=fault("wrong-op:op=layer_norm:scale=1.05"),
        wrong_group_norm=fault("wrong-op:op=group_norm:scale=1.05"),
        wrong_softmax=fault("wrong-op:op=softmax:scale=1.05"),
        missing=fault("missing-op:op=aten::silu"),
        missing_fallback=fault("missing-op:op=aten::silu", PYTORCH_ENABLE_MPS_FALLBACK="1"),
        growth=fault("memory-growth:bytes=5000000"),
        slow=fault("pressure-slowdown:above=1:factor=3"),
        hang=fault("hang-synchronize:passes=1:gil=1"),
        late_error=fault("async-error:passes=1"),
        small={"SDBENCH_STANDIN_MEMORY_BYTES": "4000000"},
    )
    code, document = sdbench.json(
        *("run", sdbench.config(ONE_CASE + arms, references=True), "--device", "mps"),
        *("--set", "timeout_s=30"),
        **_standin(),
    )
    assert code == 1
    rows = {row["arm"]: row for row in document["cases"]}
    ran = _by_arm(sdbench, document)
    healthy = _pixels(ran["healthy"])
    assert healthy[0] == healthy[1]

    ended_ok = {arm for arm, row in rows.items() if row["outcome"] == "ok"}
    assert ended_ok == set(rows) - {"batch-abort", "missing", "hang", "late-error", "small"}
    assert ran["batch-abort"].signal == "SIGABRT"
    assert "failed assertion" in ran["batch-abort"].stderr_tail
    assert rows["missing"]["outcome"] == "failed"
    assert "aten::silu" in rows["missing"]["reason"]
    assert rows["hang"]["outcome"] == "timeout"
    assert rows["late-error"]["outcome"] == "failed"
    assert "command buffer execution failed" in rows["late-error"]["reason"]
    assert rows["small"]["outcome"] == "oom"
    assert "MPS backend out of memory" in rows["small"]["reason"]
    causes = {arm: entry.cause for arm, entry in ran.items() if entry.cause is not None}
    assert {arm: cause.kind for arm, cause in causes.items()} == {
        "batch-abort": "ndarray-over-2-32-bytes",
        "missing": "operator-missing",
        "late-error": "command-buffer-out-of-memory",
        "small": "mps-out-of-memory",
    }
    assert causes["missing"].operator == "aten::silu"
    assert causes["small"].limit_bytes == pytest.approx(1.7 * 4_000_000, rel=0.01)

    first, second = _pixels(ran["first-pass"])
    assert first != second and second == healthy[1]
    for made in _pixels(ran["batch-noise"]):
        assert made[0] == healthy[0][0] and made[1] != healthy[0][1]
    for arm in ("sliced-nan", "nan-after"):
        assert rows[arm]["correct"] == "broken"
        assert "is not a number" in rows[arm]["correct_reason"]
    assert not any(picture.broken for picture in ran["nan-after"].of_kind("measured")[0].images)
    for arm in ("wrong-layer-norm", "wrong-group-norm", "wrong-softmax"):
        assert _pixels(ran[arm]) != healthy
        assert rows[arm]["correct"] in ("drift", "broken")
    assert rows["healthy"]["correct"] == "match"
    for arm in ("missing-fallback", "growth", "slow"):
        assert _pixels(ran[arm]) == healthy
    assert ran["missing-fallback"].fallback_operators == ["aten::silu"]
    one, two = (entry.allocated_bytes or 0 for entry in ran["growth"].of_kind("measured"))
    assert two - one >= 5_000_000


@pytest.mark.long
def test_quick_in_half_precision_is_close_to_the_cpu(sdbench: Sdbench) -> None:
    """The shipped plan, made shorter, with the dtype that is the default on mps."""
    smaller = (
        *("--set", "steps=2", "--set", "images=2", "--set", "passes=2"),
        *("--set", 'matrix.resolution=["64x64"]', "--only", "warmup=false"),
        *("--model", "synthetic/tiny"),
    )
    code, on_mps = sdbench.json("run", "quick", "--device", "mps", *smaller, **_standin())
    assert code == 0 and on_mps["simulated"] is True
    assert on_mps["outcomes"] == {"ok": 4}
    assert {row["case"]["dtype"] for row in on_mps["cases"]} == {"float16"}
    code, on_cpu = sdbench.json("run", "quick", "--device", "cpu", *smaller)
    assert code == 0
    exact, half = _pictures(sdbench, on_cpu), _pictures(sdbench, on_mps)
    assert exact.keys() == half.keys() and len(exact) == 4
    for settings, pictures in exact.items():
        for picture, other in zip(pictures, half[settings], strict=True):
            levels = np.abs(picture - other)
            assert 0 < levels.mean() < 2 and levels.max() < 64, settings


def _pictures(sdbench: Sdbench, document: dict[str, Any]) -> dict[tuple[bool, str], list[Any]]:
    """The pixels, 0 to 255, of the last pass of each case, by slicing and batching."""
    folder = sdbench.folder / document["path"]
    loaded = load_run(folder)
    pictures: dict[tuple[bool, str], list[Any]] = {}
    for replicate in loaded.replicates:
        case = loaded.run.plan.planned(replicate.case_id).case
        names = _pixels(replicate)[-1]
        pictures[case.attention_slicing, case.batching] = [
            np.asarray(Image.open(folder / "images" / f"{name}.png")).astype(float)
            for name in names
        ]
    return pictures


@pytest.mark.long
def test_faults_of_any_operator_are_recorded_for_what_they_are(sdbench: Sdbench) -> None:
    """Faults that no list foresaw, and operators that are wrong only for strided input."""
    watchdog = sdbench.folder / "watchdog.txt"
    watchdog.write_text(
        "MPS command buffer execution failed: Impacting Interactivity "
        "(0000000e:kIOGPUCommandBufferCallbackErrorImpactingInteractivity)"
    )
    convolution = "at-op:op=aten::convolution"
    faults = {
        "healthy": "",
        "strided-conv": "wrong-op:op=conv2d-noncontiguous:scale=1.2",
        "strided-sdpa": "wrong-op:op=sdpa-noncontiguous:scale=1.2",
        "later-items": f"{convolution}:when=batch:items=rest:effect=noise",
        "nan-product": "at-op:op=aten::*mm:effect=nan:passes=1",
        "bus-error": f"{convolution}:effect=die:signal=SIGBUS:text={_recorded('buserror.')}",
        "broadcast": f"{convolution}:effect=die:text={_recorded('abort.llvm-broadcast.')}",
        "killed": f"{convolution}:passes=1:effect=die:signal=SIGKILL:text=/dev/null",
        "buffer": f"{convolution}:effect=raise:text={_recorded('invalid-buffer-size.')}",
        "watchdog": f"async-error:passes=1:text={watchdog}",
        "unraised": f"{convolution}:when=batch:effect=zero:text={_recorded('commandbuffer.gpu')}",
    }
    arms = _arms(**{name: {"SDBENCH_STANDIN_FAULT": fault} for name, fault in faults.items()})
    case = ONE_CASE.replace("attention_slicing = true", "attention_slicing = false")
    # Without guidance the items of the UNet's batch are the images.
    code, document = sdbench.json(
        *(
            "run",
            sdbench.config(case + arms, references=True),
            "--device",
            "mps",
            "--set",
            "guidance_scale=1",
        ),
        **_standin(),
    )
    assert code == 1
    rows = {row["arm"]: row for row in document["cases"]}
    ran = _by_arm(sdbench, document)
    healthy = _pixels(ran["healthy"])

    for arm in ("strided-conv", "strided-sdpa"):
        assert rows[arm]["outcome"] == "ok" and rows[arm]["correct"] in ("drift", "broken")
        for made, right in zip(_pixels(ran[arm]), healthy, strict=True):
            assert not set(made) & set(right)
    for made, right in zip(_pixels(ran["later-items"]), healthy, strict=True):
        assert made[0] == right[0] and made[1] != right[1]
    assert rows["nan-product"]["correct"] == "broken"
    assert _pixels(ran["nan-product"])[0] == healthy[0]

    ended = {
        arm: (row["outcome"], ran[arm].signal, getattr(ran[arm].cause, "kind", None))
        for arm, row in rows.items()
        if row["outcome"] != "ok"
    }
    assert ended == {
        "bus-error": ("crashed", "SIGBUS", "bus-error"),
        "broadcast": ("crashed", "SIGABRT", "mlir-broadcast"),
        "killed": ("crashed", "SIGKILL", "killed"),
        "buffer": ("oom", None, "invalid-buffer-size"),
        "watchdog": ("failed", None, "metal-watchdog"),
        "unraised": ("failed", None, "gpu-timeout"),
    }
    assert len(ran["killed"].of_kind("measured")) == 1, "earlier measurements are kept"


def _recorded(beginning: str) -> Path:
    """A recording of what a real process wrote to standard error."""
    (found,) = (STANDIN.parent / "data" / "mps-stderr").glob(f"{beginning}*")
    return found


def test_virtual_machine_is_recorded_and_shown(sdbench: Sdbench) -> None:
    name = "Apple Paravirtual device"
    config = sdbench.config(ONE_CASE, references=True)
    code, document = sdbench.json(
        "run", config, "--device", "mps", **_standin(SDBENCH_STANDIN_NAME=name)
    )
    assert code == 0
    (replicate,) = _by_arm(sdbench, document).values()
    assert replicate.device["facts"]["name"] == name
    assert replicate.device["facts"]["virtualised"] is True
    assert any("virtual machine" in warning for warning in document["warnings"])
    shown = sdbench("show", document["run_id"]).stdout
    assert f"{name}, gpu cores 8" in shown and "virtualised" in shown
    assert "get no verdict" in shown

    unusable = _standin(SDBENCH_STANDIN_NAME=name, SDBENCH_STANDIN_MEMORY_BYTES="1")
    done = sdbench("run", config, "--device", "mps", **unusable)
    assert done.returncode == 3
    assert "This virtual machine has no GPU memory" in done.stderr and "macos-15" in done.stderr
    assert "WATERMARK" not in done.stderr


@pytest.mark.long
def test_older_apis_are_measured_with_what_they_have(sdbench: Sdbench) -> None:
    releases = ("1.13.1", "2.0.1", "2.5.1", "2.10.0", "2.13.0")
    arms = _arms(**{f"v{release}": {"SDBENCH_STANDIN_API": release} for release in releases})
    config = sdbench.config(ONE_CASE + arms, references=True)
    # Three processes, so that the yardstick is read on mps too.
    asked = ("--device", "mps", "--set", "replicates=3", "--set", "passes=2")
    code, document = sdbench.json("run", config, *asked, **_standin())
    assert code == 0
    ran = _by_arm(sdbench, document)
    for entry in ran.values():
        assert entry.yardstick is not None
        assert entry.yardstick.before_s and entry.yardstick.after_s
    assert len({str(_pixels(entry)) for entry in ran.values()}) == 1
    sources = {arm: entry.peak_memory_source for arm, entry in ran.items()}
    assert sources.pop("v2.13.0") == "mps-allocated"
    assert set(sources.values()) == {"rss"}
    last = {arm: entry.of_kind("measured")[-1] for arm, entry in ran.items()}
    assert last["v1.13.1"].allocated_bytes is None
    assert (last["v2.0.1"].allocated_bytes or 0) > 0
    assert last["v2.0.1"].recommended_max_bytes is None
    assert (last["v2.5.1"].recommended_max_bytes or 0) > 0


def test_known_issues_and_overflows_are_flagged_before_anything_runs(sdbench: Sdbench) -> None:
    code, document = sdbench.json(
        *("run", "mps-docs", "--device", "mps", "--dry-run", "--model", "synthetic/tiny"),
        **_standin(),
    )
    assert code == 0
    flags = {
        planned["case"]["resolution"]: planned["flags"]
        for planned in document["plan"]["cases"]
        if planned["case"]["attention_slicing"]
    }
    assert any("NaN" in flag or "black" in flag for flag in flags["512x512"]), flags


def test_limits_that_cannot_work_are_told_before_a_worker_starts(sdbench: Sdbench) -> None:
    config = sdbench.config(ONE_CASE, references=True)
    low = _standin(PYTORCH_MPS_HIGH_WATERMARK_RATIO="1.0", PYTORCH_MPS_LOW_WATERMARK_RATIO="1.2")
    done = sdbench("run", config, "--device", "mps", "--dry-run", **low)
    assert done.returncode in (2, 3) and "PYTORCH_MPS_LOW_WATERMARK_RATIO" in done.stderr
    unlimited = _standin(PYTORCH_MPS_HIGH_WATERMARK_RATIO="0.0")
    done = sdbench("run", config, "--device", "mps", "--dry-run", **unlimited)
    assert done.returncode == 2 and "--unsafe-memory" in done.stderr
    done = sdbench(*("run", config, "--device", "mps", "--dry-run", "--unsafe-memory"), **unlimited)
    assert done.returncode == 0, done.stderr
