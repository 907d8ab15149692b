"""What would spoil the times of a run, before it starts. Pure."""

from collections.abc import Iterator

from sdbench.machine.facts import MachineFacts, known
from sdbench.machine.load import load_words, slowdown
from sdbench.runner.gates import flags_of
from sdbench.runner.prepare import Prepared
from sdbench.words import size

_WORDS = {
    "thermal": "the machine is hot, so it may lower its clocks: let it cool down",
    "pressure": "memory is under pressure: end other programs",
    "battery": "the battery is below 20%: connect the power supply",
    "on-battery": "the machine runs on battery power and may lower its clocks: connect the power "
    "supply",
    "low-power-mode": "low-power mode lowers the clocks: switch it off",
    "background": "this terminal has background priority: open a new one",
}


def start_warnings(
    facts: MachineFacts, *, on_cpu: bool, min_free_disk_bytes: float
) -> Iterator[str]:
    """What doctor warns of and what a run suffers from, one sentence each, the load first."""
    words = load_words(facts, on_cpu=on_cpu)
    if words is not None:
        yield f"{words}: other programs take time from this run, so its times will mean little"
    flags = flags_of(facts, min_free_disk_bytes)
    if "battery" in flags:
        flags.remove("on-battery")
    yield from (_WORDS[flag] for flag in flags if flag in _WORDS)
    if "disk" in flags and known(facts.free_disk_bytes):
        yield f"only {size(facts.free_disk_bytes)} of disk are free"


def warnings_of(prepared: Prepared) -> list[str]:
    """What would spoil the times of a run that starts now."""
    disk = prepared.config.guard.min_free_disk_bytes
    on_cpu = prepared.device.kind == "cpu"
    return [*start_warnings(prepared.facts, on_cpu=on_cpu, min_free_disk_bytes=disk)]


def slowdown_of(prepared: Prepared) -> float:
    """About how many times as long a run takes that starts now; 1 where nothing slows it down."""
    return slowdown(prepared.facts, on_cpu=prepared.device.kind == "cpu")
