"""``sdbench show``: the story of a run on one screen of 40 lines."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.markup import escape

from sdbench.analysis.case_words import case_words
from sdbench.analysis.iterations import iterations_words
from sdbench.analysis.run_summary import CaseSummary
from sdbench.report.terminal.diagnosis import finding_words
from sdbench.report.terminal.lines import harmless, print_command, print_lines, say
from sdbench.report.terminal.tables import case_table, print_table
from sdbench.report.view import Advice, CaseView, RunReport, Tone
from sdbench.report.view.finding_words import CLAIM_VERDICTS
from sdbench.report.view.headline import measurable_gains
from sdbench.report.view.notes import notes_of
from sdbench.report.view.passes import passes_sentence, sustained_lines
from sdbench.report.view.summary_words import (
    case_remarks,
    disturbed_lines,
    not_checked_lines,
    spread_lines,
    swapped_words,
)
from sdbench.words import counted, seconds, shell, size

MAX_LINES = 40
_TABLE_HEAD = 2  # names and a rule
_FEWEST_ROWS = 6
_FEWEST_REMARKS = 4
_STYLES: dict[Tone, str] = {"good": "green", "warning": "yellow", "bad": "red", "unknown": "dim"}
Lines = list[tuple[str, str]]
"""Two columns, the second with markup."""


def render_overview(
    story: RunReport, head: Lines, console: Console, *, path: str, everything: bool = False
) -> None:
    """Head, verdict, table, what is wrong, what to use, where to go on.

    ``head`` are the lines that say what ran; ``everything`` prints more than one screen.
    """
    top = [*((what, harmless(about)) for what, about in head), *_verdict(story)]
    bottom, more = [*_use(story), *_claims(story), *_state(story)], _more(story, path)
    room = MAX_LINES - len(top) - len(bottom) - len(more) - _TABLE_HEAD
    remarks = [*_remarks(story)]
    cells = story.cells
    if everything:
        room = len(cells) + len(remarks)
    left_for_rows = room - min(len(remarks), _FEWEST_REMARKS)
    if len(cells) > left_for_rows:  # a line says how many more there are
        left_for_rows = max(_FEWEST_ROWS, left_for_rows - 1)
    shown = _chosen_rows(cells, left_for_rows)
    left_for_remarks = max(1, room - len(shown) - (len(shown) < len(cells)))
    width = max(len(what) for what, _ in [*top, *bottom])
    print_lines(top, console, width)
    chosen = {cell.summary.key for cell in cells if cell.recommended}
    print_table(case_table(story.summary, shown, chosen=chosen), console)
    if len(shown) < len(cells):
        console.print(f"and {counted(len(cells) - len(shown), 'more case')}: --all shows them")
    for line in _fitting(remarks, left_for_remarks):
        say(console, line, lead="  ")
    print_lines(bottom, console, width)
    for number, command in enumerate(more):
        print_command(console, command, lead=f"[bold]{'' if number else 'more':<{width}}[/]  ")


def _verdict(story: RunReport) -> Iterator[tuple[str, str]]:
    head = story.headline
    for mark in story.marks:
        yield "NOTE", f"[bold]{mark.word}[/] – {harmless(mark.sentence)}"
    yield "set-up", _toned(head.setup_tone, f"{head.setup_sentence}.")
    for check in head.setup:
        if check.tone in ("bad", "warning"):
            yield "", harmless(f"{check.what}: {check.found}")
    yield "verdict", _toned(head.tone, story.diagnosis.headline)


def _toned(tone: Tone, words: str) -> str:
    return f"[{_STYLES[tone]}]{harmless(words)}[/]"


def _remarks(story: RunReport) -> Iterator[str]:
    """What is wrong: findings first, since they name causes, then case by case."""
    for reported in story.findings:
        finding = reported.finding
        if finding.severity != "info":
            style = _STYLES[reported.tone]
            next_step = f" {harmless(finding.remedy)}" if finding.code == "unfinished" else ""
            yield f"[{style}]{finding.severity}[/]  {finding_words(finding)}{next_step}"
    yield from (f"[yellow]![/] {escape(line)}" for line in disturbed_lines(story.summary))
    yield from map(escape, case_remarks(story.summary, story.summary.cases))
    yield from map(escape, not_checked_lines(story.summary))


def _use(story: RunReport) -> Iterator[tuple[str, str]]:
    """What to use, with what the choice gains; else why nothing can be said."""
    head = story.headline
    for words in _advice_lines(head.advice)[:4]:
        yield "use", harmless(words)
    for reason in list(dict.fromkeys(head.no_advice))[:2]:
        yield "use", harmless(reason)
    if not head.advice and not head.no_advice:
        yield "use", harmless(story.diagnosis.recommendation.sentence)


def _advice_lines(advice: Sequence[Advice]) -> list[str]:
    """One line for each choice; what is best for one image and for many is one line."""
    purposes: dict[tuple[str, str], list[str]] = {}
    for one in advice:
        purposes.setdefault((one.choice.case_id, one.choice.arm), []).append(one.purpose)
    first = {(one.choice.case_id, one.choice.arm): one for one in reversed(advice)}
    return [
        _advice_words(first[key], named[0] if len(named) == 1 else "one image or many")
        for key, named in purposes.items()
    ]


def _advice_words(advice: Advice, purpose: str) -> str:
    choice = advice.choice
    words = f"{choice.case.resolution}, {purpose}: {advice.settings}"
    words += f" – {seconds(choice.seconds_per_picture)} per image"
    if choice.iterations_per_second is not None:
        words += f", {iterations_words(choice.iterations_per_second)}"
    if choice.peak_memory_bytes is not None:
        words += f", {size(choice.peak_memory_bytes)}"
    return "; ".join([words, *measurable_gains(choice)[:1]])


def _claims(story: RunReport) -> Iterator[tuple[str, str]]:
    """Which of the documentation's claims can be tested here, and what came of it."""
    claims = story.diagnosis.claims
    reported = [claim for claim in claims if claim.verdict != "not-applicable"]
    if not reported:
        return
    ids = dict.fromkeys(claim.id for claim in claims)
    tested = dict.fromkeys(claim.id for claim in reported)
    can = "can be" if len(ids) > 1 else "could be"
    words = f"{len(tested)} of {len(ids)} documented claims {can} tested on {story.summary.device}"
    several = len({claim.stack for claim in claims}) > 1
    found: dict[str, dict[str, list[str]]] = {}
    for claim in reported:
        verdicts = found.setdefault(f"({claim.id}) {claim.title}", {})
        verdicts.setdefault(CLAIM_VERDICTS[claim.verdict], []).append(claim.stack)
    each_claim = []
    for title, verdicts in found.items():
        each = [
            f"{verdict} [{', '.join(dict.fromkeys(stacks))}]" if several else verdict
            for verdict, stacks in verdicts.items()
        ]
        each_claim.append(f"{title}: {', '.join(each)}")
    words += f": {'; '.join(each_claim)}"
    if len(reported) == 1:
        words += f" – {reported[0].sentence}"
    yield "claims", harmless(words)


