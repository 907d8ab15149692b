"""The guard stops a worker before swap or disk run away."""

from pathlib import Path

import pytest
from factories import FakeClock, make_config, make_sample

from sdbench.runner.executor import Stop
from sdbench.runner.guard import MemoryGuard


def make_guard(swap: float = 1e9, disk: float = 10e9, free: int = 100_000_000_000) -> MemoryGuard:
    return MemoryGuard(swap, disk, Path("unused"), lambda folder: free, FakeClock())


def test_swap_that_was_there_before_does_not_count() -> None:
    guard = make_guard(swap=1e9)
    assert guard.judge(make_sample(swap=50_000_000_000)) is None
    assert guard.judge(make_sample(swap=50_900_000_000)) is None


def test_growth_of_swap_beyond_the_budget_stops_the_worker() -> None:
    guard = make_guard(swap=1e9)
    assert guard.judge(make_sample(swap=500_000_000)) is None
    assert guard.judge(make_sample(swap=1_500_000_000)) is None  # exactly what is allowed
    stop = guard.judge(make_sample(swap=2_000_000_000))
    assert isinstance(stop, Stop)
    assert stop.kind == "guard"
    assert stop.reason == (
        "swap grew by 1.5 GB, more than the 1.0 GB allowed (guard.max_swap_growth_bytes)"
    )


def test_unknown_swap_is_not_judged() -> None:
    guard = make_guard(swap=0)
    assert guard.judge(make_sample(swap=None)) is None
    assert guard.judge(make_sample(swap=5)) is None  # the first known value is the start
    assert guard.judge(make_sample(swap=6)) is not None


@pytest.mark.parametrize(
    ("memory", "expected"), [(8_000_000_000, 2e9), (16_000_000_000, 4e9), (192_000_000_000, 4e9)]
)
def test_auto_is_a_quarter_of_the_memory_and_at_most_four_gigabytes(
    memory: int, expected: float
) -> None:
    guard = MemoryGuard.from_config(make_config().guard, memory, Path("unused"))
    assert guard.max_swap_growth_bytes == expected


def test_configured_number_is_taken_as_it_is() -> None:
    config = make_config(guard={"max_swap_growth_bytes": 7e9, "min_free_disk_bytes": 3e9})
    guard = MemoryGuard.from_config(config.guard, 8_000_000_000, Path("unused"))
    assert (guard.max_swap_growth_bytes, guard.min_free_disk_bytes) == (7e9, 3e9)


def test_little_disk_stops_the_worker_even_without_samples() -> None:
    stop = make_guard(disk=10e9, free=2_000_000_000).judge(None)
    assert stop is not None
    assert stop.reason == (
        "2.0 GB of disk left, less than the 10.0 GB required (guard.min_free_disk_bytes)"
    )


def test_disk_is_looked_at_once_a_second() -> None:
    clock = FakeClock()
    looked: list[float] = []

    def free_disk(folder: Path) -> int:
        looked.append(clock.now)
        return 100_000_000_000

    guard = MemoryGuard(1e9, 10e9, Path("unused"), free_disk, clock)
    for _ in range(20):
        guard.judge(None)
        clock.advance(0.125)
    assert looked == [1000.0, 1001.0, 1002.0]


def test_disk_that_cannot_be_asked_stops_nothing(tmp_path: Path) -> None:
    guard = MemoryGuard(1e9, 1e30, tmp_path / "absent", clock=FakeClock())
    assert guard.judge(None) is None


def test_real_disk_is_asked(tmp_path: Path) -> None:
    assert MemoryGuard(1e9, 1.0, tmp_path).judge(None) is None
    assert MemoryGuard(1e9, 1e30, tmp_path).judge(None) is not None
