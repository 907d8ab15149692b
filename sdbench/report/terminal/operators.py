"""Operators in which a device and the CPU part: the table, its sentences, and the JSON document."""

from collections import Counter
from typing import Any

from rich.console import Console
from rich.table import Table

from sdbench.localise.depth_words import rounding_sentence, rounding_word
from sdbench.localise.localisation import Demonstration, Localisation
from sdbench.localise.ranking import BEYOND, JudgedCall, OperatorGroup
from sdbench.report.terminal.lines import harmless, print_command, say
from sdbench.report.terminal.tables import print_table
from sdbench.words import duration, shell

_MOST_NAMED = 3


def localisation_json(result: Localisation, top: int) -> dict[str, Any]:
    """The JSON contract, and what the table says beyond it."""
    proof = result.proof
    return {
        "model": result.model,
        "device": result.device,
        "simulated": result.simulated,
        "dtype": result.dtype,
        "resolution": result.case.resolution,
        "attention_slicing": result.case.attention_slicing,
        "vae_tiling": result.case.vae_tiling,
        "batch": result.images,
        "steps": result.steps,
        "mode": result.mode,
        "strength": result.strength,
        "complete": result.complete,
        "calls": len(result.judged),
        "skipped": result.skipped,
        "notes": result.notes,
        "limit": BEYOND,
        "beyond": len(result.beyond),
        "beyond_rounding": len(result.beyond_rounding),
        "within_coarse": len(result.within_coarse),
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
        "layout": call.layout,
        "shape": None if first is None else first.shape,
        "stride": None if first is None else first.stride,
        "status": worst.status,
        "rel_l2": comparison.rel_l2,
        "floor": comparison.floor,
        "ratio": comparison.ratio,
        "nonfinite": comparison.nonfinite,
        "depth": comparison.depth,
        "bound": comparison.bound,
        "of_bound": worst.of_bound,
        "coarse": comparison.coarse,
        "coarse_bound": comparison.coarse_bound,
        "rounding": worst.rounding,
        "reason": worst.reason,
        "calls": group.calls,
        "beyond": group.beyond,
    }


def render_localisation(result: Localisation, out: Console, top: int) -> None:
    """The verdict, the operators that differ, the script, and how to go on.

    Operators that agree with the CPU are counted; of them the nearest to its limit is named.
    """
    title = f"{result.device} against the CPU in {result.dtype}, {result.model}"
    if result.simulated:
        title += " – SIMULATED: no real device made these numbers"
    say(out, harmless(title))
    say(out, f"[bold {'red' if result.beyond else 'default'}]{harmless(_verdict(result))}[/]")
    shown = result.beyond[:top]
    if shown:
        print_table(_table(shown), out)
    if len(result.beyond) > len(shown):
        out.print(f"and {len(result.beyond) - len(shown)} more (--top shows them)")
    for words in _rounding_words(result, shown):
        say(out, harmless(words))
    for reason, op in _reasons(shown).items():
        say(out, harmless(f"{op}: {reason}"), lead="  ")
    nearest = next((group for group in result.groups if not group.worst.within_tf32), None)
    if not result.beyond and nearest is not None:
        say(out, harmless(_nearest_words(nearest)))
    left_out = ", ".join(f"{count} {reason}" for reason, count in result.skipped.items())
    words = (
        f"{len(result.judged)} calls compared in {duration(result.duration_s)}. "
        f"Not compared: {left_out or 'none'}."
    )
    say(out, harmless(words))
    for note in result.notes:
        say(out, harmless(note), lead="Note: ")
    if result.proof is not None:
        say(out, harmless(_proof_words(result.proof)))
    _print_next(result, out)


def _nearest_words(group: OperatorGroup) -> str:
    """The operator that comes nearest to its limit."""
    call, numbers = group.worst.call, _numbers(group.worst)
    where = call.module or "the pipeline"
    words = f"Nearest to its limit: {call.op} in {where}, {numbers[2]} times its floor."
    return words if group.worst.of_bound is None else f"{words} {rounding_sentence(group.worst)}"


def _rounding_words(result: Localisation, shown: list[OperatorGroup]) -> list[str]:
    """What the depth of the sums says: of all operators, of the wrong ones, and of those near."""
    found = Counter(group.worst.rounding for group in result.groups)
    coarse = found["within-coarse"]
    total = (
        f"Rounding expected from the depth of sums: {found['within']} of {len(result.groups)} "
        f"operators are within it, {found['beyond'] + coarse} beyond; no bound is known of "
        f"{found['unknown']}."
    )
    lines = [total]
    lines += [f"{op}: {words}" for op, words in _worst_by_op(shown).items()]
    coarse_words = "and explained by coarser arithmetic alone"
    above, below = f"Above {BEYOND:g}× its floor,", f"Less than {BEYOND:g}× its floor,"
    tf32 = [group for group in result.within_coarse if group.worst.above_limit]
    near = [group for group in result.within_coarse if not group.worst.above_limit]
    for groups, what in (
        (result.beyond_rounding, f"{below} but not explained by rounding"),
        (tf32, f"{above} {coarse_words}"),
        (near, f"{below} {coarse_words}"),
    ):
        lines += [
            f"{what}: {op}. {words}" for op, words in [*_worst_by_op(groups).items()][:_MOST_NAMED]
        ]
    return lines


