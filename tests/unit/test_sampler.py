"""The telemetry of one worker, from played-back counters and clocks."""

import json
import os
import subprocess
import sys

import pytest
from factories import FakeClock, FakeProbe, make_slow, make_system

from sdbench.machine import SlowReading
from sdbench.machine.cpu import CpuShares, CpuTimes, cpu_shares, cpu_times, session_cpu_times
from sdbench.process.sampler import MAX_COST_SHARE, PERIOD_S, MachineSampler, Sampler


def make_sampler(probe: FakeProbe, clock: FakeClock | None = None) -> Sampler:
    return Sampler(probe, pid=10, clock=clock or FakeClock(), cpu_clock=FakeClock())


def test_peak_and_swap_are_taken_over_the_whole_timeline() -> None:
    clock = FakeClock()
    probe = FakeProbe(
        systems=[
            make_system(available=900, swap=50, swapped_in=5, swapped_out=7),
            make_system(available=200, swap=80, swapped_in=6, swapped_out=17),
            make_system(available=500, swap=70, swapped_in=9, swapped_out=37),
        ],
        footprints={10: 100},
    )
    sampler = make_sampler(probe, clock)
    for footprint in (100, 400, 300):
        probe.footprints[10] = footprint
        sampler.take()
        clock.advance(0.5)
    summary = sampler.summary()
    assert summary.samples == 3
    assert (summary.peak_footprint_bytes, summary.footprint_source) == (400, "rss")
    assert (summary.swap_start_bytes, summary.swap_delta_bytes) == (50, 20)
    assert (summary.swap_in_bytes, summary.swap_out_bytes) == (4, 30)
    assert summary.min_available_bytes == 200


def test_children_weigh_and_the_watchdog_does_not() -> None:
    probe = FakeProbe(footprints={10: 100, 11: 1000, 12: 30}, child_pids=[11, 12])
    sampler = Sampler(probe, 10, ignored_pid=11, clock=FakeClock(), cpu_clock=FakeClock())
    assert sampler.take().footprint_bytes == 130


def test_children_are_looked_for_once_a_second() -> None:
    clock = FakeClock()
    probe = FakeProbe(footprints={10: 100, 12: 30})
    sampler = make_sampler(probe, clock)
    assert sampler.take().footprint_bytes == 100
    probe.child_pids = [12]
    clock.advance(0.5)
    assert sampler.take().footprint_bytes == 100
    clock.advance(0.6)
    assert sampler.take().footprint_bytes == 130


def test_process_that_is_gone_is_unknown_and_the_peak_stays() -> None:
    probe = FakeProbe(footprints={10: 100})
    sampler = make_sampler(probe)
    sampler.take()
    probe.footprints.clear()
    assert sampler.take().footprint_bytes is None
    assert sampler.summary().peak_footprint_bytes == 100


def test_counters_the_platform_lacks_are_none_and_never_zero() -> None:
    probe = FakeProbe(systems=[make_system(None, None, None, None)])
    sampler = make_sampler(probe)
    sampler.take()
    summary = sampler.summary()
    assert summary.peak_footprint_bytes is None
    assert summary.swap_start_bytes is None
    assert summary.swap_delta_bytes is None
    assert summary.min_available_bytes is None


def test_nothing_sampled_is_said_so() -> None:
    summary = make_sampler(FakeProbe()).summary()
    assert (summary.samples, summary.peak_footprint_bytes) == (0, None)


def test_rate_stays_where_a_reading_is_cheap() -> None:
    cpu = FakeClock()
    sampler = Sampler(FakeProbe(), 10, clock=FakeClock(), cpu_clock=cpu)
    for _ in range(50):
        sampler.take()
    assert sampler.period_s == PERIOD_S


