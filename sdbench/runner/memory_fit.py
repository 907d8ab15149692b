"""Whether the cases of a plan fit into memory, and the whole command of a plan that does."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from sdbench.errors import SdbenchError
from sdbench.models.traits import Traits
from sdbench.plan.config import Config
from sdbench.plan.fit import Change, Demand, Fit, Room, first_fitting, fit_of, judge, severity
from sdbench.plan.for_model import check_fit, family_dtype
from sdbench.plan.order import make_plan
from sdbench.plan.predicted_memory import Target, with_memory
from sdbench.records import Case, Dtype, Plan, PlannedCase
from sdbench.runner.request import CPU_DEFAULT_CONFIG, DEFAULT_CONFIG, Request, configure
from sdbench.words import shell


@dataclass(frozen=True)
class MemoryFit:
    """The demand of each case that runs, None where nothing could be predicted.

    ``command`` measures the case that takes most in a way that fits; None where it fits, or where
    no setting makes it fit.
    """

    room: Room
    demands: dict[str, Demand | None]
    command: str | None = None

    @property
    def worst(self) -> str | None:
        """The id of the case that fits least."""
        return max(self.demands, key=lambda case_id: _rank(self.demands[case_id]), default=None)

    @property
    def fit(self) -> Fit:
        """The verdict of that case."""
        return "unknown" if self.worst is None else fit_of(self.demands[self.worst])


def _rank(demand: Demand | None) -> tuple[int, int]:
    return severity(fit_of(demand)), 0 if demand is None else demand.peak_bytes


def fit_plan(plan: Plan, room: Room) -> MemoryFit:
    """The verdict of each case of a plan that :func:`with_memory` has been given."""
    used = {slot.case_id for slot in plan.slots}
    planned = (one for one in plan.cases if one.case_id in used)
    return MemoryFit(room, {one.case_id: judge(one.memory, room) for one in planned})


def with_command(
    fit: MemoryFit, request: Request, config: Config, plan: Plan, traits: Traits, target: Target
) -> MemoryFit:
    """The same with the command of the first setting with which the worst case fits.

    The command is carried out as far as the plan, and every case of that plan has to fit.
    """
    if fit.worst is None or fit.fit not in ("swaps", "fails") or request.made is not None:
        return fit
    case, device = plan.planned(fit.worst).case, target.device
    half: Dtype = family_dtype(traits, device) or "float16"
    if half == "float32":
        half = "float16"
    for change in first_fitting(config, case, target, fit.room, half):
        changed = _changed(request, config, case, change)
        try:
            asked = configure(changed, changed.config or DEFAULT_CONFIG)
            theirs = msgspec.structs.replace(config, matrix=asked.matrix, case=asked.case)
            made = make_plan(theirs, device, changed.only, dtype=family_dtype(traits, device))
            check_fit(theirs, made, traits)
        except SdbenchError:
            continue  # such as a size that is no multiple of what the model takes
        runs = _running(with_memory(made, theirs, target).cases)
        if runs and all(fit_of(judge(one.memory, fit.room)) in ("fits", "tight") for one in runs):
            return replace(fit, command=command_of(changed))
    return fit


def fit_document(fit: MemoryFit) -> dict[str, Any]:
    """The verdicts for a script; what the cases take is in the plan."""
    room = fit.room
    return {
        "fit": fit.fit,
        "worst_case": fit.worst,
        "machine_available_bytes": room.available_bytes,
        "device_free_bytes": room.device_free_bytes,
        "cases": {case_id: fit_of(demand) for case_id, demand in fit.demands.items()},
        "command": fit.command,
    }


def _running(cases: Iterable[PlannedCase]) -> list[PlannedCase]:
    return [one for one in cases if one.skip_reason is None]


def _changed(request: Request, config: Config, case: Case, change: Change) -> Request:
    """The request with a change for all cases of a matrix, or for the one case of a list."""
    settings = msgspec.structs.asdict(msgspec.structs.replace(case, **change))
    if config.case is None:
        written = [f"matrix.{name}=[{_toml(value)}]" for name, value in change.items()]
        only = [one for one in request.only if one.partition("=")[0] not in change]
    else:
        plain = msgspec.structs.asdict(Case())
        table = ", ".join(
            f"{name} = {_toml(value)}"
            for name, value in settings.items()
            if value != plain[name] or name == "dtype"
        )
        written, only = [f"case=[{{{table}}}]"], []
    usual = DEFAULT_CONFIG if request.config is None else request.config
    if config.name == CPU_DEFAULT_CONFIG and usual == DEFAULT_CONFIG:
        usual = CPU_DEFAULT_CONFIG
    return replace(
        request, config=usual, overrides=(*request.overrides, *written), only=tuple(only)
    )


def _toml(value: object) -> str:
    return json.dumps(value)


def command_of(request: Request) -> str:
    """The command line that asks for this."""
    words = ["sdbench", "run", *([] if request.config is None else [request.config])]
    for option, value in (
        ("--model", request.model),
        ("--mode", request.mode),
        ("--strength", None if request.strength is None else f"{request.strength:g}"),
        ("--parts", request.parts),
        ("--revision", request.revision),
        ("--device", request.device),
        ("--label", request.label),
    ):
        words += [] if value is None else [option, value]
    for option, values in (
        ("--lora", request.lora),
        ("--stack", request.stacks),
        ("--set", request.overrides),
        ("--only", request.only),
    ):
        words += [word for value in values for word in (option, value)]
    for flag, given in (
        ("--allow-pickle", request.allow_pickle),
        ("--unsafe-memory", request.unsafe_memory),
        ("--until-decided", request.until_decided),
    ):
        words += [flag] if given else []
    return shell(*words)
