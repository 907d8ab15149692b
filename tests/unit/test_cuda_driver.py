"""The CUDA device layer over a stand-in for torch, and the driver's version."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from sdbench.worker.devices import DeviceUnavailableError, cuda, open_device

CLOSED = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\n"
)
OPEN = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  "
    "(builder@host)  Tue Sep 23 10:11:12 UTC 2025\n"
)
COMPILER = "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n"


@pytest.mark.parametrize(
    ("text", "version"), [(CLOSED, "535.129.03"), (OPEN, "580.95.05"), ("", None), ("?\n", None)]
)
def test_driver_version(
    text: str, version: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "version"
    monkeypatch.setattr(cuda, "_DRIVER_FILE", str(file))
    assert cuda._driver_version() is None, "no such driver"
    file.write_text(text + COMPILER)
    assert cuda._driver_version() == version


class Tf32:
    """A backend's switch; one that a newer interface has set raises when it is read."""

    def __init__(self, allowed: bool | None) -> None:
        self._allowed = allowed

    @property
    def allow_tf32(self) -> bool:
        if self._allowed is None:
            raise RuntimeError("mix of the legacy and new APIs to set the TF32 status")
        return self._allowed


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> Any:
    """As much of torch on a machine with an H100 as the layer uses; ``called`` is what it did."""
    called: list[str] = []
    properties = SimpleNamespace(
        name="H100", multi_processor_count=132, total_memory=80_000, major=9, minor=0
    )
    fake: Any = ModuleType("torch")
    fake.__version__, fake.called = "2.6.0", called
    fake.version = SimpleNamespace(cuda="12.4", hip=None)
    fake.backends = SimpleNamespace(cudnn=Tf32(True), cuda=SimpleNamespace(matmul=Tf32(False)))
    fake.cuda = SimpleNamespace(
        is_available=lambda: True,
        device_count=lambda: 4,
        is_bf16_supported=lambda: True,
        synchronize=lambda: called.append("synchronize"),
        empty_cache=lambda: called.append("empty_cache"),
        reset_peak_memory_stats=lambda: called.append("reset_peak"),
        mem_get_info=lambda: (30_000, 80_000),
        memory_allocated=lambda: 10_000,
        max_memory_allocated=lambda: 40_000,
        get_device_properties=lambda index: properties,
    )
    monkeypatch.setitem(sys.modules, "torch", fake)
    return fake


def test_device_says_what_torch_says(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_DRIVER_FILE", "/nowhere/version")
    device = cuda.CUDA()
    assert device.why_unavailable() is None
    memory = device.memory()
    assert (memory.allocated_bytes, memory.driver_bytes) == (10_000, 50_000)
    assert memory.recommended_max_bytes == 80_000
    assert device.peak_bytes() == (40_000, "cuda-allocated")
    facts = device.facts()
    assert (facts["name"], facts["capability"], facts["cuda"]) == ("H100", "9.0", "12.4")
    assert facts["devices"] == 4
    assert (facts["tf32_convolutions"], facts["tf32_matrix_products"]) == (True, False)
    for work in (device.synchronize, device.reset_peak, device.empty_cache):
        work()
    assert torch.called == ["synchronize", "reset_peak", "empty_cache"]


def test_tf32_that_torch_does_not_tell_is_unknown_and_amd_has_none(torch: Any) -> None:
    torch.backends.cudnn = Tf32(None)
    assert cuda.CUDA().facts()["tf32_convolutions"] is None
    torch.version.cuda, torch.version.hip = None, "6.2"
    facts = cuda.CUDA().facts()
    assert (facts["tf32_convolutions"], facts["tf32_matrix_products"]) == (False, False)
    assert cuda.CUDA().why_unavailable() is None


@pytest.mark.parametrize("has_it", [True, False])
def test_bfloat16_is_offered_where_the_gpu_has_it(torch: Any, has_it: bool) -> None:
    torch.cuda.is_bf16_supported = lambda: has_it
    assert ("bfloat16" in cuda.CUDA().supported_dtypes()) is has_it


def test_device_that_is_not_there_says_what_is_missing(torch: Any) -> None:
    torch.cuda.is_available = lambda: False
    with pytest.raises(DeviceUnavailableError, match="check the driver with nvidia-smi"):
        open_device("cuda")
    torch.version.cuda = None
    with pytest.raises(DeviceUnavailableError, match=r"torch 2\.6\.0 is built without CUDA"):
        open_device("cuda")
