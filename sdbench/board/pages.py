"""The pages of a site. Everything of others is text: escaped, made printable, and nothing runs.

A page depends on the runs that are on it alone, so that of one new run few pages are made again.
"""

import functools
import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from sdbench import __version__
from sdbench.board.claim_view import claims_seen, faults_seen
from sdbench.board.model_view import (
    MOST_SETTINGS,
    memory_point,
    model_view,
    torch_series_of_machine,
)
from sdbench.board.names import machine_page, model_page
from sdbench.board.plots import Series, over_names, scatter
from sdbench.board.rows import Interval, Row, Submission
from sdbench.board.site_data import Board
from sdbench.board.table import Placed, Table, groups
from sdbench.board.words import IMAGE_TONES, IMAGE_WORDS, every_why, why_words
from sdbench.diagnosis.claims import claims_asked
from sdbench.diagnosis.result import FINDING_TITLES
from sdbench.knowledge.known_issues import load_known_issues
from sdbench.report.html import page_environment, page_script, page_style
from sdbench.words import counted, seconds, size

if TYPE_CHECKING:
    from jinja2 import Environment

FIRST_ROWS = 50
"""Rows that are in the table's page itself."""
_MOST_ROWS = 100
_MOST_POINTS = 200
_COLUMNS = (
    ("place", "Place", True),
    ("chip", "Chip", False),
    ("ram", "Memory", False),
    ("seconds", "Seconds an image", True),
    ("memory", "Peak memory", True),
    ("image", "Image", False),
    ("n", "n", True),
    ("model", "Model", False),
    ("setting", "Setting", False),
    ("torch", "torch", False),
    ("diffusers", "diffusers", False),
    ("os", "System", False),
    ("machine", "Machine", False),
)
# Scripts and styles of the site itself; what lies in a folder (``file:``) has no origin to be.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' file:",
        "style-src 'self' file:",
        "base-uri 'none'",
        "form-action 'none'",
    )
)


@dataclass(frozen=True)
class Page:
    """A page: its file, a digest of all that it shows, and how to make it."""

    name: str
    digest: str
    make: Any

    def encoded(self) -> bytes:
        """Its bytes."""
        html: str = self.make()
        return html.encode(errors="backslashreplace")


def assets() -> dict[str, bytes]:
    """Styles and scripts by file name."""
    return {
        "assets/page.css": (page_style() + _text("board.css")).encode(),
        "assets/page.js": page_script().encode(),
        "assets/board.js": _text("board.js").encode(),
    }


def pages_of(board: Board, table: Table, *, parquet: bool) -> Iterator[Page]:
    """All pages, the table's first. ``parquet``: whether there is such a file to link to."""
    import numpy as np

    shared = _shared_digest(parquet)
    runs = table.submissions
    context = {"parquet": parquet}
    whole = _digest(shared, runs)
    yield Page(
        "index.html",
        "-".join([whole, *(one.bundle_sha256[:16] for one in board.refused)]),
        lambda: _rendered(
            "index.html",
            board=board,
            runs=len(runs),
            columns=_COLUMNS,
            first=table.placed(np.arange(min(FIRST_ROWS, len(table)))),
            refused=board.refused,
            every_why=json.dumps(every_why()),
            **context,
        ),
    )
    models = _Groups([(run.model, run.model_sha256) for run in runs], table)
    machines = _Groups([run.machine_id for run in runs], table)
    lines = functools.partial(_model_lines, models, table)
    yield Page("models.html", whole, lambda: _rendered("models.html", models=lines(), **context))
    yield Page("claims.html", whole, lambda: _claims(runs, **context))
    yield Page("faults.html", whole, lambda: _faults(runs, **context))
    for model, own, at in models:
        yield Page(
            model_page(*model),
            _digest(shared, own),
            functools.partial(lambda at: _model(table.placed(at), **context), at),
        )
    for machine, own, at in machines:
        yield Page(
            machine_page(machine),
            _digest(shared, own),
            functools.partial(lambda own, at: _machine(table.placed(at), own, **context), own, at),
        )


class _Groups:
    """The runs and the places of the rows of each machine, or of each model."""

    def __init__(self, keys: Sequence[Any], table: Table) -> None:
        import numpy as np

        numbers: dict[Any, int] = {}
        of_run = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
        self._keys = list(numbers)
        self._runs: list[list[Submission]] = [[] for _ in numbers]
        for run, number in zip(table.submissions, of_run.tolist(), strict=True):
            self._runs[number].append(run)
        self._rows = dict(groups(of_run[table.columns["submission"]]))

    def __iter__(self) -> Iterator[tuple[Any, list[Submission], Any]]:
        for number, at in self._rows.items():
            yield self._keys[number], self._runs[number], at


def _digest(shared: str, runs: Any) -> str:
    names = sorted(run.bundle_sha256 or "" for run in runs)
    return hashlib.sha256("\n".join([shared, *names]).encode()).hexdigest()[:16]


def _shared_digest(parquet: bool) -> str:
    """Of what every page depends on: version, templates, and whether there is Parquet."""
    folder = resources.files("sdbench.board") / "templates"
    texts = [entry.read_text(encoding="utf-8") for entry in _sorted(folder.iterdir())]
    return hashlib.sha256("\0".join([__version__, str(parquet), *texts]).encode()).hexdigest()


def _sorted(entries: Any) -> list[Any]:
    return sorted(entries, key=lambda entry: str(entry.name))


