"""The text of a bug report about one case of a run, in Markdown, from its records alone."""

from typing import Any

from sdbench.report.terminal import OUTCOME_WORDS, case_words
from sdbench.report.units import memory_words, printable, seconds, size, system_words
from sdbench.schema import Arm, PlannedCase, Replicate, Run
from sdbench.summary import steady_median_s

_TAIL_LINES = 40


def issue_text(
    run: Run,
    planned: PlannedCase,
    arm: Arm,
    attempts: list[Replicate],
    *,
    simulated: bool,
    has_environment: bool = True,
) -> str:
    """What was run, what happened, on which machine, with which versions; then how to repeat it.

    ``has_environment``: whether ``collect_env`` could be run for the file beside it.
    """
    sections = [
        _title(run, planned, attempts),
        _SIMULATED if simulated else "",
        _what_was_run(run, planned, arm),
        _what_happened(attempts, planned),
        _machine(run, arm, attempts),
        _known_issues(planned),
        f"{_HOW_TO_REPEAT} {_ENVIRONMENT if has_environment else _NO_ENVIRONMENT}",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


_SIMULATED = (
    "> **SIMULATED**: no real device made this. It is here to try sdbench; do not report it."
)
_HOW_TO_REPEAT = """## To repeat it

`python repro.py [MODEL]` runs the same case without sdbench: seconds of each pass, memory, and the
error of its pictures against the CPU's beside a floor. MODEL is any folder or Hub id of the same
kind of model."""
_ENVIRONMENT = "`environment.txt` is the output of `python -m torch.utils.collect_env`."
_NO_ENVIRONMENT = (
    "Add the output of `python -m torch.utils.collect_env`: it did not run in the stack's "
    "interpreter here."
)


def _title(run: Run, planned: PlannedCase, attempts: list[Replicate]) -> str:
    outcomes = {OUTCOME_WORDS[entry.outcome] for entry in attempts}
    words = ", ".join(sorted(outcomes)) or "not run"
    return f"# {run.device}: Stable Diffusion, {case_words(planned.case)}: {words}"


def _what_was_run(run: Run, planned: PlannedCase, arm: Arm) -> str:
    config, model = run.config, run.model
    weights = "" if model.trained else ", random weights"
    settings = {
        "pictures a pass": config["images"],
        "passes": config["passes"],
        "steps": config["steps"],
        "scheduler": config["scheduler"],
        "guidance": config["guidance_scale"],
        "seed": config["seed"],
    }
    lines = [
        f"- model: `{model.name}` ({model.pipeline_class}{weights})",
        f"- case: {case_words(planned.case)} (`{planned.case_id}`) on `{run.device}`",
        f"- {', '.join(f'{name} {value}' for name, value in settings.items())}",
        f"- by sdbench {run.sdbench}, run `{run.run_id}`, {run.created_utc}",
    ]
    variables = {
        name: value
        for name, value in run.variables(arm).items()
        if not name.startswith(("SDBENCH_", "HF_HUB_"))
    }
    if variables:
        words = ", ".join(f"`{name}={value}`" for name, value in sorted(variables.items()))
        lines.append(f"- environment: {words}")
    return "## What was run\n\n" + "\n".join(lines)


def _what_happened(attempts: list[Replicate], planned: PlannedCase) -> str:
    if not attempts:
        reason = planned.skip_reason or "this case has not been run in this run"
        return f"## What happened\n\nNothing: {reason}."
    rows = [
        "| process | outcome | first pass | steady pass | peak memory | pictures |",
        "|---|---|---|---|---|---|",
        *(_row(entry) for entry in attempts),
    ]
    told = [_told(entry) for entry in attempts if entry.outcome != "ok"]
    return "\n\n".join(["## What happened", "\n".join(rows), *told])


def _row(entry: Replicate) -> str:
    measured = entry.of_kind("measured")
    first = measured[0].duration_s if measured else None
    broken = sorted({picture.broken for p in measured for picture in p.images if picture.broken})
    peak = size(entry.peak_memory_bytes)
    if entry.peak_memory_source:
        peak += f" ({entry.peak_memory_source})"
    cells = [
        str(entry.block + 1),
        OUTCOME_WORDS[entry.outcome],
        seconds(first),
        seconds(steady_median_s(entry)),
        peak,
        ", ".join(broken) or ("–" if not measured else "finite, not black"),
    ]
    return f"| {' | '.join(cells)} |"


def _told(entry: Replicate) -> str:
    """The reason, the cause and the last words of a process that did not end well."""
    lines = [f"Process {entry.block + 1}: {printable(entry.reason or 'no reason known')}."]
    if entry.cause is not None:
        lines.append(printable(entry.cause.sentence))
    if entry.crash_report is not None and entry.crash_report.message:
        lines.append(f"The system's crash report says: {printable(entry.crash_report.message)}")
    tail = [printable(line) for line in entry.stderr_tail.strip().splitlines()[-_TAIL_LINES:]]
    if tail:
        # Four backticks: the words may hold three.
        lines.append("Last words on standard error:\n\n````text\n" + "\n".join(tail) + "\n````")
    return "\n\n".join(lines)


def _machine(run: Run, arm: Arm, attempts: list[Replicate]) -> str:
    facts = run.machine
    chip = facts.get("chip") or facts.get("architecture")
    system = system_words(facts, run.machine_facts) or "system unknown"
    lines = [f"- {chip}, {memory_words(facts.get('memory_bytes'))}, {system}"]
    device: dict[str, Any] = next(
        (entry.device["facts"] for entry in attempts if entry.device.get("facts")), {}
    )
    told = ", ".join(f"{name} {value}" for name, value in device.items() if value is not None)
    if told:
        lines.append(f"- device: {told}")
    stack = run.stacks.get(arm.stack)
    if stack is not None:
        packages = ", ".join(f"{name} {version}" for name, version in stack.packages.items())
        lines.append(f"- Python {stack.python}, {packages}")
    return "## Machine and versions\n\n" + "\n".join(lines)


def _known_issues(planned: PlannedCase) -> str:
    if not planned.flags:
        return ""
    return "## Known issues these settings meet\n\n" + "\n".join(
        f"- {flag}" for flag in planned.flags
    )
