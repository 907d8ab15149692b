"""Whether what a run says of its machine, its software and its speed can be."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from sdbench.analysis.efficiency import case_efficiency, devices_of
from sdbench.bundles.format import MACHINE_ID
from sdbench.bundles.opened import Opened
from sdbench.bundles.refusal import RefusedError
from sdbench.knowledge.chips import chip_family
from sdbench.knowledge.peak_rates import most_flops_per_s, most_gpu_cores
from sdbench.knowledge.releases import is_known_release, never_released
from sdbench.machine.plausible import MOST_CORES, MOST_MEMORY_BYTES
from sdbench.records import Compared, MatmulRate, Preflight, Replicate, Run, by_row
from sdbench.words import shortened

_MOST_LETTERS = 500
# A family may get a larger chip than it has so far.
_OF_CHIPS_TO_COME = 2
_MOST_OF_A_MACHINE = {
    "memory_bytes": MOST_MEMORY_BYTES,
    "cores_physical": MOST_CORES,
    "cores_logical": MOST_CORES,
}
_OF_THE_STAND_IN = "sdbench_standin"
# The fastest kernels do more than large products: TF32 eight times, Winograd's convolutions
# 2.25 times.
_BEYOND_PRODUCTS = 20.0
_BEYOND_PEAK = 2.5


def check_simulated(bundle: Opened) -> None:
    """A run is real only if nothing in it says that it is simulated, and its device can be there.

    Raises:
        RefusedError: implausible.
    """
    run = bundle.recorded.run
    system = run.machine.get("system")
    if run.device == "mps" and not run.simulated and system != "Darwin":
        raise _implausible(f"the device is mps and the system {_shown(system)}: not a real one")
    if run.device == "cuda" and not run.simulated and system == "Darwin":
        raise _implausible("the device is cuda and the system macOS: not a real one")
    if run.simulated:
        return
    said = _says_simulated(bundle)
    if said is not None:
        raise _implausible(f"run.json says that the run is real, {said} that it is simulated")


def _says_simulated(bundle: Opened) -> str | None:
    run = bundle.recorded.run
    if run.machine_facts.get("simulated"):
        return "machine_facts"
    if any(name.split(".")[0] == _OF_THE_STAND_IN for name in run.preload):
        return "its preload"
    for record in bundle.records:
        kinds = Replicate | Compared | Preflight | MatmulRate
        if isinstance(record, kinds) and record.simulated:
            return "a record"
    return None


def check_texts(run: Run) -> None:
    """Texts that a board shows are short, and the machine goes by an id that sdbench made.

    Raises:
        RefusedError: schema.
    """
    if MACHINE_ID.fullmatch(run.machine_id) is None:
        raise RefusedError(
            "schema", f"machine_id: expected m- and 16 digits, got {shortened(run.machine_id)!r}"
        )
    texts = {"label": run.label, "model.name": run.model.name, "sdbench": run.sdbench}
    texts |= {f"machine.{name}": value for name, value in run.machine.items()}
    for name, text in texts.items():
        if isinstance(text, str) and len(text) > _MOST_LETTERS:
            raise RefusedError(
                "schema",
                f"{shortened(name)}: expected at most {_MOST_LETTERS} letters, got {len(text):,}",
            )


def check_machine(run: Run) -> None:
    """What stands in two places of a run is the same in both, and there are such machines.

    Raises:
        RefusedError: implausible.
    """
    for name, value in run.machine.items():
        fact = run.identity(name)
        if fact is not None and value is not None and fact != value:
            raise _implausible(
                f"machine.{shortened(name)} is {_shown(value)}, and the machine's facts have "
                f"{_shown(fact)}"
            )
    _check_chip(run.machine)
    for name, most in _MOST_OF_A_MACHINE.items():
        number = run.machine.get(name)
        if number is not None and number > most:
            raise _implausible(f"machine.{name} is {number:,}, and no machine has over {most:,}")


def _check_chip(machine: Mapping[str, Any]) -> None:
    chip, cores = str(machine.get("chip") or ""), machine.get("gpu_cores")
    if chip_family(chip) in (None, "virtual"):
        return
    # On macOS a program for Intel's chips runs on Apple's, and sees its own architecture.
    if machine.get("system") != "Darwin" and machine.get("architecture") == "x86_64":
        raise _implausible(f"the chip is {_shown(chip)} and the architecture x86_64")
    most = most_gpu_cores(chip)
    if cores is not None and most is not None and cores > _OF_CHIPS_TO_COME * most:
        raise _implausible(f"there is no {_shown(chip)} with {cores} GPU cores")


def _implausible(reason: str) -> RefusedError:
    return RefusedError("implausible", reason)


def _shown(value: object) -> str:
    return shortened(str(value))


def check_versions(run: Run, attempts: list[Replicate]) -> list[str]:
    """Every release of torch and diffusers exists; returns those that are not known.

    Raises:
        RefusedError: implausible.
    """
    unknown: dict[str, None] = {}
    for name, version in dict.fromkeys(_versions(run, attempts)):
        if never_released(name, version):
            raise _implausible(f"there is no {name} {shortened(version)}")
        if not is_known_release(name, version):
            unknown[f"whether there is {name} {shortened(version)}"] = None
    return [*unknown]


def _versions(run: Run, attempts: list[Replicate]) -> Iterator[tuple[str, str]]:
    reported = (entry.versions for entry in attempts)
    for versions in itertools.chain((info.packages for info in run.stacks.values()), reported):
        for name in ("torch", "diffusers"):
            if name in versions:
                yield name, versions[name]


def check_rates(bundle: Opened) -> list[str]:
    """No case computes faster than its kind of device can; returns what could not be compared.

    Raises:
        RefusedError: implausible.
    """
    loaded = bundle.recorded
    run, not_compared = loaded.run, dict[str, None]()
    if run.simulated:
        return ["rates: the device is simulated"]
    rows = by_row(loaded.replicates)
    for planned in run.plan.cases:
        of_case = [
            entry for arm in run.plan.arms for entry in rows.get((planned.case_id, arm.name), [])
        ]
        for arm in run.plan.arms:
            own = rows.get((planned.case_id, arm.name), [])
            fastest_s = min(
                (one.duration_s for entry in own for one in entry.timed("measured")), default=None
            )
            case = planned.case
            rate = case_efficiency(case, arm.name, own, of_case, loaded.ceilings, fastest_s)
            if rate.achieved_flops_per_s is None:
                if own:
                    not_compared["rates: operations were not counted in every case"] = None
                continue
            facts = own[0].device.get("facts", {})
            most = most_flops_per_s(run.device, run.machine, facts, case.dtype)
            if most is not None:
                most *= devices_of(own)
            if most is None:
                not_compared["rates: what this device can do at most is not known"] = None
            if rate.achieved_flops_per_s > _BEYOND_PEAK * (most or float("inf")):
                raise _implausible(
                    f"{shortened(case.case_id)} computes {rate.achieved_flops_per_s:.2g} "
                    f"operations a second, and such a device does at most {most:.2g}"
                )
            if (rate.ceiling_share or 0.0) > _BEYOND_PRODUCTS:
                raise _implausible(
                    f"{shortened(case.case_id)} computes {rate.ceiling_share:.0f} times as fast as "
                    "the same device multiplies large matrices"
                )
    return [*not_compared]
