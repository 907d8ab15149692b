"""What is about to be measured: the first lines of a run, and its plan."""

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console

from sdbench.analysis.case_words import case_words, row_words
from sdbench.models.builtin import BUILTIN
from sdbench.models.catalogue import SYNTHETIC
from sdbench.models.resolve import OFFLINE
from sdbench.plan.config import UntilDecided
from sdbench.records import Plan
from sdbench.report.terminal.lines import render_lines, say_plain
from sdbench.report.terminal.memory_page import fit_sentence, show_bars
from sdbench.runner.predictions import basis_words
from sdbench.runner.prepare import Prepared
from sdbench.runner.start_warnings import slowdown_of, warnings_of
from sdbench.stats import LOOKS, MIN_PROCESSES
from sdbench.words import counted, duration, machine_words, size

# Nobody reads more, and painting a line takes half a millisecond.
_SHOWN_PROCESSES = 1000
# Three steady passes outvote a disturbed one: 8 processes find a change of 10% in 98 of 100
# simulated runs, with one steady pass less in 77.
_PASSES_TO_COMPARE = 4
ON_YOUR_CHIP = "measured on your chip"


def _work_words(prepared: Prepared) -> str:
    """``20 steps, ddim, guidance 7.5 (scheduler, guidance_scale as for Stable Diffusion XL)``."""
    config, resolved = prepared.config, prepared.resolved
    words = f"{config.steps} steps, {config.scheduler}, guidance {config.guidance_scale}"
    if config.mode == "image-to-image":
        words += f", {config.mode} with strength {config.strength}"
    title = prepared.traits.family.title
    return f"{words} ({', '.join(resolved)} as for {title})" if resolved else words


def introduce(prepared: Prepared, remarks: Console, measured: Sequence[str] = ()) -> None:
    """The first lines: what, where, how long, how much, and that nothing is sent anywhere.

    ``measured`` says what similar machines of a board measured.
    """
    config, plan = prepared.config, prepared.plan
    skipped = sum(planned.skip_reason is not None for planned in plan.cases)
    arms = f" × {len(plan.arms)} variants" if len(plan.arms) > 1 else ""
    processes = f"{counted(len(plan.slots), 'process', 'processes')}: "
    processes += f"{counted(len(plan.cases) - skipped, 'case')}{arms}"
    processes += f" × {config.fewest_processes}" if config.fewest_processes > 1 else ""
    machine = machine_words(prepared.machine, unknown="a machine of unknown processor")
    lines = [
        ("plan", f"{config.name} – {processes}" + (f", {skipped} skipped" if skipped else "")),
        ("machine", machine),
        ("model", _model_words(prepared)),
        ("work", _work_words(prepared)),
        ("device", _device_words(prepared)),
        ("takes", _cost_words(prepared)),
        ("memory", fit_sentence(prepared.memory, plan)),
        *(("" if index else ON_YOUR_CHIP, words) for index, words in enumerate(measured)),
    ]
    if config.until_decided is not None:
        lines.insert(1, ("until", _until_words(config.until_decided)))
    render_lines(lines, remarks)
    show_bars(prepared.memory, plan, remarks)
    for warning in warnings_of(prepared):
        say_plain(remarks, warning, lead="warning: ", style="yellow")
    for hint in (*prepared.remarks, *_hints(prepared)):
        say_plain(remarks, hint, lead="note: ")
    if prepared.facts.simulated:
        remarks.print("SIMULATED: the facts about the machine come from a recording")
    for flag, cases in _flags(plan).items():
        say_plain(remarks, f"known: {flag}, in {cases} of {len(plan.cases)} cases")
    if prepared.model.name not in OFFLINE:
        remarks.print("No safety checker is loaded: it returns black images, which hide faults.")
    if config.reference.budget_s:
        remarks.print(
            "Afterwards the CPU makes the missing reference images: at most "
            f"{duration(config.reference.budget_s)} (reference.budget_s)."
        )
    nothing = "" if prepared.model.download else "Nothing is downloaded; "
    remarks.print(
        f"{nothing}{'n' if nothing else 'N'}othing leaves this machine. Ctrl-C stops and keeps all "
        "measurements."
    )


def _hints(prepared: Prepared) -> list[str]:
    """What would keep a comparison from finding anything (PROTOCOL 2; ``error_rates.py``)."""
    config, passes = prepared.config, prepared.fewest_passes
    if len(prepared.plan.arms) < 2 and config.until_decided is None:
        return []
    hints = []
    if config.fewest_processes < MIN_PROCESSES:
        hints.append(
            f"with replicates = {config.fewest_processes} there are measurements without verdicts: "
            "--until-decided, or --set replicates=8"
        )
    if passes < _PASSES_TO_COMPARE:
        auto = " of a case" if config.passes == "auto" else ""
        hints.append(
            f"with {passes} passes{auto} one disturbed pass can determine the result of a process: "
            f"--set passes={_PASSES_TO_COMPARE} detects changes far more often"
        )
    return hints


