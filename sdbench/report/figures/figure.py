"""A figure: what it shows, in words too, and how it becomes SVG or PNG."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from xml.sax.saxutils import escape

from sdbench.report.figures.palette import COLOURS
from sdbench.report.units import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

FigureKind = Literal[
    "matrix",
    "latency",
    "timeline",
    "divergence",
    "stages",
    "tradeoff",
    "comparison",
    "history",
]
Theme = dict[str, str]
"""Colour by role, without the ``fig-``: ink, soft, line, ground, 1 to 5, good, warning, bad."""

_ROLES = [colour.name.removeprefix("fig-") for colour in COLOURS]
# Colours that matplotlib writes into SVG as they are and nothing else uses; they become variables.
_STAND_INS = {role: f"#fe{number:02x}ef" for number, role in enumerate(_ROLES)}
_LIGHT = {role: colour.light for role, colour in zip(_ROLES, COLOURS, strict=True)}
_DARK = ";".join(f"--{colour.name}:{colour.dark}" for colour in COLOURS)
_HEAD = re.compile(r"^.*?<svg ", re.DOTALL)
_DPI = 160


@dataclass(frozen=True)
class Figure:
    """``description`` says in words what is seen; ``id`` is safe in file names and in HTML."""

    kind: FigureKind
    id: str
    title: str
    description: str
    draw: "Callable[[Theme], Drawing]"

    def inline_svg(self) -> str:
        """For a page: text stays text, colours are CSS variables, ids are this figure's own.

        Everything others wrote is escaped.
        """
        return self._svg("")

    def svg_file(self) -> str:
        """For a file of its own: the same, with both sets of colours in it."""
        style = f"<style>@media (prefers-color-scheme: dark){{svg{{{_DARK}}}}}</style>"
        return '<?xml version="1.0" encoding="utf-8"?>\n' + self._svg(style)

    def png(self) -> bytes:
        """For where SVG is not shown; always light."""
        with _style():
            drawing = self.draw(_LIGHT)
            data = io.BytesIO()
            drawing.savefig(data, format="png", dpi=_DPI, metadata={"Software": None})
        return data.getvalue()

    def _svg(self, style: str) -> str:
        with _style(self.id):
            drawing = self.draw(_STAND_INS)
            text = io.StringIO()
            drawing.savefig(text, format="svg", metadata=dict.fromkeys(_METADATA))
        return _dressed(text.getvalue(), self, style)


_METADATA = ("Creator", "Date", "Format", "Type")
_SIZE = re.compile(r'^<svg [^>]*?viewBox="([^"]+)"[^>]*>', re.DOTALL)
_COMMENT = re.compile(r"\s*<!--.*?-->", re.DOTALL)
_METADATA_TAG = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)
_NUMBER = re.compile(r"(\d+\.\d\d)\d+")
_ID = re.compile(r'(\bid="|"#|\(#)(?!glyph-)')


def _dressed(text: str, figure: Figure, style: str) -> str:
    """Its own title and ids, no fixed size, no metadata, short numbers, variables for colours."""
    text = _COMMENT.sub("", _METADATA_TAG.sub("", _HEAD.sub("<svg ", text, count=1)))
    title, described = f"{figure.id}-title", f"{figure.id}-desc"
    box = _SIZE.match(text)
    assert box is not None, "matplotlib's SVG begins with its size"
    width = float(box[1].split()[2])
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{box[1]}" class="figure" role="img" aria-labelledby="{title} {described}" '
        f'style="max-width:{width * 4 / 3:.0f}px;width:100%;height:auto">'
        f'<title id="{title}">{escape(printable(figure.title))}</title>'
        f'<desc id="{described}">{escape(printable(figure.description))}</desc>{style}'
    )
    body = _ID.sub(rf"\g<1>{figure.id}-", text[box.end() :])
    for colour, role in zip(COLOURS, _ROLES, strict=True):
        body = body.replace(_STAND_INS[role], f"var(--{colour.name},{colour.light})")
    return head + _NUMBER.sub(r"\1", body)


def _style(salt: str = "") -> "Callable[..., None]":
    raise NotImplementedError