def test_rate_is_halved_until_the_cost_is_bearable() -> None:
    clock = FakeClock()

    class DearProbe(FakeProbe):
        def children(self, pid: int) -> list[int]:
            cpu.advance(0.001)
            return []

    cpu = FakeClock()
    sampler = Sampler(DearProbe(), 10, clock=clock, cpu_clock=cpu)
    for _ in range(200):
        sampler.take()
        clock.advance(1.0)  # so that children are read each time
    assert sampler.period_s > PERIOD_S
    assert MAX_COST_SHARE * sampler.period_s >= 0.001
    assert MAX_COST_SHARE * sampler.period_s / 4 < 0.001
    assert 0.0009 < sampler.summary().cost_share < 0.0011


def test_rate_has_a_lower_end() -> None:
    cpu = FakeClock()
    clock = FakeClock()

    class HopelessProbe(FakeProbe):
        def children(self, pid: int) -> list[int]:
            cpu.advance(1.0)
            return []

    sampler = Sampler(HopelessProbe(), 10, clock=clock, cpu_clock=cpu)
    for _ in range(100):
        sampler.take()
        clock.advance(2.0)
    assert sampler.period_s <= 1.6


def test_timeline_is_json_lines_with_marks_on_the_same_clock() -> None:
    clock = FakeClock(5.0)
    sampler = make_sampler(FakeProbe(footprints={10: 100}), clock)
    sampler.take()
    sampler.mark("load", 5.25)
    first, second = (json.loads(line) for line in b"".join(sampler.lines).splitlines())
    assert first["t"] == 5.0
    assert first["footprint_bytes"] == 100
    assert second == {"t": 5.25, "phase": "load"}


def test_memory_that_ran_out_entirely_is_the_least() -> None:
    probe = FakeProbe(systems=[make_system(available=0), make_system(available=500)])
    sampler = make_sampler(probe)
    sampler.take()
    sampler.take()
    assert sampler.summary().min_available_bytes == 0


# --- dear values ----------------------------------------------------------------------------------


def test_dear_values_are_read_once_a_second_and_go_into_the_timeline() -> None:
    clock = FakeClock()
    probe = FakeProbe(readings=[make_slow(thermal="moderate", gpu_power_w=70.0), make_slow()])
    sampler = make_sampler(probe, clock)
    slow = []
    for _ in range(5):
        slow.append(sampler.take().slow is not None)
        clock.advance(0.4)
    assert slow == [True, False, False, True, False]
    lines = [json.loads(line) for line in sampler.lines]
    assert (lines[0]["thermal"], lines[0]["gpu_power_w"]) == ("moderate", 70.0)
    assert "thermal" not in lines[1]
    assert lines[3]["thermal"] == "nominal"
    assert "gpu_power_w" not in lines[3]  # not known: left out, never 0


def test_summary_has_the_worst_level_and_says_why_a_value_is_missing() -> None:
    clock = FakeClock()
    probe = FakeProbe(
        readings=[make_slow(pressure="warn"), make_slow(pressure="critical"), make_slow()]
    )
    sampler = make_sampler(probe, clock)
    for _ in range(3):
        sampler.take()
        clock.advance(1.0)
    summary = sampler.summary()
    assert (summary.pressure_peak, summary.thermal_peak) == ("critical", "nominal")
    assert summary.compressor_peak_bytes is None
    assert summary.unavailable["compressor_peak_bytes"] == "the tests do not tell"


def test_gpu_counts_only_while_pictures_are_made() -> None:
    clock = FakeClock()
    powers = [10.0, 60.0, 80.0, 20.0]
    probe = FakeProbe(readings=[make_slow(gpu_power_w=power) for power in powers])
    sampler = make_sampler(probe, clock)
    for phase in ("load", "pass 1", "pass 2", "profile"):
        sampler.mark(phase, clock.now)
        sampler.take()
        clock.advance(1.0)
    summary = sampler.summary()
    assert (summary.gpu_power_mean_w, summary.gpu_power_peak_w) == (70.0, 80.0)


