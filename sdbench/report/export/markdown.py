"""The story as Markdown for GitHub: tables, and figures as files next to it.

Text of others is escaped, so that a prompt or an error message is read as it was written: no
markup, no link, nobody mentioned.
"""

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sdbench.analysis.case_words import CORRECT_WORDS, OUTCOME_WORDS
from sdbench.analysis.no_effect import marked
from sdbench.comparison import Comparison
from sdbench.comparison.result import CaseComparison
from sdbench.quoting.markdown_text import code_block, plain, table
from sdbench.report.figures import Figure, FigureKind, run_figures, story_figures
from sdbench.report.pictures.data_uris import Shown
from sdbench.report.pictures.gallery import Gallery
from sdbench.report.view import Advice, CaseView, FindingView, Line, Report, RunReport, Tone
from sdbench.report.view.comparison_words import (
    case_name,
    picture_time,
    ratio_interval_words,
    ratio_words,
    side_words,
    verdict_words,
)
from sdbench.report.view.efficiency_words import EXPLAINED, stage_share_words
from sdbench.report.view.headline import measurable_gains
from sdbench.report.view.notes import notes_of
from sdbench.report.view.summary_words import case_remarks, disturbed_lines, interval_words
from sdbench.words import printable, seconds, size

# Beyond so many, the rest is folded away.
_OPEN_ROWS = 40
_SIGNS: dict[Tone, str] = {"good": "✅", "warning": "⚠️", "bad": "❌", "unknown": "❔"}


@dataclass(frozen=True)
class Markdown:
    """A text, and the files its images are in, by name."""

    text: str
    files: dict[str, bytes] = field(default_factory=dict)


def markdown_report(
    story: Report, folder: str | None = None, galleries: Sequence[Gallery] = ()
) -> Markdown:
    """The report; ``folder`` is where its images will be, None leaves them out.

    ``galleries`` are the runs' images, in the order of the story.
    """
    pictures = _Pictures(folder)
    parts = [f"# {plain(story.title)}"]
    if len(story.runs) > 1 or story.comparisons.shown or story.schedules:
        parts += _comparisons(story, pictures)
    for number, run in enumerate(story.runs, start=1):
        gallery = galleries[number - 1] if galleries else None
        parts += _run(run, number, gallery, pictures, several=len(story.runs) > 1)
    text = "\n\n".join(part for part in parts if part)
    return Markdown(f"{text}\n", pictures.files)


@dataclass
class _Pictures:
    """Collects the files of figures and gives their links."""

    folder: str | None
    files: dict[str, bytes] = field(default_factory=dict)

    def of(self, figures: Sequence[Figure], *kinds: FigureKind) -> Iterator[str]:
        """Each as PNG, a link to the SVG behind it."""
        for figure in figures if self.folder is not None else []:
            if kinds and figure.kind not in kinds:
                continue
            self.files[f"{figure.id}.png"] = figure.png()
            self.files[f"{figure.id}.svg"] = figure.svg_file().encode()
            link = f"{_address(self.folder or '')}/{figure.id}"
            words = plain(f"{figure.title}. {figure.description}")
            yield f"[![{words}]({link}.png)]({link}.svg)"

    def add(self, name: str, shown: Shown) -> str:
        """An image of the gallery as a file of its own."""
        head, _, encoded = shown.uri.partition(",")
        name = f"{name}.{head.removeprefix('data:image/').partition(';')[0]}"
        self.files[name] = base64.b64decode(encoded)
        return f"![{plain(shown.alt)}]({_address(self.folder or '')}/{name})"


def _address(path: str) -> str:
    """A relative path as a link's target."""
    from urllib.parse import quote

    return quote(path)


# --- one run -------------------------------------------------------------------------------------


def _run(
    run: RunReport, number: int, gallery: Gallery | None, pictures: _Pictures, *, several: bool
) -> Iterator[str]:
    prefix = f"run-{number}"
    figures = [] if pictures.folder is None else run_figures(run, prefix)
    if several:
        yield f"# {plain(run.summary.run_id)}"
    for mark in run.marks:
        yield f"> **{mark.word}** – {plain(mark.sentence)}"
    head = run.headline
    yield f"{_SIGNS[head.tone]} **{plain(run.diagnosis.headline)}**"
    yield table(["", ""], [[line.what, plain(line.about)] for line in _facts(run)])
    yield from _advice(run)
    yield "## Cases"
    yield from _cells(run)
    yield from pictures.of(figures, "matrix", "tradeoff", "latency", "sustained")
    if gallery is not None:
        yield from _section("Images", _gallery(gallery, prefix, pictures))
    yield from _findings(run)
    yield from _section("Memory and swap", pictures.of(figures, "timeline"))
    yield from _section("Right or wrong", pictures.of(figures, "divergence"))
    yield from _section("Stages", [*_stages(run), *pictures.of(figures, "stages")])
    yield from _claims(run)
    yield _folded("Environment", _lines(run.environment))
    yield _folded("How it was measured", _lines(run.method))


