"""What similar machines of a board measured, in words: ``run --with`` and ``doctor --with``."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from rich.console import Console

from sdbench.board.measured import (
    MeasuredCase,
    MeasuredWork,
    measured_model,
    measured_plan,
)
from sdbench.board.rows import MachineClass, machine_class_of
from sdbench.board.site_data import load_site
from sdbench.doctor.facts import DoctorFacts, TorchFacts
from sdbench.machine import or_none
from sdbench.report.terminal.lines import harmless, say
from sdbench.report.terminal.plan_page import ON_YOUR_CHIP
from sdbench.runner.prepare import Prepared, machine_record, make_run
from sdbench.words import counted, seconds, size

_SHOWN = 5


class OnYourChip(NamedTuple):
    """What a board says of this machine, for people and for programs."""

    words: list[str]
    document: dict[str, Any]

    def show(self, out: Console) -> None:
        """Print it, the heading before the first line."""
        for index, words in enumerate(self.words):
            say(out, harmless(words), lead="  " if index else f"{ON_YOUR_CHIP}: ")


def measured_for_plan(site: Path, prepared: Prepared) -> OnYourChip:
    """What similar machines measured of a plan.

    Raises:
        UsageError: there is no site.
        StoreError: it cannot be read.
    """
    rows = load_site(site)
    kind = prepared.device.kind
    own = machine_class_of(prepared.machine, kind, prepared.device.facts)
    reason = _why_not(own, virtual=or_none(prepared.facts.identity.virtual))
    cases: list[MeasuredCase] = []
    if reason is None:
        cases = measured_plan(rows, own, make_run(prepared, prepared.model.outline()))
        if not any(case.measured for case in cases):
            reason = f"no verified run of a similar machine ({own.words}) has a case of this plan"
    works = {one.setting: one.measured for one in cases if one.measured is not None}
    return OnYourChip(
        [*_words(own, [*works.values()], reason)],
        _document(site, own, reason) | {"cases": msgspec.to_builtins(cases)},
    )


def measured_for_model(site: Path, facts: DoctorFacts) -> OnYourChip:
    """What similar machines measured of the model that doctor was asked about. Raises as
    :func:`measured_for_plan`."""
    rows = load_site(site)
    kind, model = facts.expected_device(), facts.model.outline
    device = facts.torch.device(kind) if isinstance(facts.torch, TorchFacts) else None
    identity = facts.machine.identity
    own = machine_class_of(
        machine_record(identity), kind, {"name": None if device is None else device.name}
    )
    reason = _why_not(own, virtual=or_none(identity.virtual))
    works: list[MeasuredWork] = []
    if reason is None:
        works = measured_model(rows, own, kind, model.title, model.sha256)
        if not works:
            reason = f"no verified run of a similar machine ({own.words}) has this model"
    return OnYourChip(
        [*_words(own, works, reason)],
        _document(site, own, reason) | {"sizes": msgspec.to_builtins(works)},
    )


def _why_not(own: MachineClass, *, virtual: bool | None) -> str | None:
    if virtual:
        return "this is a virtual machine, whose host decides about its speed"
    return None if own.known else "the chip or the memory of this machine is not known"


def _document(site: Path, own: MachineClass, reason: str | None) -> dict[str, Any]:
    return {"site": str(site), "machine": own.words, "reason": reason}


def _words(own: MachineClass, works: Sequence[MeasuredWork], reason: str | None) -> Iterator[str]:
    """One line of what is compared, one for each work."""
    if reason is not None:
        yield f"nothing: {reason}"
        return
    yield f"{own.words}; verified runs of this board, median of the machines and their intervals:"
    for work in works[:_SHOWN]:
        memory = work.peak_memory_bytes
        at_most = "" if memory is None else f", at most {size(memory)} of memory"
        yield (
            f"{seconds(work.seconds_per_image)} an image ({seconds(work.low_s)} to "
            f"{seconds(work.high_s)}, {counted(work.machines, 'machine')}{at_most}): "
            f"{work.setting}; torch {', '.join(work.torch)}"
        )
    if works[_SHOWN:]:
        yield f"and {len(works) - _SHOWN} more (--json)"
