"""A figure: what it shows, in words too, and how it becomes SVG or PNG."""

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from xml.sax.saxutils import escape

from sdbench.report.figures.canvas import NARROW, WIDTH, Theme, lay_out
from sdbench.report.figures.palette import COLOURS
from sdbench.words import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

FigureKind = Literal[
    "matrix",
    "latency",
    "timeline",
    "sustained",
    "divergence",
    "stages",
    "tradeoff",
    "comparison",
    "history",
    "overview",
    "schedule",
]
_ROLES = [colour.name.removeprefix("fig-") for colour in COLOURS]
# Colours that matplotlib writes into SVG as they are and nothing else uses; they become variables.
_STAND_INS = {role: f"#fe{number:02x}ef" for number, role in enumerate(_ROLES)}
LIGHT = {role: colour.light for role, colour in zip(_ROLES, COLOURS, strict=True)}
_DARK = ";".join(f"--{colour.name}:{colour.dark}" for colour in COLOURS)
_DPI = 160


@dataclass(frozen=True)
class Figure:
    """``caption`` stands below it, ``description`` says in words what is seen.

    ``id`` is safe in file names and in HTML.
    """

    kind: FigureKind
    id: str
    title: str
    caption: str
    description: str
    draw: "Callable[[Theme], Drawing]"

    def inline_svg(self, *, narrow: bool = False) -> str:
        """For a page: text stays text, colours are CSS variables, ids are this figure's own.

        ``narrow`` is drawn for a phone, with ids of its own. Everything others wrote is escaped.
        """
        name = f"{self.id}-narrow" if narrow else self.id
        with style(name):
            drawing = self.draw(Theme(_STAND_INS, NARROW if narrow else WIDTH))
            lay_out(drawing)
            text = io.StringIO()
            drawing.savefig(text, format="svg", metadata=dict.fromkeys(_METADATA))
        return _dressed(text.getvalue(), self, name)

    def svg_file(self) -> str:
        """For a file of its own: the same, with both sets of colours in it."""
        ground = "svg{background:var(--fig-ground,#fff)}"
        dark = f"@media (prefers-color-scheme: dark){{svg{{{_DARK}}}}}"
        # A style goes after the description.
        head, end, body = self.inline_svg().partition("</desc>")
        start = '<?xml version="1.0" encoding="utf-8"?>\n'
        return f"{start}{head}{end}<style>{ground}{dark}</style>{body}"

    def png(self) -> bytes:
        """For where SVG is not shown; always light."""
        with style():
            drawing = self.draw(Theme(LIGHT))
            lay_out(drawing)
            data = io.BytesIO()
            drawing.savefig(data, format="png", dpi=_DPI, metadata={"Software": None})
        return data.getvalue()


_METADATA = ("Creator", "Date", "Format", "Type")
_START = re.compile(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>')
# Comments, metadata, and a style for everything, which would hold for the page around it too.
_LEFT_OUT = re.compile(
    r"<!--.*?-->|<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", re.DOTALL
)
_NAMED_GROUP = re.compile(r'<(g|path|use) id="[^"]*"')
_BETWEEN_TAGS = re.compile(r">\s+<")
_TAG = re.compile(r"<[^>]+>")
_LONG_NUMBER = re.compile(r"(\d\.\d)\d+(?=[^\d.])")
_ID = re.compile(r'(\bid="|href="#|url\(#)')
_STYLE = re.compile(r' style="([^"]*)"')
_POINTS_TO_PIXELS = 4 / 3


def _dressed(text: str, figure: Figure, name: str) -> str:
    """Its own title and ids, short, colours as variables, and no style that a page must refuse."""
    start = _START.search(text)
    assert start is not None, "matplotlib's SVG begins with its size"
    box, title, described = start[1], f"{name}-title", f"{name}-desc"
    width, height = (float(number) * _POINTS_TO_PIXELS for number in box.split()[2:])
    head = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'class="figure {figure.kind}" viewBox="{box}" width="{width:.0f}" height="{height:.0f}" '
        f'role="img" aria-labelledby="{title} {described}" '
        'stroke-linejoin="round" font-family="sans-serif">'
        f'<title id="{title}">{escape(printable(figure.title))}</title>'
        f'<desc id="{described}">{escape(printable(figure.description))}</desc>'
    )
    body = _without_marker_names(_LEFT_OUT.sub("", text[start.end() :]))
    body = _STYLE.sub(lambda found: _attributes(found[1]), body)
    body = _BETWEEN_TAGS.sub("><", body.replace("\n", " "))
    body = _TAG.sub(lambda tag: _LONG_NUMBER.sub(r"\1", tag[0]), body)
    body = _ID.sub(rf"\g<1>{name}-", body)
    for colour, role in zip(COLOURS, _ROLES, strict=True):
        body = body.replace(_STAND_INS[role], f"var(--{colour.name},{colour.light})")
    return head + body.strip()


def _attributes(style: str) -> str:
    """``fill: none; opacity: 0`` as attributes, which a content security policy lets through."""
    parts = (part.partition(":") for part in style.split(";"))
    return "".join(
        f' {name.strip()}="{value.strip()}"'
        for name, _, value in parts
        if name.strip() and name.strip() != "font-family"
    )


def _without_marker_names(body: str) -> str:
    """Ids that nothing refers to are left out."""
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', body))

    def kept(found: re.Match[str]) -> str:
        name = found[0].split('"')[1]
        return found[0] if name in used else f"<{found[1]}"

    return _NAMED_GROUP.sub(kept, body)


@contextlib.contextmanager
def style(salt: str = "sdbench") -> Iterator[None]:
    """Text stays text and is never taken for mathematics; the same data give the same bytes."""
    import matplotlib as mpl

    # It would tell of its font cache, and of letters its own font lacks; the reader's has them.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "text.parse_math": False,
        "text.usetex": False,
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "axes.unicode_minus": True,
        "hatch.linewidth": 0.6,
        "path.simplify": True,
    }
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mpl.rcdefaults()  # a matplotlibrc of the user's is not part of a report
        mpl.rcParams.update(settings)
        yield
