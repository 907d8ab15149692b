"""``--deep`` in the parent: children that die, and verdicts from what they said."""

import json
import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from doctor_factories import changed, cpu_box, mac, recorded

from sdbench.doctor import deep
from sdbench.doctor.deep import (
    DeepResult,
    as_json,
    cannot_be_deep,
    deep_checks,
    examine_device,
)
from sdbench.doctor.facts import Check, DoctorFacts, TorchFacts, TorchFailed
from sdbench.process.doctor_events import DeviceRate, OperatorResult

Stub = Callable[[str], DoctorFacts]

_STUB = """\
#!{python} -IS
import json, os, sys, time
fd = int(sys.argv[sys.argv.index("--events") + 1])
skip = sys.argv[sys.argv.index("--skip") + 1:]
def say(event, **fields):
    os.write(fd, json.dumps({{"event": event, **fields}}).encode() + b"\\n")
def operator(name, verdict="right"):
    if "float32/" + name not in skip:
        say("trying", key="float32/" + name)
        if verdict == "dies":
            sys.stderr.write("failed assertion in " + name); sys.stderr.flush(); os.abort()
        if verdict == "hangs":
            time.sleep(600)
        say("operator", dtype="float32", operator=name, verdict=verdict)
{body}
"""


@pytest.fixture
def stub(tmp_path: Path) -> Stub:
    """Facts of an interpreter whose operators end as ``body`` says."""

    def made(body: str) -> DoctorFacts:
        path = tmp_path / "python"
        path.write_text(_STUB.format(python=sys.executable, body=textwrap.dedent(body)))
        path.chmod(0o755)
        return changed(cpu_box(), path=str(path), environment=dict(os.environ))

    return made


def verdicts_of(result: DeepResult) -> dict[str, str]:
    return {entry.operator: entry.verdict for entry in result.operators}


def test_operators_that_kill_the_process_cost_one_row_each(stub: Stub) -> None:
    tried: list[str] = []
    result = examine_device(
        stub(
            """
            operator("matmul"); operator("softmax", "dies"); operator("conv2d", "wrong")
            operator("gelu", "dies"); operator("silu"); say("done")
            """
        ),
        tried.append,
    )
    assert verdicts_of(result) == {
        "matmul": "right",
        "softmax": "died",
        "conv2d": "wrong",
        "gelu": "died",
        "silu": "right",
    }
    assert result.ended is None
    assert tried.count("matmul in float32") == 1
    died = next(entry for entry in result.operators if entry.operator == "softmax")
    assert died.message == "the process died with SIGABRT: failed assertion in softmax"


def test_operator_that_hangs_is_left(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deep, "SILENCE_S", 3.0)
    result = examine_device(stub("operator('a', 'hangs'); operator('b'); say('done')"))
    assert verdicts_of(result) == {"a": "hung", "b": "right"}


def test_ceiling_that_kills_the_process_is_left_out(stub: Stub) -> None:
    result = examine_device(
        stub(
            """
            operator("matmul")
            if "float32/matmul ceiling" not in skip:
                say("trying", key="float32/matmul ceiling"); os.abort()
            say("trying", key="float32/bandwidth ceiling")
            say("ceiling", dtype="float32", bytes_per_s=5e9)
            say("done")
            """
        )
    )
    assert verdicts_of(result) == {"matmul": "right"}
    assert result.ceilings == [DeviceRate(dtype="float32", bytes_per_s=5e9)]
    assert result.ended is None


def test_child_that_does_not_begin_says_why(stub: Stub) -> None:
    result = examine_device(stub("say('failed', type='ImportError', message='no torch')"))
    assert result.ended == "ImportError: no torch"
    checks = [*deep_checks(result)]
    assert [(check.id, check.status) for check in checks] == [("deep-cpu", "unknown")]


def test_device_on_which_everything_dies_is_given_up(stub: Stub) -> None:
    result = examine_device(stub("for i in range(100): operator(str(i), 'dies')"))
    assert result.ended is not None and "SIGABRT" in result.ended
    assert 5 < len(result.operators) < 20
    assert {check.status for check in deep_checks(result)} == {"fail"}


def result_of(kind: Any, *entries: tuple[str, str, Any]) -> list[Check]:
    operators = [
        OperatorResult(dtype=dtype, operator=name, verdict=verdict, rel_l2=0.05, tolerance=1e-3)
        for dtype, name, verdict in entries
    ]
    return [*deep_checks(DeepResult(device=kind, operators=operators, ceilings=[]))]


@pytest.mark.parametrize(
    ("kind", "dtype", "verdict", "status"),
    [
        ("mps", "float32", "right", "pass"),
        ("mps", "float16", "less-exact", "warn"),
        ("mps", "float32", "wrong", "fail"),
        ("mps", "float16", "missing", "fail"),
        ("mps", "float16", "not-a-number", "fail"),
        ("mps", "bfloat16", "wrong", "warn"),  # no default anywhere
        ("cuda", "float16", "died", "fail"),
        ("cpu", "float32", "raised", "fail"),
        ("cpu", "float16", "missing", "pass"),  # pipelines run in float32 there
        ("cpu", "float16", "wrong", "warn"),
    ],
)
def test_verdict_of_a_dtype(kind: str, dtype: str, verdict: str, status: str) -> None:
    (check,) = result_of(kind, (dtype, "matmul", "right"), (dtype, "softmax", verdict))
    assert (check.id, check.status) == (f"deep-{kind}-{dtype}", status)
    assert (check.remedy is None) == (status == "pass")
    assert ("softmax" in check.found) == (verdict != "right")


def test_one_row_for_each_dtype() -> None:
    checks = result_of("mps", ("float32", "gelu", "right"), ("float16", "gelu", "wrong"))
    assert [check.status for check in checks] == ["pass", "fail"]
    assert "gelu wrong (error 5.0e-02, tolerance 1.0e-03)" in checks[1].found


def test_ceilings_in_words() -> None:
    ceilings = [
        DeviceRate(dtype="float16", flops_per_s=7.3e12),
        DeviceRate(dtype="", bytes_per_s=9e10),
    ]
    result = DeepResult(device="mps", operators=[], ceilings=ceilings)
    (check,) = deep_checks(result)
    assert check.found == "matmul float16 7.3 TFLOP/s, memory 90 GB/s"
    assert json.dumps(as_json(result)).count("event") == 0


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (recorded(mac()), "a recording cannot compute anything"),
        (mac(torch=TorchFailed(reason="dead")), "torch offers no working device"),
        (
            mac(torch=TorchFacts(version="2.1", devices={}, threads=1, import_s=1.0)),
            "torch offers no working device",
        ),
        (mac(), None),
    ],
)
def test_where_nothing_can_be_computed(facts: DoctorFacts, reason: str | None) -> None:
    check = cannot_be_deep(facts)
    assert (check is None) == (reason is None)
    if check is not None and reason is not None:
        assert check.status == "unknown" and reason in check.found
