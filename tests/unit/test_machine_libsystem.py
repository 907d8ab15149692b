"""The Mac's sampler over a stand-in for libSystem that fills the same buffers."""

import ctypes
import os
from dataclasses import dataclass, field
from typing import Any

import pytest

from sdbench.machine.facts import Gpu, Unavailable, all_unavailable
from sdbench.machine.gpu.reader import NoGpu
from sdbench.machine.macos.commands import THERMAL_KEY
from sdbench.machine.macos.libsystem import MacMemoryProbe, SwapUsage, VMStatistics64

HOST = 2563
TOKEN = 7
FAILED = 1


@dataclass
class FakeLibSystem:
    """Answers as the C functions do: 0 is success, results go where the pointers point."""

    sysctls: dict[bytes, int] = field(default_factory=dict)
    swap_used: int | None = 512 << 20
    counts: dict[str, int] | None = field(default_factory=dict)
    footprints: dict[int, int] = field(default_factory=dict)
    child_pids: list[int] = field(default_factory=list)
    thermal: int | None = 0
    cancelled: list[int] = field(default_factory=list)

    def mach_host_self(self) -> int:
        return HOST

    def getpagesize(self) -> int:
        return 16384

    def host_statistics64(self, host: int, flavour: int, into: Any, count: Any) -> int:
        assert (host, flavour) == (HOST, 4)
        # A larger one would write past the structure; macOS 27 refuses one below its own.
        assert count._obj.value == 256 == ctypes.sizeof(VMStatistics64) // 4
        assert VMStatistics64.added_since.offset == 38 * 4  # HOST_VM_INFO64_REV1_COUNT
        if self.counts is None:
            return FAILED
        for name, value in self.counts.items():
            setattr(into._obj, name, value)
        return 0

    def sysctlbyname(self, name: bytes, into: Any, size: Any, new: None, new_size: Any) -> int:
        assert new is None
        assert new_size.value == 0
        target = into._obj
        assert size._obj.value == ctypes.sizeof(target)
        if name == b"vm.swapusage":
            assert isinstance(target, SwapUsage)
            if self.swap_used is None:
                return FAILED
            target.used = self.swap_used
            return 0
        if name not in self.sysctls:
            return FAILED
        assert ctypes.sizeof(target) == 4
        target.value = self.sysctls[name]
        return 0

    def proc_pid_rusage(self, pid: int, flavour: int, buffer: Any) -> int:
        assert flavour == 4
        assert ctypes.sizeof(buffer._obj) >= 296  # struct rusage_info_v4
        if pid not in self.footprints:
            return FAILED
        buffer._obj[72:80] = self.footprints[pid].to_bytes(8, "little")
        return 0

    def proc_listchildpids(self, pid: int, buffer: Any, size: int) -> int:
        assert size == ctypes.sizeof(buffer)
        for index, child in enumerate(self.child_pids[: len(buffer)]):
            buffer[index] = child
        return len(self.child_pids)

    def notify_register_check(self, key: bytes, token: Any) -> int:
        assert key == THERMAL_KEY.encode()
        if self.thermal is None:
            return FAILED
        token._obj.value = TOKEN
        return 0

    def notify_get_state(self, token: Any, state: Any) -> int:
        assert token.value == TOKEN
        state._obj.value = self.thermal
        return 0

    def notify_cancel(self, token: Any) -> int:
        self.cancelled.append(token.value)
        return 0