def _worst_by_op(groups: list[OperatorGroup]) -> dict[str, str]:
    """The sentence about the depth of the worst call of each operator, where it has a bound."""
    worst: dict[str, JudgedCall] = {}
    for group in groups:
        if group.worst.of_bound is not None:
            worst.setdefault(group.worst.call.op, group.worst)
    return {op: rounding_sentence(entry) for op, entry in worst.items()}


def _print_next(result: Localisation, out: Console) -> None:
    if result.proof is not None:
        out.print("Next: show the fault without sdbench, and attach the script to a bug report:")
        print_command(out, shell("python", result.proof.script), lead="  ")
    elif result.beyond_rounding and result.dtype != "float32":
        words = "Next: search in float32, where rounding is smaller and a fault shows more clearly:"
        say(out, words)
        print_command(out, "sdbench localise --dtype float32", lead="  ")
    elif not result.beyond:
        words = (
            "Next, if images are wrong nevertheless: search with the settings with which they "
            "are. This prints the whole command for each of them:"
        )
        say(out, words)
        print_command(out, "sdbench diagnose latest", lead="  ")


def _reasons(groups: list[OperatorGroup]) -> dict[str, str]:
    """What was said by calls that did not come back with numbers, each once, and of what."""
    return {group.worst.reason: group.worst.call.op for group in groups if group.worst.reason}


def _table(groups: list[OperatorGroup]) -> Table:
    table = Table(show_edge=False, pad_edge=False)
    for column in ("operator", "module", "class"):
        table.add_column(column, overflow="fold")
    for column in ("wrong calls", "call", "shape", "strides", "error", "floor", "ratio"):
        table.add_column(column, justify="right", no_wrap=True)
    for column in ("depth", "bound", "× bound"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("rounding", overflow="fold")
    for group in groups:
        table.add_row(*(harmless(cell) for cell in _cells(group)), style="red")
    return table


def _cells(group: OperatorGroup) -> list[str]:
    call = group.worst.call
    shape = "×".join(map(str, call.operands[0].shape)) if call.operands else "–"
    strides = next((operand.stride for operand in call.operands if not operand.contiguous), None)
    return [
        call.op,
        (call.module or "(pipeline)") + (f", in {call.layout}" if call.layout else ""),
        call.module_class,
        f"{group.beyond} of {group.calls}",
        str(call.index),
        shape or "1 number",
        "" if strides is None else ",".join(map(str, strides)),
        *_numbers(group.worst),
        *_depth_numbers(group.worst),
        rounding_word(group.worst),
    ]


def _depth_numbers(entry: JudgedCall) -> list[str]:
    """Depth, bound, and the error as a multiple of the bound; empty where they are not known."""
    comparison, multiple = entry.comparison, entry.of_bound
    return [
        "" if comparison.depth is None else str(comparison.depth),
        "" if comparison.bound is None else f"{comparison.bound:.2g}",
        "" if multiple is None else f"{multiple:.3g}",
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
    device = result.device
    in_tf32 = any(group.worst.above_limit for group in result.within_coarse)
    but_tf32 = " except where TF32 explains it" if in_tf32 else ""
    words = (
        f"No operator exceeds {BEYOND:g}× its floor: {device} gives the same results as the CPU."
    )
    if result.beyond_rounding:
        ops = ", ".join(dict.fromkeys(group.worst.call.op for group in result.beyond_rounding))
        words = (
            f"No operator exceeds {BEYOND:g}× its floor{but_tf32}, but rounding does not explain "
        )
        words += f"{ops}."
    elif in_tf32:
        words = f"No operator is wrong; {device} multiplies in TF32, which explains its errors."
    elif result.within_coarse:
        words = f"No operator exceeds {BEYOND:g}× its floor; {device} may use coarser arithmetic."
    if not result.complete and not result.beyond:
        words = f"No operator that was compared is beyond {BEYOND:g}× its floor{but_tf32}."
    if result.beyond:
        names = ", ".join(dict.fromkeys(group.worst.call.op for group in result.beyond))
        words = f"{result.beyond[0].worst.call.op} is {result.where}. "
        words += f"Above {BEYOND:g}× their floor: {names}."
    if not result.complete:
        words += " Not all calls were compared: too many crashed the process."
    return words


def _operands_word(proof: Demonstration) -> str:
    return "carried" if proof.carried else "seeded"


def _proof_words(proof: Demonstration) -> str:
    beside = " and its operands next to it" if proof.carried else ""
    words = {
        "shown": "It was run and shows the fault.",
        "not-shown": "It was run and does not show the fault, which may depend on earlier calls.",
        "not-run": "It could not be completed here.",
    }
    return f"Script for a bug report: {proof.script}{beside}. {words[proof.shown]}"
