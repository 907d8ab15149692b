"""No text makes a parser raise or believe what cannot be: cut off anywhere, damaged, or foreign."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from recordings import MACHINES, RECORDINGS, text, texts

from sdbench.machine import probe_machine
from sdbench.machine.facts import CoreKind, Unavailable
from sdbench.machine.linux.proc import parse_meminfo, parse_vmstat
from sdbench.machine.linux.stalls import parse_stalls
from sdbench.machine.macos.commands import THERMAL_KEY
from sdbench.machine.macos.system_profiler import (
    parse_build,
    parse_displays,
    parse_hardware,
    parse_sw_vers,
    parse_version,
)
from sdbench.machine.macos.text import (
    PageCounts,
    parse_df,
    parse_free_percent,
    parse_load,
    parse_low_power,
    parse_memory_pressure,
    parse_memory_pressure_total,
    parse_power_source,
    parse_pressure,
    parse_speed_limit,
    parse_swap_used,
    parse_sysctl,
    parse_thermal,
    parse_vm_stat,
)
from sdbench.machine.plausible import MOST_TRAFFIC_BYTES, core_count, memory_size, name_of
from sdbench.machine.recording import RecordedCommand, RecordedFacts, RecordedSystem

Parse = Callable[[str], Any]


def _low_power(said: str) -> list[bool | Unavailable]:
    return [parse_low_power(said, source) for source in ("ac", "battery", Unavailable("why"))]


def _thermal(said: str) -> object:
    return parse_thermal(said, THERMAL_KEY)


def _sysctl(said: str) -> list[object]:
    """Every value through every parser of values: a wrong one must not raise either."""
    values = (parse_pressure, parse_swap_used, parse_load, memory_size, core_count, parse_build)
    return [parse(value) for value in parse_sysctl(said).values() for parse in values]


def _name(said: str) -> object:
    return name_of(said, "name")


# Beginnings of the recordings' names, and what reads them.
FITTING: dict[str, tuple[Parse, ...]] = {
    "vm_stat": (parse_vm_stat,),
    "memory_pressure": (parse_memory_pressure, parse_free_percent, parse_memory_pressure_total),
    "sysctl": (_sysctl, _name),
    "pmset_-g_batt": (parse_power_source,),
    "pmset_-g_ps": (parse_power_source,),
    "pmset_-g": (_low_power, parse_speed_limit),
    "notifyutil": (_thermal,),
    "system_profiler": (parse_hardware, parse_displays),
    "sw_vers": (parse_sw_vers, parse_version, parse_build),
}
ALL: tuple[Parse, ...] = (*{parse: None for group in FITTING.values() for parse in group}, parse_df)


def leaves(found: object) -> Iterator[object]:
    """The facts in what a parser returned."""
    if isinstance(found, PageCounts):
        for label in found.pages:
            yield found.bytes_of(label)
    elif isinstance(found, msgspec.Struct) and not isinstance(found, (Unavailable, CoreKind)):
        for name in found.__struct_fields__:
            yield from leaves(getattr(found, name))
    elif isinstance(found, (list, tuple)):
        for item in found:
            yield from leaves(item)
    else:
        yield found


def check(found: object) -> None:
    for fact in leaves(found):
        if isinstance(fact, Unavailable):
            assert 5 < len(fact.unavailable) < 200
            assert fact.unavailable.isprintable()
        elif isinstance(fact, CoreKind):
            assert fact.physical >= 1
            assert fact.name.isprintable()
        elif isinstance(fact, (int, float)):
            assert 0 <= fact <= MOST_TRAFFIC_BYTES
        else:
            assert isinstance(fact, str)
            assert fact.isprintable()
            assert 0 < len(fact) <= 100


def fitting(name: str) -> tuple[Parse, ...]:
    return next(group for start, group in FITTING.items() if Path(name).name.startswith(start))


RECORDED = texts(*FITTING)


@pytest.mark.parametrize("name", RECORDED)
def test_cut_off_anywhere(name: str) -> None:
    said = text(name)
    for length in range(len(said) + 1):
        cut = said[:length]
        if "sysctl" in name:  # its lines, thousands in all, are read one by one
            cut = cut[cut.rfind("\n") + 1 :]
        for parse in fitting(name):
            check(parse(cut))


@pytest.mark.parametrize("name", RECORDED)
def test_damaged_anywhere(name: str) -> None:
    """Bytes changed, left out and doubled, digits multiplied, lines put in another order."""
    dice = random.Random(name)
    raw = (RECORDINGS / name).read_bytes()
    for _ in range(30):
        damaged = bytearray(raw)
        for _ in range(dice.randint(1, 8)):
            at = dice.randrange(len(damaged) + 1)
            damage = dice.choice(["change", "cut", "double", "digits", "minus"])
            if damage == "change":
                damaged[at : at + 1] = bytes([dice.randrange(256)])
            elif damage == "cut":
                del damaged[at : at + dice.randint(1, 40)]
            elif damage == "double":
                damaged[at:at] = damaged[max(0, at - 30) : at]
            else:
                damaged[at:at] = b"9" * dice.randint(1, 60) if damage == "digits" else b"-"
        said = damaged.decode("utf-8", "replace")
        if dice.random() < 0.2:
            lines = said.splitlines(keepends=True)
            dice.shuffle(lines)
            said = "".join(lines)
        for parse in fitting(name):
            check(parse(said))


@pytest.mark.parametrize("parse", ALL)
def test_answers_of_every_other_program(parse: Parse) -> None:
    for name in RECORDED:
        check(parse(text(name)))


@pytest.mark.parametrize("parse", ALL)
def test_junk(parse: Parse) -> None:
    dice = random.Random(7)
    alphabet = "0123456789-.,:;%'\"{}[]()\t \n\r\0\x1b²٣é\ud800\N{ZERO WIDTH SPACE}abGMKi="
    for _ in range(300):
        check(parse("".join(dice.choice(alphabet) for _ in range(dice.randrange(120)))))
    for said in ("", "\0", "9" * 100_000, "-" * 1000, "{" * 100_000, "a: " * 5000, "\n" * 5000):
        check(parse(said))


def test_files_of_linux_cut_off_anywhere() -> None:
    meminfo = b"MemTotal:  16384000 kB\nMemAvailable: 8192000 kB\nSwapTotal: 5 kB\nSwapFree: 5 kB\n"
    vmstat = b"nr_free_pages 203000\npswpin 12\npswpout 34\noom_kill 2\n"
    stalls = "some avg10=0.50 avg60=0.00 avg300=0.00 total=3\nfull avg10=0.00 avg60=0.0 total=2\n"
    for length in range(max(len(meminfo), len(stalls)) + 1):
        for value in (
            *parse_meminfo(meminfo[:length]).values(),
            *parse_vmstat(vmstat[:length]).values(),
        ):
            assert value >= 0
        found = parse_stalls(stalls[:length])
        assert isinstance(found, Unavailable) or found == (0.5, 0.0)
    assert parse_meminfo(b"MemAvailable:\nSwapTotal: many kB\nSwapFree: -5 kB\n") == {}


@pytest.mark.parametrize(
    "folder", sorted(path.name for path in MACHINES.iterdir() if path.is_dir())
)
def test_whole_machines_damaged_and_cut_off(folder: str) -> None:
    dice = random.Random(folder)
    whole = RecordedSystem.load(MACHINES / folder)
    for _ in range(25):
        commands = []
        for entry in whole._commands:
            said = entry.stdout[: dice.randrange(len(entry.stdout) + 1)]
            if dice.random() < 0.3:
                said = said.replace(
                    str(dice.randrange(10)), dice.choice(["-", "99999999999", "\0"])
                )
            fields = msgspec.to_builtins(entry) | {"stdout": said}
            if dice.random() < 0.1:
                fields |= dice.choice([{"exit": 1}, {"hang_s": 99}, {"stdout": ""}, {"argv": []}])
            commands.append(msgspec.convert(fields, RecordedCommand))
        odd = {
            name: dice.choice([-1, 10**30, "", [], {}, True, 1.5]) for name in whole.facts.sysctl
        }
        facts = RecordedFacts(system="Darwin", machine="x86_64", sysctl=odd)
        check(probe_machine(RecordedSystem(facts, commands), Path()))