def _flags(plan: Plan) -> Counter[str]:
    """Known issues that planned cases meet, and in how many cases."""
    return Counter(flag for planned in plan.cases for flag in planned.flags)


def _model_words(prepared: Prepared) -> str:
    source = prepared.model
    words = f"{source.name}, {size(source.bytes_on_disk)} of weights"
    if source.name in SYNTHETIC:
        words += ", random by design (the real architecture, no download)"
    if source.name in BUILTIN:
        words += ", trained, in the package: its images can be checked against the prompt"
    if source.must_be_built:
        words += "; made now, once"
    return words


def _device_words(prepared: Prepared) -> str:
    stacks = [stack.packages for stack in prepared.stacks.values()]
    versions = (
        f"{name} {' / '.join(dict.fromkeys(packages[name] for packages in stacks))}"
        for name in ("torch", "diffusers")
    )
    name = prepared.device.facts.get("name")
    simulated = " – SIMULATED" if prepared.device.simulated else ""
    return f"{prepared.device.kind}{f' ({name})' if name else ''}, {', '.join(versions)}{simulated}"


def _until_words(until: UntilDecided) -> str:
    """``decided by arm: looks after 3, 5, 8, 13 and 21 processes``."""
    *looks, last = (str(count) for count in LOOKS if count <= until.max_processes)
    counts = f"{', '.join(looks)} and {last}" if looks else last
    return (
        f"every comparison by {until.by} is decided (a difference counts from "
        f"{until.threshold:.0%} on): analyses after {counts} processes per case and variant"
    )


def _cost_words(prepared: Prepared) -> str:
    least, most = prepared.estimate, prepared.at_most
    limit = prepared.config.max_minutes
    factor = slowdown_of(prepared)
    words = f"about {duration(factor * least.duration_s)}"
    if most.duration_s > least.duration_s:
        words = f"at least {words}, at most {duration(factor * most.duration_s)}"
    if factor > 1:
        words += f" under the load of this moment ({duration(least.duration_s)} without it)"
    words += f", never more than {limit:g} min" if limit else ""
    words += f"; {size(most.disk_bytes)} of disk (rough estimates)"
    return words if prepared.likely_s is None else f"{words}; {_prediction_words(prepared)}"


def _prediction_words(prepared: Prepared) -> str:
    """What the announced time rests on where no run of a Mac has been measured, and its interval.

    The interval is of the time without other load, like the prediction.
    """
    low, high = prepared.likely_s or (0.0, 0.0)
    words = f"the time is {basis_words()}"
    if duration(low) == duration(high):
        return words
    return f"{words}; {duration(low)} to {duration(high)} is likely"


def show_plan(prepared: Prepared, out: Console, measured: Sequence[str] = ()) -> None:
    """The plan in its order, for ``--dry-run``; ``measured`` as of :func:`introduce`."""
    plan = prepared.plan
    introduce(prepared, out, measured)
    out.print(f"\nWorkers are started by {plan.start}. In order:")
    cases = {planned.case_id: planned for planned in plan.cases}
    for slot in plan.slots[:_SHOWN_PROCESSES]:
        words = row_words(cases[slot.case_id].case, slot.arm, plan.arms)
        out.print(f"  {slot.index + 1:>4}  block {slot.block + 1}  {words}", markup=False)
    if plan.slots[_SHOWN_PROCESSES:]:
        more = len(plan.slots) - _SHOWN_PROCESSES
        out.print(f"  and {more:,} more processes (all of them: --json)")
    until = prepared.config.until_decided
    if until is not None and until.max_processes > prepared.config.fewest_processes:
        out.print(f"  and so on, to at most block {until.max_processes}, until decided")
    remarks = [*_plan_remarks(plan)]
    for line in remarks[:_SHOWN_PROCESSES]:
        out.print(f"  {line}", markup=False)
    if remarks[_SHOWN_PROCESSES:]:
        out.print(f"  and {len(remarks) - _SHOWN_PROCESSES:,} more skipped or merged (--json)")


def _plan_remarks(plan: Plan) -> Iterator[str]:
    for planned in plan.cases:
        if planned.skip_reason is not None:
            yield f"skipped: {case_words(planned.case)} – {planned.skip_reason}"
        for merged in planned.merged:
            yield f"merged: {merged} → {planned.case_id}"