def _model_lines(models: _Groups, table: Table) -> list[dict[str, Any]]:
    wrong = table.words["image"].index("wrong") if "wrong" in table.words["image"] else -1
    lines = [
        {
            "model": model,
            "sha256": sha256,
            "machines": len({run.machine_id for run in own}),
            "rows": len(at),
            "ranked": int((table.columns["place"][at] > 0).sum()),
            "wrong": int((table.columns["image"][at] == wrong).sum()),
        }
        for (model, sha256), own, at in models
    ]
    return sorted(lines, key=lambda line: (-line["machines"], line["model"], line["sha256"] or ""))


def _claims(submissions: Sequence[Submission], **context: Any) -> str:
    return _rendered(
        "claims.html",
        here="claims.html",
        title="Documented claims",
        about="What diffusers' page about Apple silicon claims, tested by machine.",
        none="No run of a real machine on this board says anything about a claim.",
        seen=claims_seen(submissions),
        words=claims_asked(),
        verdicts=("confirmed", "refuted", "inconclusive"),
        **context,
    )


def _faults(submissions: Sequence[Submission], **context: Any) -> str:
    return _rendered(
        "claims.html",
        here="faults.html",
        title="Known faults seen",
        about="Known issues of torch, diffusers and macOS that showed in a run.",
        none="No run of a real machine on this board showed a known issue.",
        seen=faults_seen(submissions),
        words={issue.id: issue.title for issue in load_known_issues()},
        verdicts=("seen",),
        **context,
    )


def _model(own: Sequence[Placed], **context: Any) -> str:
    view = model_view(own)
    return _rendered(
        "model.html",
        root="../",
        view=view,
        memory_plot=scatter(
            [one for one in view.memory if one.points],
            title="The fastest machine of each kind: seconds an image against peak memory",
            x_words="seconds an image",
            y_words="peak memory, GB",
            id="memory-plot",
        ),
        torch_plot=over_names(
            view.over_torch,
            view.torches,
            title=f"{view.settings[0].setting}: seconds an image over torch versions"
            if view.settings
            else "",
            y_words="seconds an image",
            id="torch-plot",
        ),
        **context,
    )


def _machine(own: Sequence[Placed], runs: Sequence[Submission], **context: Any) -> str:
    ordered = sorted(runs, key=lambda run: (run.created_utc, run.run_id), reverse=True)
    rows = [one.row for one in own]
    torches, over_torch = torch_series_of_machine(rows)
    return _rendered(
        "machine.html",
        root="../",
        runs=ordered,
        systems=sorted({run.system for run in runs}),
        rows=own,
        most_rows=_MOST_ROWS,
        claims=_verdicts(runs),
        faults=_faults_words(runs),
        memory_plot=scatter(
            _memory_series(rows),
            title="Seconds an image against peak memory",
            x_words="seconds an image",
            y_words="peak memory, GB",
            id="memory-plot",
        ),
        torch_plot=over_names(
            over_torch,
            torches,
            title="Seconds an image over torch versions, everything else equal",
            y_words="seconds an image",
            id="torch-plot",
        ),
        **context,
    )


def _memory_series(rows: Sequence[Row]) -> list[Series]:
    """A series for each model; what has no right image is not drawn."""
    models: dict[str, list[Any]] = {}
    for row in rows[:_MOST_POINTS]:
        point = memory_point(row)
        if point is not None and row.image != "wrong" and row.outcome == "ok":
            models.setdefault(row.submission.model, []).append(point)
    most = sorted(models, key=lambda model: -len(models[model]))[:MOST_SETTINGS]
    return [Series(model, models[model]) for model in most]


def _verdicts(runs: Sequence[Submission]) -> list[tuple[str, str, int]]:
    asked = claims_asked()
    counts = Counter(
        (claim.id, claim.verdict)
        for run in runs
        for claim in {(one.id, one.verdict): one for one in run.claims}.values()
    )
    return [(asked.get(id, id), verdict, count) for (id, verdict), count in sorted(counts.items())]


def _faults_words(runs: Sequence[Submission]) -> list[tuple[str, int]]:
    titles = {issue.id: issue.title for issue in load_known_issues()}
    counts = Counter(
        words
        for run in runs
        for words in {
            ": ".join([FINDING_TITLES[fault.code], *_titles(fault, titles)]) for fault in run.faults
        }
    )
    return counts.most_common()


def _titles(fault: Any, titles: dict[str, str]) -> list[str]:
    return (
        ["; ".join(titles.get(id, id) for id in fault.known_issues)] if fault.known_issues else []
    )


# --- rendering ------------------------------------------------------------------------------------


def _rendered(template: str, **context: Any) -> str:
    known = {"root": "", "here": template, "policy": _POLICY, "version": __version__}
    return _environment().get_template(template).render(known | context)


def _text(name: str) -> str:
    file = resources.files("sdbench.board") / "templates" / name
    return file.read_text(encoding="utf-8")


@functools.cache
def _environment() -> "Environment":
    environment = page_environment(_text)
    environment.filters.update(
        counted=lambda count, word: counted(count, word).replace(str(count), f"{count:,}", 1),
        interval=_interval,
        seconds=seconds,
        size=size,
        why=why_words,
    )
    environment.globals.update(
        machine_page=machine_page,
        model_page=model_page,
        image_words=IMAGE_WORDS,
        tones=IMAGE_TONES,
    )
    return environment


def _interval(bounds: Interval) -> str:
    """``1.02–1.13 s``."""
    decimals = max(0, 2 - math.floor(math.log10(bounds[1]))) if bounds[1] > 0 else 0
    return f"{bounds[0]:.{decimals}f}–{bounds[1]:.{decimals}f} s"
