"""Plots of a site as SVG: thousands of pages have some, so they are plain text and not drawings.

Colours are classes of the page's style, and each series has a shape of its own as well.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from sdbench.words import printable, seconds

_WIDE, _NARROW, _HEIGHT = 760, 350, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 14, 12, 46
# Beyond that ratio a linear axis would hide the small ones.
_LOG_FROM = 8.0
_SERIES = 5
_STEPS = (1, 2, 5)
_MOST_WORDS = 22


@dataclass(frozen=True)
class Point:
    """A mark; ``y`` None is not drawn. ``words`` are shown for it by a browser."""

    x: float
    y: float
    words: str


@dataclass(frozen=True)
class Series:
    """Points with one name and one shape; ``line`` joins them in their order."""

    name: str
    points: Sequence[Point]
    line: bool = False


@dataclass(frozen=True)
class Axis:
    """From ``low`` to ``high`` on so many pixels; ``ticks`` are values with their words."""

    low: float
    high: float
    logarithmic: bool
    ticks: Sequence[tuple[float, str]]

    def share(self, value: float) -> float:
        """Where a value is, from 0 to 1."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def scatter(
    series: Sequence[Series], *, title: str, x_words: str, y_words: str, id: str
) -> Markup | None:
    """Seconds on x against another figure on y, wide and for a phone; None without two points."""
    points = [point for one in series for point in one.points]
    if len(points) < 2:
        return None
    across = number_axis([point.x for point in points], seconds)
    up = number_axis([point.y for point in points], lambda value: f"{value:g}")
    return _both(series[:_SERIES], across, up, title, x_words, y_words, id)


def over_names(
    series: Sequence[Series], names: Sequence[str], *, title: str, y_words: str, id: str
) -> Markup | None:
    """Seconds on y over names on x, whose numbers are the points' ``x``; None without two names."""
    points = [point for one in series for point in one.points]
    if len(names) < 2 or len(points) < 2:
        return None
    ticks = [(float(number), name) for number, name in enumerate(names)]
    across = Axis(-0.5, len(names) - 0.5, False, ticks)
    up = number_axis([point.y for point in points], seconds)
    return _both(series[:_SERIES], across, up, title, "", y_words, id)


def number_axis(values: Sequence[float], words: object) -> Axis:
    """From 0, or logarithmic where positive values differ by much."""
    assert callable(words)
    low, high = min(values), max(values)
    if low > 0 and high / low > _LOG_FROM:
        low, high = low / 1.25, high * 1.25
        ticks = [
            (step * 10.0**power, words(step * 10.0**power))
            for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            for step in ((1,) if high / low > 1000 else (1, 3))
            if low <= step * 10.0**power <= high
        ]
        return Axis(low, high, True, ticks)
    high = high * 1.08 or 1.0
    rough = high / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in (*_STEPS, 10) if size * power >= rough)
    count = int(high / step)
    return Axis(0.0, high, False, [(n * step, words(n * step)) for n in range(count + 1)])


def _both(
    series: Sequence[Series], across: Axis, up: Axis, title: str, x: str, y: str, id: str
) -> Markup:
    drawn = [
        Markup('<div class="plot {}">{}</div>').format(
            kind, _svg(series, across, up, title, x, y, f"{id}-{kind}", width)
        )
        for kind, width in (("wide", _WIDE), ("narrow", _NARROW))
    ]
    return Markup("<figure>{}{}{}</figure>").format(*drawn, _legend(series, title))


def _legend(series: Sequence[Series], title: str) -> Markup:
    marks = Markup("").join(
        Markup(
            '<li><svg class="mark" width="14" height="14" viewBox="-7 -7 14 14" '
            'aria-hidden="true">{}</svg> {}</li>'
        ).format(_mark(number, 0, 0, None), printable(one.name))
        for number, one in enumerate(series)
    )
    return Markup('<figcaption>{}<ul class="legend">{}</ul></figcaption>').format(title, marks)


def _svg(
    series: Sequence[Series],
    across: Axis,
    up: Axis,
    title: str,
    x_words: str,
    y_words: str,
    id: str,
    width: int,
) -> Markup:
    inner = width - _LEFT - _RIGHT
    deep = _HEIGHT - _TOP - _BOTTOM

    def x(value: float) -> float:
        return _LEFT + across.share(value) * inner

    def y(value: float) -> float:
        return _TOP + (1 - up.share(value)) * deep

    head = (
        f'<svg class="figure board-plot" role="img" aria-labelledby="{escape(id)}" '
        f'viewBox="0 0 {width} {_HEIGHT}" width="{width}" height="{_HEIGHT}">'
        f'<title id="{escape(id)}">{escape(printable(title))}</title>'
    )
    parts: list[str] = [head]
    parts += _grid(across, up, x, y, width)
    for number, one in enumerate(series):
        if one.line and len(one.points) > 1:
            way = " ".join(f"{x(point.x):.1f},{y(point.y):.1f}" for point in one.points)
            parts.append(f'<polyline class="line series-{number + 1}" points="{way}"/>')
    for number, one in enumerate(series):
        parts += (_mark(number, x(point.x), y(point.y), point.words) for point in one.points)
    parts.append(
        f'<text class="axis" x="{_LEFT + inner / 2:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">'
        f"{escape(x_words)}{' (logarithmic)' if across.logarithmic else ''}</text>"
        f'<text class="axis" transform="rotate(-90)" x="{-(_TOP + deep / 2):.0f}" y="13" '
        f'text-anchor="middle">{escape(y_words)}{" (logarithmic)" if up.logarithmic else ""}'
        "</text></svg>"
    )
    return Markup("".join(map(str, parts)))  # everything of others was escaped above


def _grid(across: Axis, up: Axis, x: object, y: object, width: int) -> Iterator[str]:
    assert callable(x) and callable(y)
    floor = _HEIGHT - _BOTTOM
    room = (width - _LEFT - _RIGHT) / max(1, len(across.ticks))
    every = max(1, math.ceil(52 / room))
    for number, (value, words) in enumerate(across.ticks):
        place = x(value)
        yield f'<path class="grid" d="M{place:.1f} {_TOP}V{floor}"/>'
        if number % every == 0:
            yield (
                f'<text x="{place:.1f}" y="{floor + 16}" text-anchor="middle">'
                f"{escape(_short(words))}</text>"
            )
    for value, words in up.ticks:
        place = y(value)
        yield f'<path class="grid" d="M{_LEFT} {place:.1f}H{width - _RIGHT}"/>'
        yield (
            f'<text x="{_LEFT - 6}" y="{place + 4:.1f}" text-anchor="end">'
            f"{escape(_short(words))}</text>"
        )


def _short(words: str) -> str:
    words = printable(words)
    return words if len(words) <= _MOST_WORDS else f"{words[: _MOST_WORDS - 1]}…"


_SHAPES = (
    '<circle cx="{x}" cy="{y}" r="4"',
    '<path d="M{x} {y}m-4-4h8v8h-8z"',
    '<path d="M{x} {y}m0-5.5l5.5 5.5-5.5 5.5-5.5-5.5z"',
    '<path d="M{x} {y}m0-5l5 9h-10z"',
    '<path d="M{x} {y}m0 5l5-9h-10z"',
)


def _mark(number: int, x: float, y: float, words: str | None) -> Markup:
    shape = _SHAPES[number % len(_SHAPES)].format(x=f"{x:.1f}", y=f"{y:.1f}")
    title = "" if words is None else f"<title>{escape(printable(words))}</title>"
    tag = shape[1:].partition(" ")[0]
    return Markup(f'{shape} class="dot series-{number % _SERIES + 1}">{title}</{tag}>')
