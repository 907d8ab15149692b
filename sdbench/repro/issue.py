"""The text of a bug report about one case of a run, in Markdown, from its records alone."""

import re
from typing import Any

from sdbench.analysis.case_words import OUTCOME_WORDS, case_words
from sdbench.correctness.thresholds import MATCH_MULTIPLE
from sdbench.models.family import kind_of_pipeline
from sdbench.quoting.markdown_text import code_block, code_span, plain, table
from sdbench.records import Arm, PlannedCase, Replicate, Run
from sdbench.repro.case_script import LIMIT
from sdbench.words import device_words, memory_words, seconds, size, system_words

_TAIL_LINES = 40
# As flags are written: what is known, and where it is discussed.
_KNOWN_ISSUE = re.compile(
    r"(?P<title>[^\n]*) \((?P<url>https://(?:github\.com|huggingface\.co)/[\w./#?=-]+)\)"
)


def issue_text(
    run: Run,
    planned: PlannedCase,
    arm: Arm,
    attempts: list[Replicate],
    *,
    simulated: bool,
    has_environment: bool = True,
) -> str:
    """The report: what was run, what happened, the machine and versions, and how to repeat it.

    ``has_environment``: whether ``environment.txt`` with the output of ``collect_env`` exists.
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
    "> **SIMULATED**: no real device was measured. This is a demonstration of sdbench; do not "
    "report it."
)
_HOW_TO_REPEAT = f"""## To repeat it

`python repro.py [MODEL]` runs the same case without sdbench: seconds of each pass, memory, and the
error of its images compared with the CPU's. PASS means at most {LIMIT} times the rounding error of
a whole pass; the verdict of a run measures rounding step by step and allows {MATCH_MULTIPLE:.0f}
times that. MODEL is any folder or Hub id of the same kind of model. Give it where the model of this
run is not on the disk: without it the script uses the folder in which sdbench found or made it."""
_ENVIRONMENT = "`environment.txt` is the output of `python -m torch.utils.collect_env`."
_NO_ENVIRONMENT = (
    "Add the output of `python -m torch.utils.collect_env`: it did not run in the interpreter of "
    "the environment here."
)


def _title(run: Run, planned: PlannedCase, attempts: list[Replicate]) -> str:
    outcomes = {OUTCOME_WORDS[entry.outcome] for entry in attempts if entry.outcome != "ok"}
    broken = {words for entry in attempts for words in _broken(entry)}
    words = ", ".join(sorted(outcomes))
    if broken:
        words += f"{'; ' if words else ''}images are {', '.join(sorted(broken))}"
    if not words:
        words = "every process completed" if attempts else "not run"
    kind = kind_of_pipeline(run.model.pipeline_class)
    return f"# {run.device}: {plain(kind)}, {plain(case_words(planned.case))}: {words}"


def _what_was_run(run: Run, planned: PlannedCase, arm: Arm) -> str:
    config, model, case = run.config, run.model, code_span(planned.case_id)
    weights = "" if model.trained else ", random weights"
    settings = {
        "images per pass": config.get("images"),
        "passes": config.get("passes"),
        "steps": config.get("steps"),
        "scheduler": config.get("scheduler"),
        "guidance": config.get("guidance_scale"),
        "seed": config.get("seed"),
    }
    if run.image_to_image is not None:
        settings |= {"mode": config.get("mode"), "strength": config.get("strength")}
    lines = [
        f"- model: {code_span(model.name)} ({plain(model.pipeline_class)}{weights})",
        f"- case: {plain(case_words(planned.case))} ({case}) on {code_span(run.device)}",
        f"- {', '.join(f'{name} {plain(str(value))}' for name, value in settings.items())}",
        f"- by sdbench {plain(run.sdbench)}, run {code_span(run.run_id)}, {plain(run.created_utc)}",
    ]
    variables = {
        name: value
        for name, value in run.variables(arm).items()
        if not name.startswith(("SDBENCH_", "HF_HUB_"))
    }
    if variables:
        words = ", ".join(code_span(f"{name}={value}") for name, value in sorted(variables.items()))
        lines.append(f"- environment: {words}")
    return "## What was run\n\n" + "\n".join(lines)


def _what_happened(attempts: list[Replicate], planned: PlannedCase) -> str:
    if not attempts:
        reason = planned.skip_reason or "this case has not been run in this run"
        return f"## What happened\n\nNothing: {plain(reason)}."
    names = ["process", "outcome", "passes", "first pass", "steady pass", "peak memory"]
    names.append("images")
    rows = table(names, [_row(entry) for entry in attempts])
    reported = [_told(entry) for entry in attempts if entry.outcome != "ok"]
    return "\n\n".join(["## What happened", rows, *reported])


def _broken(entry: Replicate) -> list[str]:
    """What is wrong with the measured images at sight: ``black``, ``not-a-number``."""
    measured = entry.of_kind("measured")
    return sorted({picture.broken for p in measured for picture in p.images if picture.broken})


def _row(entry: Replicate) -> list[str]:
    measured = entry.of_kind("measured")
    first = entry.first_pass_s
    broken = _broken(entry)
    peak = size(entry.peak_memory_bytes)
    if entry.peak_memory_source:
        peak += f" ({plain(entry.peak_memory_source)})"
    return [
        str(entry.block + 1),
        OUTCOME_WORDS[entry.outcome],
        str(len(measured)),
        seconds(first),
        seconds(entry.steady_median_s),
        peak,
        ", ".join(broken) or ("–" if not measured else "finite, not black"),
    ]


def _told(entry: Replicate) -> str:
    """The reason, the cause and the end of the error output of a process that did not complete."""
    lines = [f"Process {entry.block + 1}: {plain(entry.reason or 'no reason known')}."]
    if entry.cause is not None:
        lines.append(plain(entry.cause.sentence))
    if entry.crash_report is not None and entry.crash_report.message:
        lines.append(f"The system's crash report says: {plain(entry.crash_report.message)}")
    tail = entry.stderr_tail.strip().splitlines()[-_TAIL_LINES:]
    if tail:
        lines.append(f"End of the error output:\n\n{code_block(tail, 'text')}")
    return "\n\n".join(lines)


def _machine(run: Run, arm: Arm, attempts: list[Replicate]) -> str:
    facts = run.machine
    chip = facts.get("chip") or facts.get("architecture")
    system = system_words(facts, run.machine_facts) or "system unknown"
    lines = [f"- {plain(str(chip))}, {memory_words(facts.get('memory_bytes'))}, {plain(system)}"]
    device: dict[str, Any] = next(
        (found for entry in attempts if isinstance(found := entry.device.get("facts"), dict)), {}
    )
    reported = plain(device_words(device, run.device))
    if device:
        lines.append(f"- device: {reported}")
    stack = run.stacks.get(arm.stack)
    if stack is not None:
        packages = ", ".join(f"{name} {version}" for name, version in stack.packages.items())
        lines.append(f"- Python {plain(stack.python)}, {plain(packages)}")
    return "## Machine and versions\n\n" + "\n".join(lines)


def _known_issues(planned: PlannedCase) -> str:
    if not planned.flags:
        return ""
    return ("## Known issues of these settings and versions\n\n") + "\n".join(
        map(_flag, planned.flags)
    )


def _flag(flag: str) -> str:
    """A known issue keeps its link if the link has the form that the catalogue uses."""
    match = _KNOWN_ISSUE.fullmatch(flag)
    return f"- {plain(flag)}" if match is None else f"- {plain(match['title'])} ({match['url']})"
