"""GPUs: NVML and Apple's energy monitor, both behind modules that are stood in for here."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from sdbench.machine.facts import Gpu, Unavailable, all_unavailable
from sdbench.machine.gpu.apple_energy import AppleEnergy, open_apple_energy
from sdbench.machine.gpu.nvml import ListedGpu, NvmlGpu, list_gpus, open_nvml, throttle_names
from sdbench.machine.gpu.open import open_gpu
from sdbench.machine.gpu.reader import NoGpu


class FakeNvml(ModuleType):
    """What sdbench uses of ``pynvml``; ``broken`` functions are not supported by the GPU."""

    NVML_TEMPERATURE_GPU = 0
    NVML_DEVICE_MIG_ENABLE = 1

    class NVMLError(Exception):
        """As in pynvml."""

    def __init__(self, names: list[str | bytes], broken: set[str] | None = None) -> None:
        super().__init__("pynvml")
        self.gpus = names
        self.broken = broken or set()
        self.running = 0

    def _check(self, function: str) -> None:
        if function in self.broken:
            raise self.NVMLError("Not Supported")

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's own names
        self._check("init")
        self.running += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.running -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        if index >= len(self.gpus):
            raise self.NVMLError("Invalid Argument")
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:  # noqa: N802
        return int(uuid[-1])

    def nvmlDeviceGetName(self, gpu: int) -> str | bytes:  # noqa: N802
        return self.gpus[gpu]

    def nvmlDeviceGetUUID(self, gpu: int) -> str:  # noqa: N802
        return f"GPU-{gpu}"

    def nvmlDeviceGetPciInfo(self, gpu: int) -> Any:  # noqa: N802
        return SimpleNamespace(busId=f"0000000{gpu}:AB:00.0".encode())

    def nvmlDeviceGetMigMode(self, gpu: int) -> list[int]:  # noqa: N802
        self._check("mig")
        return [int(gpu == 1), 0]

    def nvmlDeviceGetPowerUsage(self, gpu: int) -> int:  # noqa: N802
        self._check("power")
        return 123_456 + gpu

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: int) -> int:  # noqa: N802
        self._check("energy")
        return 5_000_250

    def nvmlDeviceGetTemperature(self, gpu: int, sensor: int) -> int:  # noqa: N802
        assert sensor == self.NVML_TEMPERATURE_GPU
        return 61 + gpu

    def nvmlDeviceGetMemoryInfo(self, gpu: int) -> Any:  # noqa: N802
        self._check("memory")
        return SimpleNamespace(used=5 << 30, total=140 << 30)

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, gpu: int) -> int:  # noqa: N802
        return 0x4 | 0x20


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    path = tmp_path / "version"
    path.write_text("NVRM version: ...")
    return path


def opened(monkeypatch: pytest.MonkeyPatch, nvml: FakeNvml, **environ: str) -> NvmlGpu | NoGpu:
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    found = open_nvml(environ)
    assert isinstance(found, (NvmlGpu, NoGpu))
    return found


def test_nvml_tells_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml(["NVIDIA H200", b"NVIDIA A100"])
    reader = opened(monkeypatch, nvml)
    assert reader.names() == ["NVIDIA H200", "NVIDIA A100"]
    assert reader.read() == Gpu(
        power_w=123.456,
        temperature_c=61.0,
        memory_used_bytes=5 << 30,
        memory_total_bytes=140 << 30,
        throttled=["power limit", "heat (software)"],
    )
    reader.close()
    assert nvml.running == 0


def test_gpus_are_listed_with_what_tells_them_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml(["NVIDIA H200", b"NVIDIA A100"])
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert list_gpus({}) == [
        ListedGpu("NVIDIA H200", "GPU-0", "0000:ab:00.0", 140 << 30),
        ListedGpu("NVIDIA A100", "GPU-1", "0001:ab:00.0", 140 << 30, divided=True),
    ]
    nvml.broken = {"mig"}  # as of a GPU that cannot be divided
    found = list_gpus({"CUDA_VISIBLE_DEVICES": "1"})
    assert found == [ListedGpu("NVIDIA A100", "GPU-1", "0001:ab:00.0", 140 << 30)]
    assert nvml.running == 0
    nvml.broken = {"memory"}
    assert list_gpus({}) == Unavailable("NVML: Not Supported")


def test_gpu_of_a_pinned_worker_is_the_one_that_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(["a", "b"]))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert open_gpu("Linux", "GPU-1").names() == ["b"]
    assert open_gpu("Linux").names() == ["a"]


def test_energy_of_the_first_gpu_is_in_joules(monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened(monkeypatch, FakeNvml(["a", "b"])).energy_j() == {"gpu": 5000.25}
    without_counter = opened(monkeypatch, FakeNvml(["a"], {"energy"}))
    assert without_counter.energy_j() == Unavailable("NVML: Not Supported")


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("1", ["b"]),
        ("2,0", ["c", "a"]),
        (" 1 , 2 ", ["b", "c"]),
        ("GPU-0000-2", ["c"]),
        ("1,-1,2", ["b"]),
    ],
)
def test_the_gpu_that_torch_would_use_is_the_one_read(
    monkeypatch: pytest.MonkeyPatch, visible: str, names: list[str]
) -> None:
    reader = opened(monkeypatch, FakeNvml(["a", "b", "c"]), CUDA_VISIBLE_DEVICES=visible)
    assert reader.names() == names
    first = "abc".index(names[0])
    assert reader.read().temperature_c == 61.0 + first


@pytest.mark.parametrize("visible", ["", "-1", "none"])
def test_hidden_gpus_are_not_read(monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    nvml = FakeNvml(["a"])
    reader = opened(monkeypatch, nvml, CUDA_VISIBLE_DEVICES=visible)
    assert "CUDA_VISIBLE_DEVICES hides" in _reason(reader.read().power_w)
    assert nvml.running == 0


def test_gpu_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml(["a"])
    reader = opened(monkeypatch, nvml, CUDA_VISIBLE_DEVICES="5")
    assert _reason(reader.read().power_w) == "NVML finds no GPU: Invalid Argument"
    assert nvml.running == 0


def test_what_one_gpu_cannot_tell_leaves_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    found = opened(monkeypatch, FakeNvml(["a"], {"power", "memory"})).read()
    assert found.power_w == Unavailable("NVML: Not Supported")
    assert found.memory_used_bytes == Unavailable("NVML: Not Supported")
    assert found.memory_total_bytes == Unavailable("NVML: Not Supported")
    assert found.temperature_c == 61.0


def test_nvml_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = opened(monkeypatch, FakeNvml(["a"], {"init"}))
    assert _reason(reader.read().power_w) == "NVML could not be started: Not Supported"


def test_missing_package_is_named_with_the_command(
    monkeypatch: pytest.MonkeyPatch, driver: Path, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "pip install nvidia-ml-py" in _reason(open_nvml({}, driver).read().power_w)
    without = open_nvml({}, tmp_path / "none").read()
    assert without == all_unavailable(Gpu, "there is no NVIDIA driver here")


@pytest.mark.parametrize(
    ("mask", "names"),
    [
        (0x0, []),
        (0x1, []),  # idle
        (0x40, ["heat (hardware)"]),
        (0x8 | 0x80, ["hardware slowdown", "power brake"]),
        (0x10000, ["unknown reason 0x10000"]),
    ],
)
def test_throttle_reasons(mask: int, names: list[str]) -> None:
    assert throttle_names(mask) == names


# --- Apple


class FakeMonitor:
    """Cumulative energies, one a call."""

    def __init__(self, *energies_mj: object) -> None:
        self._energies: Iterator[object] = iter(energies_mj)

    def get_cumulative_energy(self) -> Any:
        energy = next(self._energies)
        if isinstance(energy, Exception):
            raise energy
        return SimpleNamespace(gpu_mj=energy)


def _clock(*times: float) -> Any:
    moments = iter(times)
    return lambda: next(moments)


def test_power_is_energy_between_two_readings() -> None:
    reader = AppleEnergy(FakeMonitor(1000, 13_000, 13_000), _clock(10.0, 11.0, 13.0))
    assert _reason(reader.read().power_w) == "power needs two readings at different times"
    assert reader.read().power_w == 12.0
    assert reader.read().power_w == 0.0


@pytest.mark.parametrize(
    ("energies", "times", "reason"),
    [
        ((None, None), (1.0, 2.0), "does not report energy"),
        ((5000, 1000), (1.0, 2.0), "ran backwards"),
        ((1000, 2000), (1.0, 1.001), "two readings"),
        ((RuntimeError(), RuntimeError()), (1.0, 2.0), "failed (RuntimeError)"),
    ],
)
def test_power_that_is_not_known(
    energies: tuple[object, ...], times: tuple[float, ...], reason: str
) -> None:
    reader = AppleEnergy(FakeMonitor(*energies), _clock(*times))
    reader.read()
    assert reason in _reason(reader.read().power_w)


def test_every_part_that_is_counted_is_told_in_joules() -> None:
    metrics = SimpleNamespace(
        cpu_total_mj=9000, gpu_mj=4000, gpu_sram_mj=None, dram_mj=500, ane_mj=0, gpu_cores=[1]
    )
    monitor = SimpleNamespace(get_cumulative_energy=lambda: metrics)
    assert AppleEnergy(monitor).energy_j() == {"cpu": 9.0, "gpu": 4.0, "dram": 0.5, "ane": 0.0}


def test_chip_without_a_counter_for_its_gpu_has_no_power() -> None:
    metrics = SimpleNamespace(cpu_total_mj=9000)
    reader = AppleEnergy(SimpleNamespace(get_cumulative_energy=lambda: metrics))
    assert (
        _reason(reader.read().power_w)
        == "zeus-apple-silicon does not report GPU energy for this chip"
    )


def test_energy_monitor_names_no_gpu_and_is_not_used_when_closed() -> None:
    readings: list[str] = []
    reader = AppleEnergy(SimpleNamespace(get_cumulative_energy=lambda: readings.append("read")))
    assert _reason(reader.names()) == "the energy monitor does not list a GPU"
    reader.close()
    assert readings == []


def test_missing_energy_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zeus_apple_silicon", None)
    reader = open_gpu("Darwin")
    assert "pip install zeus-apple-silicon" in _reason(reader.read().power_w)
    assert "pip install zeus-apple-silicon" in _reason(reader.read().throttled)


def test_energy_monitor_is_used_if_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("zeus_apple_silicon")
    monkeypatch.setitem(sys.modules, "zeus_apple_silicon", package)
    package.AppleEnergyMonitor = lambda: FakeMonitor(1.0)  # type: ignore[attr-defined]
    assert "root only" in _reason(open_apple_energy().read().temperature_c)

    def broken() -> None:
        raise OSError("no IOReport")

    package.AppleEnergyMonitor = broken  # type: ignore[attr-defined]
    assert "does not work here (OSError)" in _reason(open_apple_energy().read().power_w)


def _reason(fact: object) -> str:
    assert isinstance(fact, Unavailable), fact
    return fact.unavailable
