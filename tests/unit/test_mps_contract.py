"""The mps device takes only paths whose names exist in each torch release.

The names come from the macOS wheels (tests/data/mps_api.json). For each release a module is built
that has those names and no others; the device layer runs against it, so a name used without asking
whether it is there fails here and not on somebody's Mac.
"""

import ctypes
import json
import platform
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sdbench.worker.devices.base import Device, DeviceUnavailableError
from sdbench.worker.devices.mps import MPS

_DATA = json.loads((Path(__file__).parent.parent / "data" / "mps_api.json").read_text())
TABLE: dict[str, dict[str, list[str] | None]] = _DATA["api"]
MIN_MACOS: dict[str, str] = _DATA["min_macos"]
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
        for name in [one for one in sys.modules if one.startswith("torch.")]:
            monkeypatch.delitem(sys.modules, name)  # another test may have imported the real one
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
    assert facts["recommended_max_bytes"] == reading.recommended_max_bytes


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
    assert MPS().facts()["virtualised"] is False
    backend = sys.modules["torch.backends.mps"]
    monkeypatch.setattr(backend, "get_name", lambda: "Apple Paravirtual device")
    assert MPS().facts()["virtualised"] is True


class FakeLibrary:
    """The C library of a macOS that says whether it runs in a virtual machine."""

    def __init__(self, present: int | None, version: bytes = b"") -> None:
        self.present = present
        self.version = version

    def sysctlbyname(self, name: bytes, value: Any, size: Any, *rest: object) -> int:
        if name == b"kern.osproductversion":
            value.value = self.version
            return 0 if self.version else -1
        assert name == b"kern.hv_vmm_present" and size._obj.value == 4
        if self.present is None:
            return -1
        value._obj.value = self.present
        return 0


@pytest.mark.parametrize(("present", "expected"), [(1, True), (0, False), (None, None)])
def test_torch_that_does_not_name_the_gpu_has_macos_asked(
    present: int | None, expected: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeTorch("2.8.0", monkeypatch)
    assert MPS().facts()["virtualised"] is None, "not a Mac, and torch does not tell"
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: FakeLibrary(present))
    assert MPS().facts()["virtualised"] is expected


@pytest.mark.parametrize(
    ("told", "kernel", "expected"),
    [
        ("16.0", b"26.5.2", "26.5.2"),  # a Python that was built before macOS 26
        ("10.16", b"11.7", "11.7"),
        ("28.0", b"28.0", "28.0"),
        ("15.6", b"", "15.6"),
        ("15.6", b"nonsense", "15.6"),
        ("", b"", None),
    ],
)
def test_the_true_version_of_macos_is_recorded(
    told: str, kernel: bytes, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeTorch("2.13.0", monkeypatch)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "mac_ver", lambda: (told, ("", "", ""), ""))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: FakeLibrary(0, kernel))
    assert MPS().facts()["macos"] == expected


def fail_first_operation(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(text)

    monkeypatch.setattr(sys.modules["torch"], "ones", fail)


def test_device_that_fails_its_first_operation_is_unavailable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    FakeTorch("2.13.0", monkeypatch)
    fail_first_operation(monkeypatch, "Failed to create a metal device")
    with pytest.raises(DeviceUnavailableError, match="first operation on it failed: Failed to"):
        MPS().prove()


def test_virtual_machine_is_named_and_not_told_to_lift_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What torch says on hosted build machines (pytorch#111449)."""
    FakeTorch("2.13.0", monkeypatch)
    backend = sys.modules["torch.backends.mps"]
    monkeypatch.setattr(backend, "get_name", lambda: "Apple Paravirtual device")
    fail_first_operation(
        monkeypatch,
        "MPS backend out of memory (MPS allocated: 0 bytes, other allocations: 0 bytes, max "
        "allowed: 1.70 GB). Tried to allocate 0 bytes on private pool. Use "
        "PYTORCH_MPS_HIGH_WATERMARK_RATIO=0.0 to disable upper limit for memory allocations (may "
        "cause system failure).",
    )
    with pytest.raises(DeviceUnavailableError) as caught:
        MPS().prove()
    said = str(caught.value)
    assert "0 bytes on private pool. This virtual machine has no GPU memory" in said
    assert "macos-15" in said and "--device cpu" in said and "WATERMARK" not in said


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            "MPS backend out of memory (MPS allocated: 1024.00 MB). Tried to allocate 256 bytes",
            "has no GPU memory",
        ),
        (
            'Failed to created pipeline state object: "unsupported deferred-static-alloca-size"',
            "cannot build torch's Metal 4 programs: use a torch before 2.14",
        ),
        (
            "MPS backend out of memory (MPS allocated: 3.00 GB). Tried to allocate 4.00 GB",
            "virtual",
        ),
        ("Internal Error (0000000e:Internal Error)", "and it does not compute"),
    ],
)
def test_a_first_operation_that_fails_on_a_virtual_mac_is_explained(
    monkeypatch: pytest.MonkeyPatch, error: str, words: str
) -> None:
    """pytorch#196582, actions/runner-images#11899."""
    FakeTorch("2.13.0", monkeypatch)
    backend = sys.modules["torch.backends.mps"]
    monkeypatch.setattr(backend, "get_name", lambda: "Apple Paravirtual device")
    fail_first_operation(monkeypatch, error)
    with pytest.raises(DeviceUnavailableError) as caught:
        MPS().prove()
    assert words in str(caught.value) and "macos-15" in str(caught.value)
    monkeypatch.setattr(backend, "get_name", lambda: "Apple M1")
    with pytest.raises(DeviceUnavailableError) as caught:
        MPS().prove()
    assert "virtual" not in str(caught.value)


def test_device_that_computes_wrongly_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeTorch("2.13.0", monkeypatch)
    monkeypatch.setattr(FakeTensor, "sum", lambda self: self)
    with pytest.raises(DeviceUnavailableError, match=r"gave 2.0 instead of 16.0"):
        MPS().prove()


@pytest.mark.parametrize(("release", "needed"), MIN_MACOS.items())
def test_system_too_old_is_told_which_macos_is_needed(
    release: str, needed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeTorch(release, monkeypatch)
    monkeypatch.setattr(sys.modules["torch.backends.mps"], "is_available", lambda: False)
    monkeypatch.setattr(platform, "mac_ver", lambda: ("12.1", ("", "", ""), "arm64"))
    reason = MPS().why_unavailable() or ""
    assert f"needs macOS {needed} or later" in reason and "here: 12.1" in reason


def test_torch_without_mps_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeTorch("2.13.0", monkeypatch)
    monkeypatch.setattr(sys.modules["torch.backends.mps"], "is_built", lambda: False)
    assert "use --device cuda or --device cpu" in (MPS().why_unavailable() or "")
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert "install the one from PyPI" in (MPS().why_unavailable() or "")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert "install an arm64 Python" in (MPS().why_unavailable() or "")
