"""A diagnosis as a person reads it: the verdict, what is wrong, what to use, then the claims."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sdbench.analysis.case_words import CORRECT_WORDS, case_words
from sdbench.analysis.iterations import iterations_words
from sdbench.analysis.no_effect import marked
from sdbench.diagnosis.result import (
    Choice,
    Claim,
    ClaimVerdict,
    Conflict,
    Diagnosis,
    Finding,
    Goal,
    Severity,
    Tradeoff,
)
from sdbench.report.terminal.lines import harmless, print_command, say
from sdbench.report.terminal.tables import Column, print_table, rate_figure, table_of
from sdbench.report.view.finding_words import CLAIM_VERDICTS, remedy_parts
from sdbench.words import counted, printable, seconds, size

_MOST_ROWS = 100
_SEVERITY_STYLES: dict[Severity, str] = {"error": "red", "warning": "yellow", "info": "dim"}
_VERDICT_STYLES: dict[ClaimVerdict, str] = {
    "confirmed": "green",
    "refuted": "red",
    "inconclusive": "yellow",
    "not-applicable": "dim",
}


def render_diagnosis(diagnosis: Diagnosis, console: Console, *, everything: bool = False) -> None:
    """The verdict first, then what to do about it, then what the documentation claims.

    ``everything`` also prints the claims that speak of other devices, and the cases and sizes
    beyond a hundred of each, else they are counted.
    """
    simulated = " – SIMULATED: no real device made these results" if diagnosis.simulated else ""
    title = f"{harmless(diagnosis.run_id)} on {diagnosis.device}{simulated}"
    say(console, f"{title}: {harmless(diagnosis.work)}" if diagnosis.work else title)
    style = "green" if diagnosis.healthy else "red"
    say(console, f"[bold {style}]{harmless(diagnosis.headline)}[/]")
    for note in diagnosis.notes:
        _say(console, "note", "yellow", note)
    if diagnosis.findings:
        console.print("\n[bold]Findings[/], worst first")
    for finding in diagnosis.findings:
        _print_finding(finding, console)
    console.print("\n[bold]What to use[/]")
    _print_recommendation(diagnosis, console, most=None if everything else _MOST_ROWS)
    console.print("\n[bold]What the documentation claims[/], tested here")
    several = len({claim.stack for claim in diagnosis.claims}) > 1
    for claim in diagnosis.claims:
        if everything or claim.verdict != "not-applicable":
            _print_claim(claim, console, several_stacks=several)
    for conflict in diagnosis.conflicts:
        if everything or conflict.agrees_with is not None:
            _print_conflict(conflict, console, several_stacks=several)
    left_out = sum(claim.verdict == "not-applicable" for claim in diagnosis.claims)
    if left_out and not everything:
        speak = "speaks" if left_out == 1 else "speak"
        say(
            console,
            f"{counted(left_out, 'claim')} {speak} of other devices than {diagnosis.device} and "
            "cannot be tested here: --all shows them",
            lead="  ",
        )


def finding_words(finding: Finding) -> str:
    """``Out of memory – 64x64: 2 of 3 processes … (oom)`` in markup: the code in small print."""
    return f"[bold]{finding.title}[/] – {harmless(finding.sentence)} [dim]({finding.code})[/]"


def _print_finding(finding: Finding, console: Console) -> None:
    style = _SEVERITY_STYLES[finding.severity]
    say(console, finding_words(finding), lead=f"  [{style}]{finding.severity:<7}[/] ")
    if finding.severity == "info":
        return
    lead = "    → "
    for words, command in remedy_parts(finding):
        if words:
            say(console, harmless(words), lead=lead)
            lead = "      "
        if command is not None:
            print_command(console, command, lead="        ")


def _print_claim(claim: Claim, console: Console, *, several_stacks: bool) -> None:
    stack = f" [{claim.stack}]" if several_stacks else ""
    words = f"({claim.id}) {CLAIM_VERDICTS[claim.verdict]}{stack}"
    _say(console, words, _VERDICT_STYLES[claim.verdict], claim.claim)
    say(console, harmless(claim.sentence), lead="    ")
    say(console, harmless(claim.speaks_of), lead="    ", style="dim")


def _print_conflict(conflict: Conflict, console: Console, *, several_stacks: bool) -> None:
    stack = f" [{conflict.stack}]" if several_stacks else ""
    claims = " and ".join(f"({letter})" for letter in conflict.claims)
    words = f"{claims} contradict each other about {conflict.about}. {conflict.sentence}"
    _say(console, f"editions{stack}", "dim", words)


def _print_recommendation(diagnosis: Diagnosis, console: Console, most: int | None) -> None:
    recommendation = diagnosis.recommendation
    if recommendation.tradeoffs:
        judged = not recommendation.first_look
        print_table(_tradeoffs(recommendation.tradeoffs[:most], judged=judged), console)
        _print_left_out(len(recommendation.tradeoffs), most, "case", console)
    say(console, harmless(recommendation.sentence))
    shown: set[str] = set()
    for goal in recommendation.goals[:most]:
        _print_goal(goal, console, shown, recommendation.sentence)
    _print_left_out(len(recommendation.goals), most, "size", console)


def _print_left_out(number: int, most: int | None, what: str, console: Console) -> None:
    if most is not None and number > most:
        console.print(f"  {counted(number - most, f'more {what}')}: --all shows them", style="dim")


def _print_goal(goal: Goal, console: Console, shown: set[str], sentence: str) -> None:
    if goal.reason is not None and goal.reason not in shown:
        shown.add(goal.reason)
        if goal.reason.rstrip(".").lower() != sentence.rstrip(".").lower():
            say(console, f"[yellow]{harmless(goal.reason)}[/]", lead="  ")
    if goal.latency is not None and goal.latency == goal.throughput:
        choices = [("one image or many", goal.latency)]
    else:
        both = (("one image", goal.latency), ("many images", goal.throughput))
        choices = [(name, choice) for name, choice in both if choice is not None]
    for name, choice in choices:
        words = [
            case_words(choice.case),
            f"{seconds(choice.seconds_per_picture)} per image",
            iterations_words(choice.iterations_per_second),
            size(choice.peak_memory_bytes),
        ]
        console.print()
        _say(console, f"{goal.resolution}, {name}", "green", ", ".join(words))
        for gain in choice.gains:
            say(console, harmless(gain.sentence), lead="    ")
        for note in choice.notes:
            say(console, harmless(note), lead="    note: ")
        if choice.case_id not in shown:
            shown.add(choice.case_id)
            _print_how(choice, console)


def _print_how(choice: Choice, console: Console) -> None:
    # As it is, to be pasted: nothing wrapped, nothing indented.
    console.print(escape(_printable_lines(choice.snippet)), style="cyan", soft_wrap=True)
    for program, options in choice.elsewhere.items():
        words = ", ".join(options)
        say(console, harmless(words), lead=f"    {program} (not measured there): ")


def _printable_lines(text: str) -> str:
    return "\n".join(printable(line) for line in text.splitlines())


def _tradeoffs(tradeoffs: Sequence[Tradeoff], *, judged: bool) -> Table:
    """With marks where there are enough processes to tell cases apart (``judged``)."""
    columns: list[Column[Tradeoff]] = [
        ("time against memory", "folded", lambda entry: escape(_name(entry))),
        ("variant", "text", lambda entry: harmless(entry.arm)),
        ("s/image", "figure", lambda entry: seconds(entry.seconds_per_picture)),
        ("it/s", "figure", lambda entry: rate_figure(entry.iterations_per_second)),
        ("peak memory", "figure", lambda entry: size(entry.peak_memory_bytes)),
        ("image", "text", lambda entry: CORRECT_WORDS[entry.correct]),
        ("efficient", "text", lambda entry: "●" if entry.efficient else ""),
    ]
    several_arms = len({entry.arm for entry in tradeoffs}) > 1
    return table_of(tradeoffs, columns, shown={"variant": several_arms, columns[-1][0]: judged})


def _name(entry: Tradeoff) -> str:
    return marked(case_words(entry.case), entry.case, entry.no_effect)


def _say(console: Console, what: str, style: str, about: str) -> None:
    say(console, harmless(about), lead=f"  [{style}]{escape(what)}[/]  ")
