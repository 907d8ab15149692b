"""The mps device takes only paths whose names exist in each torch release.

The names come from the macOS wheels (tests/data/mps_api.json). For each release a module is built
that has those names and no others; the device layer runs against it, so a name used without asking
whether it is there fails here and not on somebody's Mac.
"""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sdbench.worker.devices.base import Device, DeviceUnavailableError
from sdbench.worker.devices.mps import MPS

TABLE: dict[str, dict[str, list[str] | None]] = json.loads(
    (Path(__file__).parent.parent / "data" / "mps_api.json").read_text()
)["api"]
RELEASES = list(TABLE)
ALLOCATED, DRIVER, RECOMMENDED, PEAK = 1000, 2000, 11_000, 1500


def _number(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split("."))


class FakeTensor:
    """Enough of a tensor for the device's proof."""

    def __init__(self, values: list[float], copies: list[int]) -> None:
        self.values = values
        self.copies = copies

    def __mul__(self, factor: float) -> "FakeTensor":
        return FakeTensor([value * factor for value in self.values], self.copies)

    def sum(self) -> "FakeTensor":
        return FakeTensor([sum(self.values)], self.copies)

    def cpu(self) -> "FakeTensor":
        self.copies.append(len(self.values))
        return self

    def __float__(self) -> float:
        return self.values[0]


class FakeTorch:
    """``torch`` of one release: its mps names, and what every release has."""

    def __init__(self, release: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.copies: list[int] = []
        self.dtypes: list[str] = []
        names = TABLE[release]
        answers: dict[str, Any] = {
            "is_built": True,
            "is_available": True,
            "current_allocated_memory": ALLOCATED,
            "driver_allocated_memory": DRIVER,
            "recommended_max_memory": RECOMMENDED,
            "get_name": "Apple M1",
            "get_core_count": 8,
            "max_memory_allocated": PEAK,
        }
        torch = ModuleType("torch")
        torch.__path__ = []
        modules = {"torch": torch}
        for module_name in ("torch.mps", "torch.backends.mps", "torch.accelerator"):
            found = names[module_name]
            if found is None:
                continue
            module = ModuleType(module_name)
            for name in found:
                setattr(module, name, self._function(module_name, name, answers, release))
            modules[module_name] = module
        backends = ModuleType("torch.backends")
        if "torch.backends.mps" in modules:
            backends.mps = modules["torch.backends.mps"]  # type: ignore[attr-defined]
        attributes: dict[str, Any] = {
            "backends": backends,
            "__version__": release,
            "bfloat16": "bfloat16",
            "ones": self._ones,
        }
        if "torch.accelerator" in modules:
            attributes["accelerator"] = modules["torch.accelerator"]
        # torch 2.0 loads torch.mps only when it is imported by name.
        if "torch.mps" in modules and _number(release) >= (2, 1):
            attributes["mps"] = modules["torch.mps"]
        for name, value in attributes.items():
            setattr(torch, name, value)
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)

    def _function(self, module: str, name: str, answers: dict[str, Any], release: str) -> Any:
        def call(*arguments: object) -> Any:
            self.calls.append(f"{module}.{name}")
            old = (2, 9) <= _number(release) < (2, 13)
            if module == "torch.accelerator" and old and "memory" in name:
                raise RuntimeError("Allocator for mps is not a DeviceAllocator.")
            return answers.get(name)

        return call

    def _ones(self, count: int, device: str = "cpu", dtype: str = "float32") -> FakeTensor:
        assert device == "mps"
        self.dtypes.append(dtype)
        return FakeTensor([1.0] * count, self.copies)


def use_everything(device: Device) -> None:
    """Every method of the interface, as a worker calls them."""
    device.prove()
    device.synchronize()
    device.reset_peak()
    device.memory()
    device.peak_bytes()
    device.empty_cache()
    device.facts()
    device.supported_dtypes()


@pytest.mark.parametrize("release", RELEASES)
def test_only_names_of_the_release_are_used(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = FakeTorch(release, monkeypatch)
    use_everything(MPS())
    assert "float64" not in torch.dtypes


@pytest.mark.parametrize("release", RELEASES)
def test_synchronise_waits_by_the_best_means_of_the_release(
    release: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = FakeTorch(release, monkeypatch)
    device = MPS()
    device.synchronize()
    if _number(release) < (2, 0):
        assert torch.copies == [1], "one element copied to the host is the only barrier"
    else:
        assert torch.calls == ["torch.mps.synchronize"] and not torch.copies


@pytest.mark.parametrize("release", RELEASES)
def test_counters_are_there_or_say_why_not(release: str, monkeypatch: pytest.MonkeyPatch) -> None:
    FakeTorch(release, monkeypatch)
    device = MPS()
    reading, (peak, source) = device.memory(), device.peak_bytes()
    number = _number(release)
    if number < (2, 0):
        assert reading.allocated_bytes is None and release in (reading.reason or "")
    else:
        assert (reading.allocated_bytes, reading.driver_bytes) == (ALLOCATED, DRIVER)
    assert reading.recommended_max_bytes == (RECOMMENDED if number >= (2, 5) else None)
    if number >= (2, 13):
        assert (peak, source) == (PEAK, "mps-allocated")
    else:
        assert peak is None and "2.13" in (source or "")
    facts = device.facts()
    assert facts["gpu_cores"] == (8 if number >= (2, 9) else None)


def test_a_name_newer_than_its_release_fails_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof that this test can fail: a layer that does not ask before it uses a name."""

    class Careless(MPS):
        def memory(self) -> Any:
            return self._mps.recommended_max_memory()

    FakeTorch("2.5.1", monkeypatch)
    use_everything(Careless())
    FakeTorch("2.4.1", monkeypatch)
    with pytest.raises(AttributeError):
        use_everything(Careless())


def test_virtual_gpu_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeTorch("2.13.0", monkeypatch)
    backend = sys.modules["torch.backends.mps"]
    monkeypatch.setattr(backend, "get_name", lambda: "Apple Paravirtual device")
    assert MPS().facts()["virtualised"] is True


def test_device_that_fails_its_first_operation_is_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    FakeTorch("2.13.0", monkeypatch)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Failed to create a metal device")

    monkeypatch.setattr(sys.modules["torch"], "ones", fail)
    with pytest.raises(DeviceUnavailableError, match="first operation on it failed: Failed to"):
        MPS().prove()
