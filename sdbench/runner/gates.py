"""The state of the machine before a process starts, and waiting for a better state.

Everything is recorded; only what ``[gate] wait_for`` names is waited for, never longer than
``max_wait_s`` over the whole run. Then the process runs nevertheless, and its record lists the
deviations (PROTOCOL 16).
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sdbench.machine.facts import MachineFacts, Unavailable, known, or_none
from sdbench.plan import config
from sdbench.records import Gate, GateFlag, WaitReason

# More work waiting than there are cores, by half: a CPU benchmark's own threads alone load all.
_BUSY_PER_CORE = 1.5
# Below this a MacBook may dim, throttle or go to sleep (PROTOCOL 16).
_LOW_BATTERY_PERCENT = 20
_LOOK_EVERY_S = 1.0
# After the guard has acted: what was swapped out comes back at about a gigabyte a second.
_RECOVERY_S = 60.0
_RECOVERED_SHARE = 0.9

Waiting = Callable[[list[WaitReason], float, float], None]
"""Told of a wait about once a second: why, for how long already, and how long at most."""


@dataclass
class Gates:
    """The gates of one sitting."""

    settings: config.Gate
    look: Callable[[], MachineFacts]
    min_free_disk_bytes: float
    waiting: Waiting
    interrupted: Callable[[], bool]
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    waited_s: float = 0.0
    """In the whole run so far."""
    own_load: float = 0.0
    """Threads of this session that work on other devices meanwhile: no other program's load."""

    def passed(self, at_most_s: float) -> Gate:
        """Wait for what the configuration says, no longer than that; the machine as it is then."""
        limit_s = max(0.0, min(self.settings.max_wait_s - self.waited_s, at_most_s))
        began = self.clock()
        waited_s = 0.0
        while True:
            facts = self.look()
            flags = flags_of(facts, self.min_free_disk_bytes, self.own_load)
            blocking = [flag for flag in flags if flag in self.settings.wait_for]
            if not blocking or waited_s >= limit_s or self.interrupted():
                self.waited_s += waited_s
                return gate_record(facts, flags, waited_s)
            waited_s = self._wait(blocking, began, waited_s, limit_s)

    def recover(self, before: Gate) -> None:
        """After the guard has acted, wait until memory is about as it was before; a minute at most.

        What the guard saved the machine from would otherwise hit the next case.
        """
        began = self.clock()
        waited_s = 0.0
        while waited_s < _RECOVERY_S and not self.interrupted():
            if _recovered(self.look(), before):
                return
            waited_s = self._wait(["recovery"], began, waited_s, _RECOVERY_S)

    def _wait(
        self, reasons: Iterable[WaitReason], began: float, waited_s: float, limit_s: float
    ) -> float:
        """Say so and sleep a little; seconds waited by then."""
        self.waiting([*reasons], waited_s, limit_s)
        self.sleep(min(_LOOK_EVERY_S, limit_s - waited_s))
        return self.clock() - began


def flags_of(
    facts: MachineFacts, min_free_disk_bytes: float, own_load: float = 0.0
) -> list[GateFlag]:
    """What is not as it should be; what is not known raises no flag.

    ``own_load`` is the part of the load average that is this session's own.
    """
    memory, power, cores = facts.memory, facts.power, facts.identity.cores_logical
    battery = power.battery_percent
    on_battery = power.source == "battery"
    holds: dict[GateFlag, bool] = {
        "thermal": known(facts.thermal) and facts.thermal != "nominal",
        "pressure": known(memory.pressure) and memory.pressure != "normal",
        "load": known(facts.load_1min)
        and known(cores)
        and facts.load_1min - own_load > _BUSY_PER_CORE * cores,
        "battery": on_battery and known(battery) and battery < _LOW_BATTERY_PERCENT,
        "on-battery": on_battery,
        "low-power-mode": power.low_power_mode is True,
        "background": facts.scheduling.background is True,
        "disk": known(facts.free_disk_bytes) and facts.free_disk_bytes < min_free_disk_bytes,
    }
    return [flag for flag, raised in holds.items() if raised]


def gate_record(facts: MachineFacts, flags: list[GateFlag], waited_s: float) -> Gate:
    """What is kept of the machine's state before a process."""
    memory, power = facts.memory, facts.power
    kept: dict[str, Any] = {
        "load_1min": facts.load_1min,
        "available_bytes": memory.available_bytes,
        "swap_used_bytes": memory.swap_used_bytes,
        "free_disk_bytes": facts.free_disk_bytes,
        "pressure": memory.pressure,
        "thermal": facts.thermal,
        "power_source": power.source,
        "battery_percent": power.battery_percent,
        "low_power_mode": power.low_power_mode,
    }
    return Gate(
        **{name: or_none(fact) for name, fact in kept.items()},
        waited_s=waited_s,
        flags=flags,
        unavailable={
            name: fact.unavailable for name, fact in kept.items() if isinstance(fact, Unavailable)
        },
    )


def _recovered(facts: MachineFacts, before: Gate) -> bool:
    available, pressure = facts.memory.available_bytes, facts.memory.pressure
    if pressure == "critical" and before.pressure != "critical":
        return False
    if before.available_bytes is None or not known(available):
        return True
    return available >= _RECOVERED_SHARE * before.available_bytes