@pytest.fixture(autouse=True)
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sampler must never start one."""

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("the sampler started a process")

    monkeypatch.setattr("subprocess.Popen", forbidden)
    monkeypatch.setattr(os, "posix_spawn", forbidden)


def test_memory_of_the_machine() -> None:
    library = FakeLibSystem(
        counts={"free_count": 100, "inactive_count": 50, "speculative_count": 30}
        | {"swapins": 5, "swapouts": 9}
    )
    found = MacMemoryProbe(library).system()
    # The free count holds the speculative pages; vm_stat prints it without them.
    assert found.available_bytes == 150 * 16384
    assert found.swap_used_bytes == 512 << 20
    assert (found.swapped_in_bytes, found.swapped_out_bytes) == (5 * 16384, 9 * 16384)


def test_what_the_kernel_refuses_is_none() -> None:
    found = MacMemoryProbe(FakeLibSystem(counts=None, swap_used=None)).system()
    assert (found.available_bytes, found.swap_used_bytes) == (None, None)
    assert (found.swapped_in_bytes, found.swapped_out_bytes) == (None, None)


def test_slow_reading() -> None:
    library = FakeLibSystem(
        sysctls={b"kern.memorystatus_vm_pressure_level": 2, b"kern.memorystatus_level": 37},
        counts={"compressor_page_count": 716251},
        thermal=1,
    )
    found = MacMemoryProbe(library).slow()
    assert (found.pressure, found.free_percent, found.thermal) == ("warn", 37, "moderate")
    assert found.compressor_bytes == 716251 * 16384
    assert found.gpu == all_unavailable(Gpu, "no GPU is monitored")


@pytest.mark.parametrize(
    ("number", "level"),
    [(0, "nominal"), (1, "moderate"), (2, "heavy"), (3, "trapping"), (4, "sleeping")],
)
def test_thermal_levels(number: int, level: str) -> None:
    assert MacMemoryProbe(FakeLibSystem(thermal=number)).slow().thermal == level


def test_slow_reading_of_what_is_not_told_or_cannot_be() -> None:
    nothing = MacMemoryProbe(FakeLibSystem(counts=None, thermal=None)).slow()
    assert nothing.pressure == Unavailable(
        "sysctl does not know kern.memorystatus_vm_pressure_level"
    )
    assert nothing.free_percent == Unavailable("sysctl does not know kern.memorystatus_level")
    assert nothing.compressor_bytes == Unavailable("host_statistics64 failed")
    assert nothing.thermal == Unavailable("macOS does not report its thermal level")
    odd = MacMemoryProbe(
        FakeLibSystem(
            sysctls={b"kern.memorystatus_vm_pressure_level": 3, b"kern.memorystatus_level": -9},
            thermal=2**64 - 1,
        )
    ).slow()
    for fact in (odd.pressure, odd.free_percent, odd.thermal):
        assert isinstance(fact, Unavailable)


def test_footprint_of_a_process() -> None:
    probe = MacMemoryProbe(FakeLibSystem(footprints={42: 5154 << 20}))
    assert probe.footprint_bytes(42) == 5154 << 20
    assert probe.footprint_bytes(43) is None
    assert probe.out_of_memory_kills() is None


def test_energy_and_state_of_the_gpu_are_its_readers() -> None:
    class Reader(NoGpu):
        def energy_j(self) -> dict[str, float] | Unavailable:
            return {"gpu": 4.0, "cpu": 9.0}

    probe = MacMemoryProbe(FakeLibSystem(), Reader("not installed"))
    assert probe.energy_j() == {"gpu": 4.0, "cpu": 9.0}
    assert probe.slow().gpu == all_unavailable(Gpu, "not installed")
    assert MacMemoryProbe(FakeLibSystem()).energy_j() == Unavailable("no GPU is monitored")


def test_children_are_no_more_than_fit() -> None:
    assert MacMemoryProbe(FakeLibSystem(child_pids=[43, 44])).children(42) == [43, 44]
    assert len(MacMemoryProbe(FakeLibSystem(child_pids=list(range(500)))).children(42)) == 64


def test_closing_gives_the_notification_back() -> None:
    library = FakeLibSystem()
    MacMemoryProbe(library).close()
    assert library.cancelled == [TOKEN]
    library = FakeLibSystem(thermal=None)
    MacMemoryProbe(library).close()
    assert library.cancelled == []
