"""``localise`` names the injected operator first; its scripts, and those of ``repro``, show it."""

import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from conftest import Sdbench

STANDIN = Path(__file__).parent.parent / "standin"
SMALL = ("localise", "--resolution", "64x64", "--dtype", "float32", "--steps", "1")
# Seen on two cores: more threads than this only get into each other's way on such small tensors.
ONE_THREAD = {"OMP_NUM_THREADS": "1"}

needs_standin = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("c++"))
    or os.uname().sysname != "Linux"
    or not metadata.version("torch").startswith("2.13"),
    reason="the stand-in device needs Linux, torch 2.13 and a C++ compiler",
)


def standin(fault: str = "") -> dict[str, str]:
    return {
        "SDBENCH_WORKER_PRELOAD": "sdbench_standin",
        "PYTHONPATH": str(STANDIN),
        "SDBENCH_STANDIN_FAULT": fault,
        **ONE_THREAD,
    }


def on_standin(sdbench: Sdbench, fault: str, *options: str) -> tuple[int, dict[str, Any]]:
    code, document = sdbench.json(*SMALL, "--device", "mps", *options, **standin(fault))
    assert document["simulated"] is True
    return code, document


def test_cpu_against_itself_is_right_everywhere(sdbench: Sdbench) -> None:
    options = ("--steps", "2", "--device", "cpu", "--top", "1000")
    code, document = sdbench.json(*SMALL, *options, **ONE_THREAD)
    assert (code, document["beyond"], document["script"]) == (0, 0, None)
    assert document["complete"] and document["simulated"] is False
    assert {row["ratio"] for row in document["ops"]} == {0.0}
    depths = {row["op"]: row["depth"] for row in document["ops"]}
    summed = {op for op, depth in depths.items() if depth is not None}
    assert summed >= {"aten::convolution", "aten::addmm", "aten::mm", "aten::bmm"}
    assert summed >= {"aten::native_group_norm", "aten::native_layer_norm"}
    assert "aten::scaled_dot_product_attention" in summed
    assert depths["aten::silu"] is None
    for row in document["ops"]:
        assert row["rounding"] == ("unknown" if row["depth"] is None else "within")
    assert all(0 < row["floor"] < 1e-5 for row in document["ops"])
    # What is outside leaf modules is there as well as they are, each with its owner.
    classes = {row["op"]: row["class"] for row in document["ops"]}
    assert classes["aten::convolution"] == "Conv2d"
    assert {"aten::scaled_dot_product_attention", "aten::cat", "aten::silu"} <= set(classes)
    assert any(row["module"] == "" for row in document["ops"])  # the scheduler's


@pytest.mark.long
def test_half_precision_stays_near_its_floor(sdbench: Sdbench) -> None:
    options = ("localise", "--resolution", "64x64", "--device", "cpu", "--dtype", "bfloat16")
    code, document = sdbench.json(*options, "--slicing", **ONE_THREAD)
    assert (code, document["beyond"]) == (0, 0)
    assert 0 < document["ops"][0]["ratio"] < 10
    assert {row["rounding"] for row in document["ops"]} <= {"within", "unknown"}
    assert (document["beyond_rounding"], document["within_coarse"]) == (0, 0)


@needs_standin
def test_healthy_device_is_said_to_be_so(sdbench: Sdbench) -> None:
    done = sdbench(*SMALL, "--device", "mps", **standin())
    assert done.returncode == 0
    assert "No operator exceeds 30× its floor" in done.stdout and "SIMULATED" in done.stdout
    assert "Traceback" not in done.stderr


@needs_standin
@pytest.mark.parametrize(
    ("fault", "options", "op"),
    [
        pytest.param(
            "wrong-op:op=softmax", ["--slicing"], "aten::_softmax", marks=pytest.mark.long
        ),
        ("wrong-op:op=sdpa-noncontiguous", [], "aten::scaled_dot_product_attention"),
        pytest.param(
            "wrong-op:op=layer_norm", [], "aten::native_layer_norm", marks=pytest.mark.long
        ),
        pytest.param(
            "wrong-op:op=group_norm", [], "aten::native_group_norm", marks=pytest.mark.long
        ),
        pytest.param(
            "wrong-op:op=conv2d-noncontiguous", [], "aten::convolution", marks=pytest.mark.long
        ),
        ("sliced-nan", ["--slicing"], "aten::baddbmm"),
        pytest.param("batch-noise", ["--batch", "2"], "aten::convolution", marks=pytest.mark.long),
        pytest.param("missing-op:op=aten::silu", [], "aten::silu", marks=pytest.mark.long),
        pytest.param(
            "at-op:op=aten::linear:effect=noise", [], "aten::linear", marks=pytest.mark.long
        ),
    ],
)
def test_injected_operator_is_named_first(
    sdbench: Sdbench, fault: str, options: list[str], op: str
) -> None:
    """In `make test` one of each kind: wrong, not a number, of a batch, missing."""
    code, document = on_standin(sdbench, fault, *options)
    first = document["ops"][0]
    assert (code, first["op"]) == (1, op)
    assert first["beyond"] > 0 and document["complete"]
    wrong = {row["op"] for row in document["ops"] if row["beyond"]}
    assert wrong == {op}
    known = op not in ("aten::silu",)
    assert first["rounding"] == ("beyond" if known else "unknown")


