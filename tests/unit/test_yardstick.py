"""The fixed work that every process times: what it is, when it is read, what a failure does."""

import ast
import contextlib
import hashlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sdbench.worker import job as worker_job
from sdbench.worker import yardstick
from sdbench.worker.devices.cpu import CPU

# Of the work itself. Who changes it counts VERSION up and adds a line here.
WORK = {1: "a615b477f15e31dd"}


def work_digest() -> str:
    """Of the sizes and the operators, whatever the comments say."""
    tree = ast.parse(Path(yardstick.__file__).read_text(encoding="utf-8"))
    parts = [
        ast.dump(node)
        for node in tree.body
        if (isinstance(node, ast.FunctionDef) and node.name == "_unit")
        or (isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "_SIZES")
        or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_HEAD_WIDTH")
    ]
    assert len(parts) == 3
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="ast.dump differs between releases")
def test_work_of_a_version_never_changes() -> None:
    assert WORK[yardstick.VERSION] == work_digest()


class FakeDevice(CPU):
    """Counts how often it is waited for."""

    def __init__(self, error: Exception | None = None) -> None:
        self.waits = 0
        self._error = error

    def synchronize(self) -> None:
        self.waits += 1
        if self._error is not None:
            raise self._error


def test_reading_is_a_median_of_timings_each_closed_by_a_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device, clock = FakeDevice(), [0.0]
    took = iter([0.19, 0.020, 0.030, 0.025, 0.5, 0.022])

    def unit() -> None:
        clock[0] += next(took)

    fake(monkeypatch, unit, clock)
    # Loading used up the budget.
    assert yardstick._reading_s(device, None) == pytest.approx(0.020)
    assert device.waits == 4
    took = iter([0.001, *[0.020, 0.030, 0.025, 0.5, 0.022]])
    assert yardstick._reading_s(device, None) == pytest.approx(0.0275)


def test_unit_that_takes_longer_than_a_reading_is_made_once_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, calls = [0.0], [0]

    def unit() -> None:
        calls[0] += 1
        clock[0] += 0.3

    fake(monkeypatch, unit, clock)
    assert yardstick._reading_s(FakeDevice(), None) == pytest.approx(0.3)
    assert calls[0] == 1
    gpu = FakeDevice()
    monkeypatch.setattr(gpu, "kind", "cuda")  # whose first unit loads kernels
    assert yardstick._reading_s(gpu, None) == pytest.approx(0.3)
    assert calls[0] == 3


def test_unit_too_short_for_the_clock_is_timed_many_times_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, calls = [0.0], [0]

    def unit() -> None:
        calls[0] += 1
        clock[0] += 0.0001

    fake(monkeypatch, unit, clock)
    assert yardstick._reading_s(FakeDevice(), None) == pytest.approx(0.0001)
    assert calls[0] == 2 + 100 * yardstick._MOST_TIMINGS
    assert clock[0] < 1.5 * yardstick._BUDGET_S


def fake(monkeypatch: pytest.MonkeyPatch, unit: Any, clock: list[float]) -> None:
    """Work that takes as long as it says, and no torch."""
    monkeypatch.setattr(yardstick, "_unit", lambda kind, dtype: unit)
    monkeypatch.setattr("sdbench.worker.yardstick.time.perf_counter", lambda: clock[0])
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(no_grad=_Nothing))


class _Nothing:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


def test_failure_is_a_reason_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(device: object, dtype: object) -> float:
        raise NotImplementedError('"slow_conv2d_cpu" not implemented for Half')

    monkeypatch.setattr(yardstick, "_reading_s", fail)
    monkeypatch.setattr(yardstick, "torch_dtype", lambda name: name)
    read = yardstick.Yardstick(FakeDevice(), "float16")
    read.read("before")
    assert read.record["before_s"] is None
    assert read.record["reason"].startswith('NotImplementedError: "slow_conv2d_cpu"')


def test_error_that_a_pass_left_on_the_device_is_not_swallowed() -> None:
    device = FakeDevice(RuntimeError("late"))
    with pytest.raises(RuntimeError, match="late"):
        yardstick.Yardstick(device, "float32").read("after")


@pytest.mark.parametrize(
    ("asked", "passes", "expected"),
    [
        (True, 3, ["pass 1", "before", "pass 2", "pass 3", "after", "yardstick"]),
        (True, 2, ["pass 1", "before", "pass 2", "after", "yardstick"]),
        (True, 1, ["pass 1"]),  # no steady time, so nobody would use it
        (False, 3, ["pass 1", "pass 2", "pass 3"]),
    ],
)
def test_it_is_read_after_the_first_and_the_last_pass_and_never_before(
    asked: bool, passes: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    class Passes:
        def __init__(self, *_: object) -> None: ...

        def prime(self) -> dict[str, Any]:
            done.append("prime")
            return {}

        def measured(self, index: int) -> dict[str, Any]:
            done.append(f"pass {index}")
            return {"duration_s": 1.0, "images": []}

        def profile(self) -> dict[str, Any]:
            done.append("profile")
            return {}

    class Read:
        def __init__(self, *_: object) -> None:
            self.record: dict[str, Any] = {}

        def read(self, when: str) -> None:
            done.append(when)

    def send(kind: str, **_: object) -> None:
        if kind == "yardstick":
            done.append(kind)

    channel: Any = SimpleNamespace(send=send)
    monkeypatch.setattr(worker_job, "_open", lambda *_, **__: FakeDevice())

    class Settings:
        call = contextlib.nullcontext()

        def __init__(self, *_: Any) -> None:
            pass

        def record(self, profile: object) -> dict[str, Any]:
            return {}

    stand_ins: dict[str, dict[str, Any]] = {
        "pipelines": {"load": lambda *_: None, "Applied": Settings},
        "passes": {"Passes": Passes},
        "process_group": {"Leader": None, "is_split": lambda _: False},
        "yardstick": {"Yardstick": Read},
    }
    for module, names in stand_ins.items():
        name = f"sdbench.worker.{module}"
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(**names))
    job: dict[str, Any] = {
        "case": {"warmup": True, "dtype": "float32"},
        "passes": passes,
        "profile": True,
        "yardstick": asked,
    }
    job["count_flops"] = False
    worker_job._run_phases(job, channel, worker_job._Phases(channel))
    assert done == ["prime", *expected, "profile"]
