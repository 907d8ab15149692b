"""The page: sections rendered from the story and put into ``base.html``.

``base.html`` is given ``story``, ``sections`` (in order; ``id``, ``title``, ``html``), ``css``
(figures' colours first, then ``report.css``), ``script`` (``report.js``), ``policy`` and
``version``. A section's template is ``sections/NAME.html``; it is given ``story``, ``parts`` (each
run with its figures and its gallery) and ``story_figures``.

Tables that can be sorted are ``<table class="sortable">`` with ``data-value`` on cells whose text
does not sort by itself. No markup has a style of its own: the page's policy refuses it.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from sdbench import __version__
from sdbench.analysis.case_words import CORRECT_WORDS, OUTCOME_WORDS, case_words
from sdbench.analysis.iterations import iterations_words
from sdbench.comparison import Comparison
from sdbench.report.figures import Figure, css_variables, run_figures, story_figures
from sdbench.report.html.environment import page_environment
from sdbench.report.html.policy import content_security_policy
from sdbench.report.pictures.gallery import PICTURES_BYTES, Entry, gallery_of, thumbnail_of
from sdbench.report.view import CaseView, Report, RunReport, build_report
from sdbench.report.view.comparison_words import (
    VERDICT_WORDS,
    case_name,
    change_words,
    first_pass_words,
    memory_words_of,
    verdict_words,
)
from sdbench.report.view.efficiency_words import EXPLAINED, rate_words, stage_share_words
from sdbench.report.view.first_screen import answers_of, date_words
from sdbench.report.view.passes import STOPPED_WORDS
from sdbench.report.view.spread import share
from sdbench.runs import LoadedRun
from sdbench.words import duration, printable, seconds, size

if TYPE_CHECKING:
    from jinja2 import Environment

# In reading order; of several runs the comparison comes first. A section whose template says
# nothing is left out.
SECTIONS: tuple[tuple[str, str], ...] = (
    ("verdict", "Verdict"),
    ("comparison", "Comparison"),
    ("findings", "Findings"),
    ("matrix", "Matrix"),
    ("latency", "Time"),
    ("memory", "Memory and swap"),
    ("correctness", "Right or wrong"),
    ("gallery", "Images"),
    ("stages", "Stages and efficiency"),
    ("claims", "Documented claims"),
    ("schedule", "Where and when"),
    ("environment", "Environment"),
    ("method", "How it was measured"),
)


# Characters of a finding on the first screen.
_BRIEF = 180


@dataclass(frozen=True)
class Section:
    """A part of the page; ``html`` is markup."""

    id: str
    title: str
    html: str


@dataclass(frozen=True)
class RunPart:
    """A run with its figures; ``prefix`` begins the ids of what is about it.

    ``compared`` are the comparisons that its first screen answers with, and their figures.
    """

    run: RunReport
    prefix: str
    figures: list[Figure]
    gallery: Any
    thumbnail: Entry | None = None
    compared: Sequence[Comparison] = ()
    compared_figures: Sequence[Figure] = ()

    def of(self, *kinds: str) -> list[Figure]:
        """Its figures of some kinds."""
        return [figure for figure in self.figures if figure.kind in kinds]


def html_report(
    runs: Sequence[LoadedRun], story: Report | None = None, picture_bytes: int = PICTURES_BYTES
) -> str:
    """One page about one run, or about several with their comparison first.

    ``story`` is what :func:`build_report` returned for these runs, where it was called already;
    ``picture_bytes`` is how much the images of all runs may take together.
    """
    story = story or build_report(runs)
    together = story_figures(story)
    alone = len(runs) == 1
    parts = [
        RunPart(
            run,
            f"run-{number}",
            run_figures(run, f"run-{number}"),
            gallery_of(loaded, run, picture_bytes // len(runs)),
            thumbnail_of(loaded, run),
            story.comparisons.shown if alone else (),
            [one for one in together if one.kind == "comparison"] if alone else (),
        )
        for number, (loaded, run) in enumerate(zip(runs, story.runs, strict=True), start=1)
    ]
    environment = _environment()
    context = {"story": story, "parts": parts, "story_figures": together, "alone": alone}
    ordered = sorted(SECTIONS, key=lambda section: len(runs) > 1 and section[0] != "comparison")
    sections = [
        Section(name, title, html)
        for name, title in ordered
        if (html := environment.get_template(f"sections/{name}.html").render(context)).strip()
    ]
    css, script = page_style(), page_script()
    return environment.get_template("base.html").render(
        story=story,
        sections=sections,
        css=css,
        script=script,
        policy=content_security_policy(css, script),
        version=__version__,
    )


def page_style() -> str:
    """The style of pages: colours of figures first. A board's pages have it too."""
    return css_variables() + _text("report.css")