def test_dear_values_that_cost_much_are_read_more_seldom_and_the_cheap_ones_as_often() -> None:
    clock, cpu = FakeClock(), FakeClock()

    class DearProbe(FakeProbe):
        def slow(self) -> SlowReading:
            cpu.advance(0.02)
            return super().slow()

    sampler = Sampler(DearProbe(), 10, clock=clock, cpu_clock=cpu)
    for _ in range(2000):
        sampler.take()
        clock.advance(0.05)
    summary = sampler.summary()
    assert sampler.period_s == PERIOD_S
    assert summary.slow_period_s == 4.0  # 20 ms in 4 s is half a percent
    assert summary.cost_share < 1.5 * MAX_COST_SHARE


def test_machine_alone_is_read_without_a_process() -> None:
    clock = FakeClock()
    sampler = MachineSampler(FakeProbe(), clock)
    first, second = sampler.take(), sampler.take()
    clock.advance(1.0)
    third = sampler.take()
    assert (first.footprint_bytes, first.system.available_bytes) == (None, 4_000_000_000)
    assert [sample.slow is None for sample in (first, second, third)] == [False, True, False]


# --- whose work the cores do ---------------------------------------------------------------------


def test_shares_of_the_cores_are_over_the_measured_passes_alone() -> None:
    probe = FakeProbe(cpu_readings=[CpuTimes(100, 50, 3, 2), CpuTimes(120, 52, 11, 2)])
    sampler = make_sampler(probe)
    for phase in ("import", "load", "prime", "pass 1", "pass 2", "pass 3", "profile", "end"):
        sampler.mark(phase, 1.0)
        sampler.take()
    summary = sampler.summary()
    assert not probe.cpu_readings
    assert summary.idle_cpu_share == pytest.approx(2 / 20)
    assert summary.other_cpu_share == pytest.approx((20 - 2 - 8) / 20)
    assert "other_cpu_share" not in summary.unavailable


def test_passes_that_did_not_end_or_took_no_time_tell_nothing() -> None:
    for readings in (
        [CpuTimes(100, 50, 3, 2)],
        [CpuTimes(100, 50, 3, 2), CpuTimes(100.9, 50, 3.2, 2)],
    ):
        sampler = make_sampler(FakeProbe(cpu_readings=readings))
        for phase in ("pass 1", "end"):
            sampler.mark(phase, 1.0)
        sampler.take()
        summary = sampler.summary()
        assert (summary.other_cpu_share, summary.idle_cpu_share) == (None, None)
        assert "short" in summary.unavailable["other_cpu_share"]


def test_shares_stay_within_what_can_be() -> None:
    """Counters of ticks and of seconds do not quite agree."""
    first, last = CpuTimes(0, 0, 0, 8), CpuTimes(10, 2, 9, 8)
    assert cpu_shares(first, last) == CpuShares(others=0.0, idle=0.2)


def test_own_time_grows_with_own_work_and_processes_that_are_gone_tell_nothing() -> None:
    before = cpu_times(os.getpid(), [])
    spent = sum(index * index for index in range(2_000_000))
    after = cpu_times(os.getpid(), [1 << 30])
    assert spent
    assert before is not None
    assert after is not None
    assert after.own_s > before.own_s
    assert cpu_times(1 << 30, []) is None


def test_all_work_below_a_session_is_its_own_whichever_thread_started_it() -> None:
    """The session is a process of its own here, whose thread starts one that works and ends."""
    works = "import time; end = time.process_time() + 0.4\nwhile time.process_time() < end: pass"
    session = (
        "import subprocess, sys, threading\n"
        f"work = lambda: subprocess.run([sys.executable, '-c', {works!r}])\n"
        "thread = threading.Thread(target=work); thread.start(); thread.join()\n"
        "print('done', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-S", "-c", session]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == b"done\n"
        after = session_cpu_times(process.pid)
        above = session_cpu_times(os.getpid())
        process.stdin.close()
    assert after is not None and above is not None
    assert after.own_s >= 0.35, "of a process that has ended, too"
    assert above.own_s >= after.own_s, "of the processes below those that were started"
