"""Operators in which a device and the CPU part: the table, its sentences, and the JSON document."""

from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sdbench.quality.operator_calls import BEYOND, JudgedCall, OperatorGroup, where_it_fails
from sdbench.report.units import duration, printable
from sdbench.runner.demonstrate import Demonstration
from sdbench.runner.localise import Found, Search


@dataclass(frozen=True)
class Localisation:
    """A finished search; ``groups`` are all operators by module, worst first."""

    search: Search
    found: Found
    groups: list[OperatorGroup]
    proof: Demonstration | None
    duration_s: float

    @property
    def simulated(self) -> bool:
        """Whether no real device was there."""
        return self.found.simulated or self.search.device.simulated

    @property
    def beyond(self) -> list[OperatorGroup]:
        """What the device does wrongly."""
        return [group for group in self.groups if group.beyond]

    @property
    def where(self) -> str | None:
        """In which calls the worst operator is wrong."""
        if not self.beyond:
            return None
        return where_it_fails(self.found.judged, self.beyond[0].worst.call.op)


def localisation_json(result: Localisation, top: int) -> dict[str, Any]:
    """The JSON contract, and what the table says beyond it."""
    search, found, proof = result.search, result.found, result.proof
    return {
        "model": search.model.name,
        "device": search.device.kind,
        "simulated": result.simulated,
        "dtype": search.dtype,
        "resolution": search.case.resolution,
        "attention_slicing": search.case.attention_slicing,
        "vae_tiling": search.case.vae_tiling,
        "batch": search.config.images,
        "steps": search.config.steps,
        "complete": found.complete,
        "calls": len(found.judged),
        "skipped": found.skipped,
        "notes": found.notes,
        "limit": BEYOND,
        "beyond": len(result.beyond),
        "ops": [_row(group) for group in result.groups[:top]],
        "where": result.where,
        "script": None if proof is None else str(proof.script),
        "script_operands": None if proof is None else _operands_word(proof),
        "script_shows_it": None if proof is None else proof.shown == "shown",
        "duration_s": result.duration_s,
    }


def _row(group: OperatorGroup) -> dict[str, Any]:
    worst = group.worst
    call, comparison = worst.call, worst.comparison
    first = call.operands[0] if call.operands else None
    return {
        "module": call.module,
        "class": call.module_class,
        "op": call.op,
        "call": call.index,
        "shape": None if first is None else first.shape,
        "stride": None if first is None else first.stride,
        "status": worst.status,
        "rel_l2": comparison.rel_l2,
        "floor": comparison.floor,
        "ratio": comparison.ratio,
        "nonfinite": comparison.nonfinite,
        "reason": worst.reason,
        "calls": group.calls,
        "beyond": group.beyond,
    }


def render_localisation(result: Localisation, out: Console, top: int) -> None:
    """The table, the verdict in a sentence, the script."""
    out.print(_table(result, top))
    if len(result.groups) > top:
        out.print(f"and {len(result.groups) - top} more (--top shows them)")
    for reason, op in _reasons(result.groups[:top]).items():
        out.print(printable(f"  {op}: {reason}"), markup=False, soft_wrap=True)
    out.print(_verdict(result), soft_wrap=True, markup=False)
    left_out = ", ".join(f"{count} {reason}" for reason, count in result.found.skipped.items())
    out.print(
        f"{len(result.found.judged)} calls compared in {duration(result.duration_s)}. "
        f"Not compared: {left_out or 'none'}.",
        soft_wrap=True,
        markup=False,
    )
    for note in result.found.notes:
        out.print(f"Note: {note}", soft_wrap=True, markup=False)
    if result.proof is not None:
        out.print(_proof_words(result.proof), soft_wrap=True, markup=False)


def _reasons(groups: list[OperatorGroup]) -> dict[str, str]:
    """What was said by calls that did not come back with numbers, each once, and of what."""
    return {group.worst.reason: group.worst.call.op for group in groups if group.worst.reason}


def _table(result: Localisation, top: int) -> Table:
    search = result.search
    title = f"{search.device.kind} against the CPU in {search.dtype}, {search.model.name}"
    if result.simulated:
        title += " – SIMULATED: no real device made these numbers"
    table = Table(title=title, title_justify="left", show_edge=False, pad_edge=False)
    for column in ("operator", "module", "class"):
        table.add_column(column, overflow="fold")
    for column in ("wrong calls", "call", "shape", "strides", "error", "floor", "ratio"):
        table.add_column(column, justify="right")
    for group in result.groups[:top]:
        style = "red" if group.beyond else None
        table.add_row(*(escape(printable(cell)) for cell in _cells(group)), style=style)
    return table


def _cells(group: OperatorGroup) -> list[str]:
    call = group.worst.call
    shape = "×".join(map(str, call.operands[0].shape)) if call.operands else "–"
    strides = next((operand.stride for operand in call.operands if not operand.contiguous), None)
    return [
        call.op,
        call.module or "(pipeline)",
        call.module_class,
        f"{group.beyond} of {group.calls}",
        str(call.index),
        shape or "1 number",
        "" if strides is None else ",".join(map(str, strides)),
        *_numbers(group.worst),
    ]


def _numbers(entry: JudgedCall) -> list[str]:
    """Error, floor and ratio, or the word for what has none."""
    comparison = entry.comparison
    if entry.status != "compared":
        return ["", "", entry.status]
    error = "–" if comparison.rel_l2 is None else f"{comparison.rel_l2:.2g}"
    floor = "–" if comparison.floor is None else f"{comparison.floor:.2g}"
    ratio = "∞ (NaN)" if comparison.ratio is None else f"{comparison.ratio:.3g}"
    return [error, floor, ratio]


def _verdict(result: Localisation) -> str:
    device = result.search.device.kind
    words = f"No operator is beyond {BEYOND:g}× its floor: {device} computes like the CPU."
    if result.beyond:
        names = ", ".join(dict.fromkeys(group.worst.call.op for group in result.beyond))
        words = f"{result.beyond[0].worst.call.op} is {result.where}. "
        words += f"Beyond {BEYOND:g}× their floor: {names}."
    if not result.found.complete:
        words += " Not all was compared: too many calls ended the process."
    return words


def _operands_word(proof: Demonstration) -> str:
    return "carried" if proof.carried else "seeded"


def _proof_words(proof: Demonstration) -> str:
    beside = " and its operands beside it" if proof.carried else ""
    words = {
        "shown": "It was run and shows the fault.",
        "not-shown": "It was run and does not show the fault: that may depend on what came before.",
        "not-run": "It could not be run to its end here.",
    }
    return f"Script for a bug report: {proof.script}{beside}. {words[proof.shown]}"