@needs_standin
@pytest.mark.long
def test_a_fault_of_1_percent_in_half_precision_is_beyond_rounding(sdbench: Sdbench) -> None:
    """It is less than 30 times the floor of float16."""
    options = ("localise", "--resolution", "64x64", "--dtype", "float16", "--steps", "1")
    fault = "at-op:op=aten::convolution:effect=scale:scale=1.01"
    code, document = sdbench.json(*options, "--device", "mps", **standin(fault))
    assert (code, document["beyond"]) == (1, 0)
    assert document["beyond_rounding"] > 0
    (first, *_) = document["ops"]
    assert (first["op"], first["rounding"]) == ("aten::convolution", "beyond")
    assert first["of_bound"] == first["rel_l2"] / first["bound"] > 4


@needs_standin
def test_script_shows_the_fault_without_sdbench(sdbench: Sdbench) -> None:
    _, document = on_standin(sdbench, "wrong-op:op=sdpa-noncontiguous")
    assert document["script_shows_it"] is True and document["script_operands"] == "seeded"
    assert "not contiguous" in document["where"]
    script = sdbench.folder / document["script"]
    assert script.parent.name == "sdbench-localise-scaled_dot_product_attention"
    assert run_script(script, "cpu", "mps", **standin()) == ["PASS", "PASS"]
    assert run_script(script, "mps", **standin("wrong-op:op=sdpa-noncontiguous")) == ["FAIL"]


def run_script(path: Path, *devices: str, **variables: str) -> list[str]:
    """Run a script as its reader would, on one device after the other; a stand-in has to be
    imported first."""
    code = f"""import runpy, sys
import sdbench_standin
for device in {list(devices)}:
    sys.argv[:] = [{str(path)!r}, device]
    try:
        runpy.run_path({str(path)!r}, run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code
    print("exit code", int(code or 0))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **ONE_THREAD, **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    ends = [number for number, line in enumerate(lines) if line.startswith("exit code")]
    assert len(ends) == len(devices), done.stderr
    for end in ends:
        assert lines[end] == f"exit code {int(not lines[end - 1].endswith('PASS'))}", done.stderr
    return [lines[end - 1][-4:] for end in ends]


@needs_standin
def test_call_that_kills_the_process_is_named_and_the_search_goes_on(sdbench: Sdbench) -> None:
    code, document = on_standin(sdbench, "at-op:op=aten::argmax:effect=die")
    first = document["ops"][0]
    assert (code, first["status"], first["op"]) == (1, "crashed", "aten::argmax")
    assert "SIGABRT" in first["reason"] and "total bytes of NDArray" in first["reason"]
    assert document["complete"] and document["beyond"] == 1 and document["calls"] > 500
    assert document["skipped"]["like one that ended the process"] >= 1
    assert document["script_shows_it"] is True


@needs_standin
def test_fault_that_seeded_operands_do_not_show_comes_with_the_real_ones(
    sdbench: Sdbench, tmp_path: Path
) -> None:
    (tmp_path / "only_large.py").write_text(ONLY_LARGE, encoding="utf-8")
    variables = standin() | {
        "PYTHONPATH": f"{STANDIN}{os.pathsep}{tmp_path}",
        "SDBENCH_WORKER_PRELOAD": "sdbench_standin,only_large",
    }
    code, document = sdbench.json(*SMALL, "--device", "mps", "-o", "out", **variables)
    assert (code, document["ops"][0]["op"]) == (1, "aten::embedding")
    assert document["script_operands"] == "carried" and document["script_shows_it"] is True
    operands = sdbench.folder / "out" / "operands.safetensors"
    assert 0 < operands.stat().st_size < 20_000_000


@needs_standin
def test_operator_that_views_the_wrong_place_is_named(sdbench: Sdbench, tmp_path: Path) -> None:
    (tmp_path / "swapped_chunk.py").write_text(SWAPPED_CHUNK, encoding="utf-8")
    variables = standin() | {
        "PYTHONPATH": f"{STANDIN}{os.pathsep}{tmp_path}",
        "SDBENCH_WORKER_PRELOAD": "sdbench_standin,swapped_chunk",
    }
    code, document = sdbench.json(*SMALL, "--device", "mps", **variables)
    wrong = {row["op"] for row in document["ops"] if row["beyond"]}
    assert (code, document["ops"][0]["op"], wrong) == (1, "aten::chunk", {"aten::chunk"})
    assert document["script_shows_it"] is True and document["script_operands"] == "seeded"


# Nothing is computed wrongly: the halves are each other's.
SWAPPED_CHUNK = """
import torch

