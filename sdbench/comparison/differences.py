"""Differences between the two sides other than the compared one, to be read before any verdict."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from sdbench.analysis.case_result import CaseResult
from sdbench.analysis.comparability import other_work, system_of
from sdbench.analysis.pairs import Pair
from sdbench.analysis.run_summary import device_facts
from sdbench.comparison.result import Difference
from sdbench.records import Run
from sdbench.words import system_words

# Where they differ is of no interest: they say what is run, and the cases say it better.
_OWN_WORDS = {
    *("name", "description", "matrix", "case", "exclude", "arm"),
    *("replicates", "until_decided"),
}
# Facts of the device that belong to the operating system.
_SYSTEM_DEVICE_FACTS = ("macos", "mpsgraph")
_RELEASE_FACTS = {"machine: release", "machine: build"}
_RELEASE_DEVICE_FACTS = {f"device {fact}" for fact in _SYSTEM_DEVICE_FACTS}
# Where these are unknown on both sides, they do not show as a difference.
_HARDWARE_FACTS = {"chip", "architecture", "memory_bytes"}


def differences_of(pairs: Iterable[Pair]) -> list[Difference]:
    """Every difference between the two sides of any pair, each listed once.

    Differences of only some of several new sides are marked with their labels.
    """
    settings: dict[Difference, None] = {}
    found: dict[Difference, dict[str, None]] = {}
    labels: set[str] = set()
    seen: set[tuple[str, str, str, str]] = set()
    for pair in pairs:
        if pair.base is None or pair.new is None:
            continue
        base, new = pair.base, pair.new
        label = pair.labels[1]
        labels.add(label)
        sides = base.run.run_id, base.arm.name, new.run.run_id, new.arm.name
        if pair.axis is not None and pair.axis not in ("arm", "stack", "machine"):
            settings[Difference(what=pair.axis, base=pair.labels[0], new=label)] = None
        if other_work(base, new):
            samples = base.denoiser_samples_per_image, new.denoiser_samples_per_image
            work = _unlike("denoiser samples per image", *(f"{count:g}" for count in samples))
            settings |= dict.fromkeys(work)
        if sides not in seen:
            seen.add(sides)
            for entry in _between(base, new):
                found.setdefault(entry, {})[label] = None
    return [
        *settings,
        *(
            entry
            if len(having) == len(labels)
            else msgspec.structs.replace(entry, side=", ".join(having))
            for entry, having in found.items()
        ),
    ]


def is_system_comparison(pairs: Iterable[Pair]) -> bool:
    """Whether the operating system, and with it MPSGraph, differs: then no verdict can be
    attributed to torch."""
    return any(
        system_of(pair.base.run) != system_of(pair.new.run)
        or any(
            device_facts(pair.base.replicates).get(fact)
            != device_facts(pair.new.replicates).get(fact)
            for fact in _SYSTEM_DEVICE_FACTS
        )
        for pair in pairs
        if pair.base is not None and pair.new is not None
    )


def macos_alone(differences: Iterable[Difference], base: Run, new: Run) -> str | None:
    """Both releases of macOS in words, if two machines are known to differ in nothing else."""
    names = {entry.what for entry in differences} - {"machine"}
    machines = base.machine, new.machine
    if not names & _RELEASE_FACTS or not names <= _RELEASE_FACTS | _RELEASE_DEVICE_FACTS:
        return None
    if any(one.get("system") != "Darwin" for one in machines):
        return None
    if any(one.get(fact) is None for one in machines for fact in _HARDWARE_FACTS | {"release"}):
        return None
    words = [f"{system_words(one)} ({one.get('build') or 'build unknown'})" for one in machines]
    return " and ".join(words)


def _between(base: CaseResult, new: CaseResult) -> Iterator[Difference]:
    """Versions, variant, machine, device, environment, model, configuration, sdbench itself."""
    stacks = [row.run.stacks[row.arm.stack] for row in (base, new)]
    yield from _unlike("Python", stacks[0].python, stacks[1].python)
    yield from _in_tables("", stacks[0].packages, stacks[1].packages)
    yield from _in_tables("variable ", base.arm.env, new.arm.env)
    yield from _unlike("telemetry", base.arm.telemetry, new.arm.telemetry)
    yield from _unlike("memory ballast", base.arm.hold_bytes, new.arm.hold_bytes)
    devices = [device_facts(row.replicates) for row in (base, new)]
    yield from _in_tables("device ", devices[0], devices[1])
    if base.run.run_id != new.run.run_id:
        yield from _between_runs(base.run, new.run)


def _between_runs(base: Run, new: Run) -> Iterator[Difference]:
    yield from _unlike("machine", base.machine_id, new.machine_id)
    yield from _in_tables("machine: ", base.machine, new.machine)
    yield from _unlike("device", base.device, new.device)
    yield from _in_tables("variable ", base.environment, new.environment)
    yield from _unlike("preload", ", ".join(base.preload), ", ".join(new.preload))
    yield from _unlike("model", base.model.name, new.model.name)
    yield from _unlike("content of the model", base.model.sha256, new.model.sha256)
    yield from _unlike("start method of workers", base.plan.start, new.plan.start)
    yield from _unlike("sdbench", base.sdbench, new.sdbench)
    settings = [_flat(run.config) for run in (base, new)]
    yield from _in_tables("", settings[0], settings[1])


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables as ``guard.max_swap_growth_bytes``; the names of the plan are omitted."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if key in _OWN_WORDS:
            continue
        if isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": entry for inner, entry in value.items()}
        else:
            flat[key] = value
    return flat


def _in_tables(
    prefix: str, base: Mapping[str, object], new: Mapping[str, object]
) -> Iterator[Difference]:
    for key in dict.fromkeys([*base, *new]):
        yield from _unlike(f"{prefix}{key}", base.get(key), new.get(key))


def _unlike(what: str, base: object, new: object) -> Iterator[Difference]:
    if base != new:
        yield Difference(what=what, base=_text(base), new=_text(new))


def _text(value: object) -> str | None:
    if value is None or value == "":
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)
