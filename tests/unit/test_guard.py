"""The guard stops a worker before swap or disk run away."""

from pathlib import Path

import pytest
from factories import UNTOLD, FakeClock, make_config, make_sample, make_slow

from sdbench.process.executor import Stop
from sdbench.process.guard import MemoryGuard, SwapWriteGuard
from sdbench.process.sampler import Sample


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


# --- pressure and memory left ---------------------------------------------------------------------


def judge_all(guard: MemoryGuard, *samples: Sample) -> list[bool]:
    """Whether each sample in turn stops the worker."""
    return [guard.judge(sample) is not None for sample in samples]


def test_critical_pressure_for_two_seconds_stops_the_worker() -> None:
    critical = make_slow(pressure="critical")
    samples = [make_sample(t, slow=critical) for t in (0.0, 1.0, 1.9, 2.0)]
    assert judge_all(make_guard(), *samples) == [False, False, False, True]


def test_critical_pressure_for_a_moment_stops_nothing() -> None:
    levels = ["critical", "critical", "warn", "critical", "critical"]
    samples = [make_sample(t, slow=make_slow(pressure=level)) for t, level in enumerate(levels)]
    assert judge_all(make_guard(), *samples) == [False] * 5


def test_samples_without_a_level_leave_the_last_one_standing() -> None:
    critical = make_slow(pressure="critical")
    samples = [make_sample(0.0, slow=critical), make_sample(1.0), make_sample(2.0, slow=critical)]
    assert judge_all(make_guard(), *samples) == [False, False, True]


def test_unknown_pressure_is_not_judged() -> None:
    unknown = make_slow(pressure=UNTOLD)
    assert judge_all(make_guard(), *(make_sample(float(t), slow=unknown) for t in range(9))) == (
        [False] * 9
    )


def test_too_little_memory_left_in_two_samples_running_stops_the_worker() -> None:
    guard = make_guard()
    guard.min_available_bytes = 1e9
    sizes = [1_000_000_000, 900_000_000, 1_100_000_000, 900_000_000, 800_000_000]
    stops = [guard.judge(make_sample(available=size)) for size in sizes]
    assert stops[:4] == [None] * 4
    assert stops[4] is not None
    assert stops[4].reason == (
        "0.8 GB of memory left, less than the 1.0 GB required (guard.min_available_bytes)"
    )


@pytest.mark.parametrize(
    ("memory", "swap_room", "expected"),
    [
        (8_000_000_000, 0, 500e6),
        (64_000_000_000, 0, 1.28e9),
        (8_000_000_000, 1_000_000_000, 500e6),  # less swap than may be used: it never warns
        (8_000_000_000, 2_100_000_000, 0),
        (8_000_000_000, None, 0),  # macOS makes more swap as it is needed
    ],
)
def test_memory_must_stay_available_where_no_swap_warns(
    memory: int, swap_room: int | None, expected: float
) -> None:
    guard = MemoryGuard.from_config(make_config().guard, memory, Path("unused"), swap_room)
    assert guard.min_available_bytes == expected


def test_configured_floor_is_taken_as_it_is() -> None:
    config = make_config(guard={"min_available_bytes": 3e9})
    guard = MemoryGuard.from_config(config.guard, 8_000_000_000, Path("unused"), None)
    assert guard.min_available_bytes == 3e9


# --- wear -----------------------------------------------------------------------------------------


def test_writing_too_much_to_swap_is_counted_over_all_workers_of_a_sitting() -> None:
    guard = SwapWriteGuard(20e9)
    assert guard.judge(make_sample(swapped_out=100_000_000_000)) is None
    assert guard.judge(make_sample(swapped_out=120_000_000_000)) is None
    assert not guard.exceeded
    stop = guard.judge(make_sample(swapped_out=120_500_000_000))
    assert stop is not None and guard.exceeded
    assert stop.kind == "guard"
    assert "20.5 GB were written to swap" in stop.reason
    assert "guard.max_swapped_out_bytes" in stop.reason


def test_unknown_writes_are_not_judged() -> None:
    guard = SwapWriteGuard(0)
    assert guard.judge(None) is None
    assert guard.judge(make_sample(swapped_out=None)) is None
    assert not guard.exceeded