def _state(story: RunReport) -> Iterator[tuple[str, str]]:
    """Swap, what is missing, what to keep in mind."""
    for line in spread_lines(story.summary):
        yield "spread", escape(line.removeprefix("Spread: "))
    passes = passes_sentence(story.summary)
    if passes is not None:
        yield "passes", passes
    for line in sustained_lines(story.summary):
        yield "sustained", escape(line)
    yield "swap", f"Written to swap meanwhile: {swapped_words(story.summary.swapped_out_bytes)}."
    for line in _fitting([harmless(note) for note in notes_of(story)], 4):
        yield "note", line


def _more(story: RunReport, path: str) -> list[str]:
    """Where to go on; the case is one that a finding is about, else the first."""
    above_info = [one for one in story.findings if one.finding.severity != "info" and one.names]
    ids = [case_id for one in above_info for case_id in one.finding.case_ids]
    cases = [cell.summary.case for cell in story.cells]
    cases = [case for case in cases if case.case_id in ids[:1]] or cases
    of_case = [shell("sdbench", "show", path, case_words(case)) for case in cases[:1]]
    return [*of_case, *(shell("sdbench", verb, path) for verb in ("diagnose", "report"))]


def _chosen_rows(cells: Sequence[CaseView], room: int) -> list[CaseSummary]:
    """All rows if they fit; else what to use and what went wrong first, in the plan's order."""
    tones: dict[Tone, int] = {"bad": 1, "warning": 2, "good": 3, "unknown": 4}
    order = sorted(
        range(len(cells)),
        key=lambda index: 0 if cells[index].recommended else tones[cells[index].tone],
    )
    return [cells[index].summary for index in sorted(order[:room])]


def _fitting(lines: Sequence[str], room: int) -> Sequence[str]:
    if len(lines) <= room:
        return lines
    kept = lines[: room - 1]
    return [*kept, f"and {counted(len(lines) - len(kept), 'more remark')}: --all shows them"]
