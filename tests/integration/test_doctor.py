"""The real doctor: this machine, a bare environment, a stand-in device, operators that go wrong."""

import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from conftest import Sdbench

from sdbench.worker.probes import PROBES

STANDIN = Path(__file__).parent.parent / "standin"
needs_standin = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("c++"))
    or os.uname().sysname != "Linux"
    or not metadata.version("torch").startswith("2.13"),
    reason="the stand-in device needs Linux, torch 2.13 and a C++ compiler",
)


def statuses(document: dict[str, Any]) -> dict[str, str]:
    return {check["id"]: check["status"] for check in document["checks"]}


def found(document: dict[str, Any], check: str) -> str:
    return next(str(one["found"]) for one in document["checks"] if one["id"] == check)


def standin(**variables: str) -> dict[str, str]:
    return {"SDBENCH_WORKER_PRELOAD": "sdbench_standin", "PYTHONPATH": str(STANDIN), **variables}


@pytest.mark.cold
def test_this_machine(sdbench: Sdbench) -> None:
    code, document = sdbench.json("doctor", "--model", "synthetic/tiny")
    rows = statuses(document)
    assert rows["torch-imports"] == rows["stack-compatible"] == rows["python-version"] == "pass"
    assert document["simulated"] is False
    assert code == (1 if document["status"] == "fail" else 0)
    assert Path(document["interpreter"]).name.startswith("python")
    if sys.platform == "linux":
        assert not {"macos-version", "python-arch", "mps-built"} & set(rows)
        assert found(document, "torch-version") == f"torch {metadata.version('torch')}"


@pytest.mark.smoke
def test_text_begins_with_the_interpreter_and_ends_with_a_verdict(sdbench: Sdbench) -> None:
    done = sdbench("doctor", "--model", "synthetic/tiny")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Examining /") and "python" in lines[0]
    assert lines[-2].split(":")[0].split(",")[0] in ("ready", "works on cpu", "not ready")
    assert lines[-1].startswith("Next")
    rows = [line.split()[1] for line in lines if line.startswith(("ok ", "warn ", "FAIL ", "? "))]
    assert rows.index("model-offline") < rows.index("torch-imports")


