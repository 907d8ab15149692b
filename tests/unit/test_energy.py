"""Joules from cumulative counters: windows, idle power, and what is not known."""

from collections.abc import Iterator
from typing import Any

import pytest
from factories import FakeClock, make_pass, make_picture, make_replicate

from sdbench.analysis.telemetry import case_telemetry
from sdbench.machine.facts import Unavailable
from sdbench.process.energy import EnergyMeter
from sdbench.records import Energy, TelemetrySummary


class Machine:
    """A GPU of 50 W at idle and 300 W in a pass, beside a processor of 20 W."""

    def __init__(self, *, told: bool = True) -> None:
        self.clock = FakeClock()
        self.gpu_j = self.cpu_j = 1000.0
        self.told = told
        self.meter = EnergyMeter(self.read, self.clock)

    def read(self) -> dict[str, float] | Unavailable:
        return {"gpu": self.gpu_j, "cpu": self.cpu_j} if self.told else Unavailable("no counter")

    def phase(self, name: str, lasts_s: float, gpu_w: float = 50.0) -> None:
        self.meter.mark(name)
        for _ in range(10):
            self.clock.advance(lasts_s / 10)
            self.gpu_j += gpu_w * lasts_s / 10
            self.cpu_j += 20 * lasts_s / 10
            if self.told:
                self.meter.note_power(self.clock.now, gpu_w)

    def process(self, pass_s: float, passes: int = 4, import_s: float = 20.0) -> Energy:
        self.phase("import", import_s)
        self.phase("load", 1.0, 100)
        for index in range(1, passes + 1):
            self.phase(f"pass {index}", pass_s, 300)
        self.phase("profile", 30.0, 200)
        self.phase("end", 1.0)
        return self.meter.summary()


def test_steady_passes_alone_are_counted() -> None:
    found = Machine().process(5.0)
    assert found.window_s == pytest.approx(15.0) and found.passes == 3
    assert found.joules == pytest.approx({"gpu": 4500.0, "cpu": 300.0})
    assert found.idle_w == pytest.approx({"gpu": 50.0}), "the processor was busy importing"
    assert found.sampled_gpu_j == pytest.approx(4500.0)
    assert found.reason is None


def test_short_window_has_no_figure() -> None:
    found = Machine().process(3.0)
    assert found.joules == {} and "9.0 s" in str(found.reason)
    assert Machine().process(5.0, import_s=0.5).idle_w == {}, "idle for too short a time"


def test_what_is_not_counted_is_said() -> None:
    assert Machine(told=False).process(5.0).reason == "no counter"
    assert "no steady passes" in str(Machine().process(20.0, passes=1).reason)


def test_counter_that_runs_backwards_is_no_energy() -> None:
    readings: Iterator[dict[str, float]] = iter([{"gpu": 9.0}, {"gpu": 1.0}])
    meter = EnergyMeter(lambda: next(readings), FakeClock())
    meter.mark("pass 2")
    meter.mark("end")
    assert "backwards" in str(meter.summary().reason)


def test_images_share_the_energy_of_the_passes() -> None:
    def process(gpu_j: float, **energy: Any) -> Any:
        passes = [make_pass(1.0, index, images=[make_picture()] * 2) for index in (1, 2, 3)]
        told = Energy(window_s=20.0, passes=2, joules={"gpu": gpu_j}, **energy)
        telemetry = TelemetrySummary(samples=1, period_s=1, cost_share=0, energy=told)
        return make_replicate(passes=passes, telemetry=telemetry)

    found = case_telemetry([process(joules, idle_w={"gpu": 2.0}) for joules in (80.0, 120.0, 400)])
    assert found.joules_per_image == {"gpu": 30.0}
    assert found.joules_per_image_above_idle == {"gpu": 20.0}
    assert "joules_per_image" not in found.unavailable
    other = case_telemetry([process(80.0, reason=None)])
    assert other.joules_per_image_above_idle is None
    assert "idle" in other.unavailable["joules_per_image_above_idle"]


def test_no_energy_says_why() -> None:
    told = Energy(window_s=3.0, passes=2, reason="too short")
    telemetry = TelemetrySummary(samples=1, period_s=1, cost_share=0, energy=told)
    found = case_telemetry([make_replicate(telemetry=telemetry)])
    assert found.joules_per_image is None
    assert found.unavailable["joules_per_image"] == "too short"