def page_script() -> str:
    """The script of pages: light and dark, tables that can be sorted and filtered."""
    return _text("report.js")


def _text(name: str) -> str:
    """A template's file as it is."""
    file = resources.files("sdbench.report.html") / "templates" / name
    return file.read_text(encoding="utf-8")


@functools.cache
def _environment() -> "Environment":
    environment = page_environment(_text)
    environment.filters.update(
        printable=printable,
        seconds=seconds,
        size=size,
        rate=rate_words,
        interval=_interval,
        share=share,
        stage_share=stage_share_words,
        case_words=case_words,
        case_name=case_name,
        verdict=verdict_words,
        code=_code,
        picture=_picture,
        narrow_picture=_narrow_picture,
        answers=answers_of,
        date=date_words,
        iterations=iterations_words,
        brief=_brief,
        change=change_words,
        first_pass_change=first_pass_words,
        memory_change=memory_words_of,
        spread_pair=_spread_pair,
        sentence=_sentence,
        duration=duration,
    )
    environment.globals.update(
        stopped_words=STOPPED_WORDS,
        efficiency_explained=EXPLAINED,
        outcome_words=OUTCOME_WORDS,
        correct_words=CORRECT_WORDS,
        verdict_words=VERDICT_WORDS,
    )
    return environment


def _code(text: str) -> Any:
    """Lines to be copied: each made printable, the line ends kept."""
    from markupsafe import Markup

    return Markup("\n").join(printable(line) for line in text.splitlines())  # which escapes each


def _picture(figure: Figure) -> Any:
    """A figure's SVG as markup; it escapes what is in it itself."""
    from markupsafe import Markup

    return Markup(figure.inline_svg())  # our own drawing, its texts escaped


def _narrow_picture(figure: Figure) -> Any:
    """The same, drawn for a phone; the page shows one of the two."""
    from markupsafe import Markup

    return Markup(figure.inline_svg(narrow=True))  # as above


def _spread_pair(cell: CaseView) -> str:
    """``7.0% · 16%``: between passes of a process, and between processes."""
    passes, processes = cell.summary.spread_between_passes, cell.summary.spread_between_processes
    words = ["–" if value is None else share(value) for value in (passes, processes)]
    return words[0] if words[0] == words[1] == "–" else " · ".join(words)


def _sentence(words: str) -> str:
    """With a capital at its start."""
    return words[:1].upper() + words[1:]


def _brief(words: str) -> str:
    """A finding's sentence for the first screen; what is cut stands in its own section."""
    return words if len(words) <= _BRIEF else f"{words[: _BRIEF - 1].rstrip()}…"


def _interval(bounds: tuple[float, float] | None) -> str:
    """``1.02–1.13 s``, both with as many decimals as three figures take; ``–`` for none."""
    if bounds is None:
        return "–"
    decimals = max(0, 2 - math.floor(math.log10(bounds[1]))) if bounds[1] > 0 else 0
    return f"{bounds[0]:.{decimals}f}–{bounds[1]:.{decimals}f} s"