def _section(title: str, parts: Iterator[str] | Sequence[str]) -> Iterator[str]:
    reported = [*parts]
    if reported:
        yield f"## {title}"
        yield from reported


def _facts(run: RunReport) -> Iterator[Line]:
    head = run.headline
    yield from head.machine
    yield Line("set-up", head.setup_sentence)
    for check in head.setup:
        if check.tone in ("bad", "warning"):
            yield Line(f"{_SIGNS[check.tone]} {check.what}", check.found)
    label = f", {run.label}" if run.label else ""
    yield Line("run", f"{run.summary.run_id}, begun {run.created_utc}{label}")
    for words in notes_of(run):
        yield Line("note", words)


def _advice(run: RunReport) -> Iterator[str]:
    head, recommendation = run.headline, run.diagnosis.recommendation
    yield "## What to use"
    if recommendation.first_look or not head.advice:
        yield plain(recommendation.sentence)
    if head.advice:
        names = ["size", "for", "settings", "s/image", "peak memory", "gain"]
        yield table(names, [*_advice_rows(head.advice)])
    yield from map(plain, head.no_advice)
    code = head.main or head.fastest
    if code is not None:
        title = f"Code for {plain(code.choice.case.resolution)}, {plain(code.settings)}"
        yield _folded(title, code_block(code.choice.snippet.splitlines(), "python"))


def _advice_rows(advice: Sequence[Advice]) -> Iterator[list[str]]:
    """A line per choice: the same settings may be best for one image and for many."""
    purposes: dict[tuple[str, str], list[Advice]] = {}
    for entry in advice:
        purposes.setdefault((entry.choice.case_id, entry.choice.arm), []).append(entry)
    for entries in purposes.values():
        choice = entries[0].choice
        yield [
            plain(choice.case.resolution),
            " and ".join(entry.purpose for entry in entries),
            plain(entries[0].settings),
            seconds(choice.seconds_per_picture),
            size(choice.peak_memory_bytes),
            plain("; ".join(measurable_gains(choice)) or "none that could be measured"),
        ]


def _cells(run: RunReport) -> Iterator[str]:
    names = ["case", "outcome", "s/image", "95% interval", "first pass", "peak memory", "swap"]
    rows = [_cell_row(cell) for cell in run.cells]
    full = table([*names, "image", "use"], rows)
    yield full if len(rows) <= _OPEN_ROWS else _folded(f"{len(rows)} cases", full)
    lines = [*(f"! {line}" for line in disturbed_lines(run.summary)), *run.spread]
    lines += case_remarks(run.summary, run.summary.cases)
    remarks = [f"- {plain(line)}" for line in lines]
    listed = "\n".join(remarks)
    yield listed if len(remarks) <= _OPEN_ROWS else _folded(f"{len(remarks)} remarks", listed)


def _cell_row(cell: CaseView) -> list[str]:
    well, broken = cell.summary.outcome in ("ok", "skipped"), cell.summary.correct == "broken"
    outcome = cell.outcome_words if well else f"**{cell.outcome_words}**"
    picture = f"**{cell.picture_words}**" if broken else cell.picture_words
    return [
        plain(marked(cell.name, cell.summary.case, cell.summary.no_effect)),
        outcome,
        seconds(cell.seconds_per_picture) + (" !" if cell.disturbed else ""),
        interval_words(cell.ci95),
        seconds(cell.first_s),
        cell.memory_words,
        size(cell.summary.swap_delta_bytes),
        picture,
        "●" if cell.recommended else "",
    ]


def _findings(run: RunReport) -> Iterator[str]:
    if not run.findings:
        return
    yield "## Findings"
    yield "\n".join(_finding(reported) for reported in run.findings)


def _finding(reported: FindingView) -> str:
    finding = reported.finding
    lines = [f"- {_SIGNS[reported.tone]} `{finding.code}` {plain(finding.sentence)}"]
    if finding.severity != "info":
        lines.append(f"  - **→** {plain(finding.remedy)}")
    for proof in reported.evidence:
        name = f"{plain(proof.name)}: " if proof.name else ""
        lines.append(f"  - {name}{plain(proof.words)}")
    lines += [f"  - [{plain(link.title)}](<{_url(link.url)}>)" for link in reported.links]
    return "\n".join(lines)


def _url(url: str) -> str:
    return re.sub(r"[<>\s\\]", "", printable(url))


