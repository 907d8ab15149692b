"""Real runs on the stand-in device, diagnosed: each fault under its own code, health as health."""

from typing import Any

from conftest import Sdbench
from test_mps_standin import _arms as arms
from test_mps_standin import _standin as standin
from test_mps_standin import pytestmark

__all__ = ["pytestmark"]  # the same needs as the stand-in's own tests

BATCH = """
[[case]]
resolution = "64x64"
batching = "batch"
dtype = "float32"
"""
LOOP = """
[[case]]
resolution = "64x64"
dtype = "float32"
"""


def diagnosed(sdbench: Sdbench, config: str, *options: str) -> tuple[int, dict[str, Any]]:
    run = sdbench.json(
        "run", sdbench.config(config, references=True), "--device", "mps", *options, **standin()
    )[1]
    return sdbench.json("diagnose", run["run_id"])


def test_healthy_run_is_called_healthy(sdbench: Sdbench) -> None:
    # Without telemetry, so that other load on the machine of the tests is nothing to find.
    quiet = '[[arm]]\nname = "current"\ntelemetry = false\n'
    code, document = diagnosed(sdbench, LOOP + BATCH + quiet)
    assert code == 0
    above_info = [entry for entry in document["findings"] if entry["severity"] != "info"]
    assert above_info == []
    assert document["simulated"] is True and document["healthy"] is True
    claims = {entry["id"]: entry["verdict"] for entry in document["claims"]}
    assert (claims["a"], claims["f"]) == ("confirmed", "refuted")
    assert document["recommendation"]["first_look"] is True


def test_each_fault_is_found_under_its_code(sdbench: Sdbench) -> None:
    faults = {
        "batch-noise": ("batch-noise", "batch-mismatch"),
        "first-pass": ("first-pass-differs", "first-pass-drift"),
        "nan": ("at-op:op=aten::*mm:effect=nan:passes=1", "nan-output"),
        "norm": ("wrong-op:op=layer_norm:scale=1.05", "cpu-mismatch"),
        "abort": ("batch-abort", "batch-crash"),
        "growth": ("memory-growth:bytes=5000000", "memory-growth"),
    }
    tables = {name: {"SDBENCH_STANDIN_FAULT": fault} for name, (fault, _) in faults.items()}
    code, document = diagnosed(sdbench, BATCH + arms(**tables))
    assert code == 1
    found: dict[str, set[str]] = {name: set() for name in faults}
    for entry in document["findings"]:
        if entry["severity"] != "info":
            found[entry["evidence"]["arm"]].add(entry["code"])
    assert found == {name: {code} for name, (_, code) in faults.items()}