def test_environment_without_torch(sdbench: Sdbench, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    before = {path for path in venv.rglob("*") if "__pycache__" not in path.parts}
    code, document = sdbench.json("doctor", "--python", venv)
    rows = statuses(document)
    assert code == 1
    assert rows["python-version"] == "pass"
    assert rows["torch-version"] == rows["stack-compatible"] == "fail"
    assert "torch-imports" not in rows
    assert document["interpreter"].endswith("venv/bin/python")
    assert {path for path in venv.rglob("*") if "__pycache__" not in path.parts} == before


def test_environment_whose_torch_aborts(sdbench: Sdbench, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    site = next((venv / "lib").glob("python*")) / "site-packages"
    (site / "torch").mkdir()
    (site / "torch" / "__init__.py").write_text(
        "import os, sys\n"
        "sys.stderr.write('OMP: Error #15: libomp is there twice\\n'); sys.stderr.flush()\n"
        "os.abort()\n"
    )
    (site / "torch-2.13.0.dist-info").mkdir()
    (site / "torch-2.13.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0\n"
    )
    code, document = sdbench.json("doctor", "--python", venv / "bin" / "python")
    assert code == 1 and statuses(document)["torch-imports"] == "fail"
    assert "SIGABRT: OMP: Error #15" in found(document, "torch-imports")


def test_interpreter_that_is_none(sdbench: Sdbench) -> None:
    code, document = sdbench.json("doctor", "--python", shutil.which("true") or "/bin/true")
    assert code == 1 and statuses(document)["python-version"] == "fail"
    done = sdbench("doctor", "--python", "/nowhere/python")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and not done.stdout


@needs_standin
@pytest.mark.cold
def test_stand_in_computes_and_is_called_simulated(sdbench: Sdbench) -> None:
    _, document = sdbench.json("doctor", "--model", "synthetic/tiny", **standin())
    rows = statuses(document)
    assert rows["mps-built"] == rows["mps-available"] == rows["mps-computes"] == "pass"
    assert document["simulated"] is True
    assert "macos-version" not in rows
    sdbench.cold = False
    done = sdbench("doctor", "--model", "synthetic/tiny", **standin())
    assert done.stdout.splitlines()[1].startswith("SIMULATED where sdbench_standin")


@needs_standin
def test_stand_in_that_lacks_an_operator_does_not_compute(sdbench: Sdbench) -> None:
    fault = "missing-op:op=aten::mm"
    code, document = sdbench.json("doctor", **standin(SDBENCH_STANDIN_FAULT=fault))
    assert code == 1 and statuses(document)["mps-computes"] == "fail"
    assert "aten::mm" in found(document, "mps-computes")


@needs_standin
def test_whether_a_virtual_mac_computes_is_tried(sdbench: Sdbench) -> None:
    """The probe of a device in a real interpreter, which no run has: doctor alone tries both."""
    name = "Apple Paravirtual device"

    def mps_row(**variables: str) -> dict[str, Any]:
        _, document = sdbench.json("doctor", **standin(SDBENCH_STANDIN_NAME=name, **variables))
        (row,) = [check for check in document["checks"] if check["id"] == "mps-computes"]
        return dict(row)

    right = mps_row()
    assert right["status"] == "pass"
    assert "a virtual Mac: it computes, its times mean nothing" in right["found"]
    # As hosted virtual Macs with macOS 26 do, whose matrix products are right (pytorch#192934).
    wrong = mps_row(SDBENCH_STANDIN_FAULT="at-op:op=aten::linear:effect=scale:scale=1.5")
    assert wrong["status"] == "fail" and "macos-15" in wrong["remedy"]
    assert "linear layer" in wrong["found"] and "matrix product" not in wrong["found"]
    empty = mps_row(SDBENCH_STANDIN_MEMORY_BYTES="1")
    assert empty["status"] == "fail" and "macos-15" in empty["remedy"]
    assert "This virtual machine has no GPU memory" in empty["found"]


def test_deep_on_the_cpu(sdbench: Sdbench) -> None:
    _, document = sdbench.json("doctor", "--deep", "--model", "synthetic/tiny")
    rows = statuses(document)
    assert rows["deep-cpu-float32"] == "pass", found(document, "deep-cpu-float32")
    assert rows["deep-cpu-ceilings"] == "pass"
    operators = document["deep"]["operators"]
    assert {entry["dtype"] for entry in operators} == {"float32", "float16", "bfloat16"}
    names = {entry["operator"] for entry in operators}
    assert {"matmul", "conv2d", "softmax", "group_norm", "layer_norm", "gelu"} <= names
    exact = [entry for entry in operators if entry["dtype"] == "float32"]
    assert all(0 <= entry["rel_l2"] <= entry["tolerance"] < 1e-4 for entry in exact)
    measured = document["deep"]["ceilings"]
    assert any((entry["flops_per_s"] or 0) > 1e8 for entry in measured)
    assert any((entry["bytes_per_s"] or 0) > 1e8 for entry in measured)


_FAULTY = """
import os, sys
import torch
from torch.nn import functional
softmax, silu, group_norm = functional.softmax, functional.silu, functional.group_norm
def half(x): return x.dtype == torch.float16
functional.softmax = lambda x, dim: softmax(x, dim=dim) * (1 if x.dtype == torch.float64 else 1.05)
functional.silu = lambda x: silu(x) / (0 if half(x) else 1)
def aborting(x, *args):
    if half(x):
        sys.stderr.write("MPSNDArray.mm:88: failed assertion 'too large'\\n"); sys.stderr.flush()
        os.abort()
    return group_norm(x, *args)
functional.group_norm = aborting
"""


def test_deep_names_each_operator_that_is_wrong_and_outlives_one_that_kills(
    sdbench: Sdbench, tmp_path: Path
) -> None:
    (tmp_path / "faulty_operators.py").write_text(_FAULTY)
    code, document = sdbench.json(
        *("doctor", "--deep", "--model", "synthetic/tiny"),
        SDBENCH_WORKER_PRELOAD="faulty_operators",
        PYTHONPATH=str(tmp_path),
    )
    assert code == 1
    verdicts = {
        (entry["dtype"], entry["operator"]): entry["verdict"]
        for entry in document["deep"]["operators"]
    }
    assert len(verdicts) == 45
    wrong = {key: verdict for key, verdict in verdicts.items() if verdict != "right"}
    assert wrong == {
        ("float32", "softmax"): "wrong",
        ("float16", "softmax"): "wrong",
        ("bfloat16", "softmax"): "less-exact",
        ("float16", "silu"): "not-a-number",
        ("float16", "group_norm"): "died",
    }
    assert "softmax wrong" in found(document, "deep-cpu-float32")
    assert "group_norm crashes the process" in found(document, "deep-cpu-float16")
    assert "failed assertion" in found(document, "deep-cpu-float16")


@needs_standin
def test_deep_finds_the_stand_ins_wrong_operator(sdbench: Sdbench) -> None:
    fault = "wrong-op:op=softmax:scale=1.05,sliced-nan"
    code, document = sdbench.json(
        *("doctor", "--deep", "--model", "synthetic/tiny"),
        **standin(SDBENCH_STANDIN_FAULT=fault),
    )
    assert code == 1 and document["simulated"] is True
    assert document["deep"]["device"] == "mps"
    assert "softmax wrong" in found(document, "deep-mps-float32")
    assert "baddbmm beta=0 gives not-a-number" in found(document, "deep-mps-float32")
    assert "matmul" not in found(document, "deep-mps-float32")
    probes = {entry["name"]: entry for entry in document["deep"]["probes"]["results"]}
    assert probes.keys() == PROBES.keys() and document["deep"]["probes"]["ended"] is None
    shown = {name for name, entry in probes.items() if entry["verdict"] != "absent"}
    assert shown == {"baddbmm-nan"}
    assert statuses(document)["deep-mps-known-faults"] == "fail"
    assert "Attention slicing gives black images (NaN)" in found(document, "deep-mps-known-faults")


@needs_standin
@pytest.mark.long
def test_deep_outlives_a_known_fault_that_kills(sdbench: Sdbench) -> None:
    """A run of its own: here the child of the probes has to die."""
    fault = "at-op:op=aten::convolution:effect=die:when=noncontiguous:elements=500"
    code, document = sdbench.json(
        *("doctor", "--deep", "--model", "synthetic/tiny"),
        **standin(SDBENCH_STANDIN_FAULT=fault),
    )
    probes = {entry["name"]: entry for entry in document["deep"]["probes"]["results"]}
    assert probes.keys() == PROBES.keys()
    died = {name for name, entry in probes.items() if entry["verdict"] == "died"}
    assert "conv-expanded-kernel-abort" in died
    assert probes["silu-strides"]["verdict"] == "absent"
    assert code == 1


def test_run_measures_in_another_python(sdbench: Sdbench) -> None:
    config = sdbench.config('[[case]]\nresolution = "64x64"\n')
    code, document = sdbench.json("run", config, "--python", sys.executable)
    assert code == 0 and document["outcomes"] == {"ok": 1}


def test_doctor_leaves_the_folder_as_it_was(sdbench: Sdbench) -> None:
    sdbench("doctor", "--model", "synthetic/tiny")
    assert list(sdbench.folder.iterdir()) == []