def _gallery(gallery: Gallery, prefix: str, pictures: _Pictures) -> Iterator[str]:
    """A table for each prompt: the images made, the CPU's, and where they differ."""
    number = 0
    for group in gallery.groups:
        yield f"### {plain(group.title)}: {plain(group.prompt)}"
        rows = []
        for entry in group.entries:
            number += 1
            name = f"{prefix}-picture-{number}"
            views = (("made", entry.device), ("cpu", entry.reference), ("difference", entry.map))
            cells = [
                "" if shown is None else pictures.add(f"{name}-{view}", shown)
                for view, shown in views
            ]
            cells[0] = cells[0] or plain(entry.missing or "")
            verdict = (
                f"{_SIGNS[entry.tone]} {plain('; '.join([entry.verdict_words, *entry.measures]))}"
            )
            rows.append([plain(" · ".join(entry.settings)), *cells, verdict])
        names = ["settings", f"made on {gallery.device}", "the CPU's", "difference", "verdict"]
        yield table(names, rows)
    for words in [*gallery.notes, *gallery.left_out]:
        yield plain(words)


def _stages(run: RunReport) -> Iterator[str]:
    """Where the profiled pass spent its time, and its rate compared with that of matrix
    products."""
    rows = [
        [
            plain(row.name),
            plain(stage.words),
            seconds(stage.seconds),
            f"{stage.share:.0%}",
            size(stage.peak_bytes),
            "–" if stage.share_of_ceiling is None else stage_share_words(stage.share_of_ceiling),
        ]
        for row in run.stages
        for stage in row.stages
    ]
    if rows:
        names = ["case", "stage", "time", "share", "peak memory", "of matrix products' rate"]
        yield table(names, rows)
        if any(stage.share_of_ceiling is not None for row in run.stages for stage in row.stages):
            yield EXPLAINED


def _claims(run: RunReport) -> Iterator[str]:
    rows = [
        [claim.id, f"**{claim.verdict}**", plain(claim.claim), plain(claim.sentence)]
        for claim in run.diagnosis.claims
        if claim.verdict != "not-applicable"
    ]
    if rows:
        yield "## What the documentation claims, tested here"
        yield table(["", "verdict", "claim", "measured"], rows)
        for conflict in run.diagnosis.conflicts:
            if conflict.agrees_with is not None:
                claims = " and ".join(conflict.claims)
                yield (
                    f"{plain(claims)} contradict each other about {plain(conflict.about)}. "
                    f"{plain(conflict.sentence)}"
                )


def _lines(lines: Sequence[Line]) -> str:
    return table(["", ""], [[plain(line.what), plain(line.about)] for line in lines])


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


# --- several -------------------------------------------------------------------------------------


def _comparisons(story: Report, pictures: _Pictures) -> Iterator[str]:
    figures = [] if pictures.folder is None else story_figures(story)
    drawn = [*pictures.of(figures, "comparison")]
    for comparison in story.comparisons.shown:
        base, *new = (
            plain(side_words(side, comparison.by)) for side in (comparison.base, *comparison.new)
        )
        yield f"## {base} against {', '.join(new)}"
        yield plain(comparison.summary.sentence)
        yield _differences(comparison)
        names = ["case", "base s/image", "new s/image", "time new/base", "95% interval"]
        yield table(
            [*names, "verdict", "image", "outcome"],
            [_comparison_row(case) for case in comparison.cases],
        )
    yield from drawn
    yield from (f"Not compared: {plain(words)}" for words in story.comparisons.refused)
    yield from _section("Over time", pictures.of(figures, "history"))
    yield from _section("Where and when", pictures.of(figures, "schedule"))


def _differences(comparison: Comparison) -> str:
    rows = [
        [plain(entry.words), plain(str(entry.base or "–")), plain(str(entry.new or "–"))]
        for entry in comparison.differences
    ]
    return table(["what differs", "base", "new"], rows) if rows else "There is no known difference."


def _comparison_row(case: CaseComparison) -> list[str]:
    verdict = verdict_words(case)
    why = f" ({plain(case.explanation)})" if case.explanation else ""
    return [
        plain(case_name(case)),
        picture_time(case.base_s, case),
        picture_time(case.new_s, case),
        ratio_words(case.ratio),
        ratio_interval_words(case.ci95),
        f"**{verdict}**{why}",
        _both(CORRECT_WORDS, case.correct.base, case.correct.new),
        _both(OUTCOME_WORDS, case.outcome.base, case.outcome.new),
    ]


def _both(words: object, base: str | None, new: str | None) -> str:
    assert isinstance(words, dict)
    sides = [plain(str(words.get(side, side or "–"))) for side in (base, new)]
    return sides[0] if sides[0] == sides[1] else " → ".join(sides)