library = torch.library.Library("aten", "IMPL")

def chunk(tensor, chunks, dim=0):
    size = -(-tensor.shape[dim] // chunks)
    return list(reversed(torch.ops.aten.split.Tensor(tensor, size, dim)))

library.impl("chunk", chunk, "MPS")
"""


# Wrong for the first and the last token of a prompt in order, which random tokens are not.
ONLY_LARGE = """
import torch
from sdbench_standin.interception import host_view

library = torch.library.Library("aten", "IMPL")

def embedding(weight, indices, *rest):
    tokens = host_view(indices).flatten().tolist()
    result = torch.embedding(host_view(weight), host_view(indices))
    if len(tokens) > 8 and tokens == sorted(tokens):
        result = result * 2
    return torch.ops.sdbench_standin.device(result)

library.impl("embedding", embedding, "MPS", allow_override=True)
"""

PLAN = """
[[case]]
resolution = "64x64"
batching = "batch"
attention_slicing = true
dtype = "bfloat16"
warmup = true
"""


def test_repro_of_a_case_runs_without_sdbench(sdbench: Sdbench) -> None:
    code, document = sdbench.json("run", sdbench.config(PLAN), **ONE_THREAD)
    assert code == 0
    case_id = document["cases"][0]["case_id"]
    code, files = sdbench.json("repro", document["run_id"], case_id)
    assert code == 0 and files["simulated"] is False
    script, issue, environment = (
        sdbench.folder / files[name] for name in ("script", "issue", "environment")
    )
    assert len(script.read_text().splitlines()) <= 60
    assert f"`{case_id}`" in issue.read_text()
    assert "PyTorch version: " in environment.read_text()
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=sdbench.folder,
        env={**os.environ, **ONE_THREAD},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[-1]) == (0, "PASS"), done.stdout + done.stderr
    assert sum(line.startswith("pass ") for line in lines) == 2
    assert any(line.startswith("memory: ") for line in lines)


@needs_standin
@pytest.mark.long
def test_repro_of_a_crashed_case_says_what_happened(sdbench: Sdbench) -> None:
    config = sdbench.config(PLAN.replace("bfloat16", "float32"))
    code, document = sdbench.json("run", config, "--device", "mps", **standin("batch-abort"))
    assert code == 1
    code, files = sdbench.json(
        "repro", "latest", document["cases"][0]["case_id"], "-o", "report", **standin()
    )
    assert code == 0 and files["simulated"] is True
    issue = (sdbench.folder / files["issue"]).read_text()
    assert "SIMULATED" in issue and "SIGABRT" in issue and "failed assertion" in issue
    script = sdbench.folder / files["script"]
    code_text = f"import sdbench_standin, runpy\nrunpy.run_path({str(script)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code_text],
        env={**os.environ, **standin("batch-abort")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == -6 and "failed assertion" in done.stderr
    assert done.stdout.startswith("torch ")


def test_wrong_use_is_one_line(sdbench: Sdbench) -> None:
    for arguments, words in (
        (("localise", "--resolution", "65x64"), "multiple of 8"),
        (("localise", "--batch", "0"), "images"),
        (("localise", "--model", "synthetic/none"), "no model"),
        (("localise", "--stack", "/nowhere"), "no environment"),
        (("repro", "nothing", "64x64"), "no run"),
    ):
        done = sdbench(*arguments)
        assert done.returncode == 2, done.stderr
        assert words in done.stderr and len(done.stderr.strip().splitlines()) == 1
