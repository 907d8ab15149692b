"""The colours of figures: one set of names, filled in for a page, a picture in light, in dark.

Categories are Okabe and Ito's, which people with any kind of colour vision can tell apart
(https://jfly.uni-koeln.de/color/); where dark on dark would vanish, the dark set has lighter ones.
Figures never tell by colour alone: shapes, hatches, dashes or words go with it.
"""

from typing import NamedTuple


class Colour(NamedTuple):
    """A colour by role. ``name`` is the CSS variable without its dashes."""

    name: str
    light: str
    dark: str


COLOURS: tuple[Colour, ...] = (
    Colour("fig-ink", "#1f2328", "#e6e8eb"),
    Colour("fig-soft", "#656d76", "#9aa4ae"),
    Colour("fig-line", "#d0d7de", "#3d444d"),
    Colour("fig-ground", "#ffffff", "#15181c"),
    Colour("fig-1", "#0072b2", "#56b4e9"),
    Colour("fig-2", "#d55e00", "#ff8f40"),
    Colour("fig-3", "#009e73", "#2fd0a0"),
    Colour("fig-4", "#b0548a", "#e39cc6"),
    Colour("fig-5", "#8a6d00", "#f0e442"),
    Colour("fig-good", "#009e73", "#2fd0a0"),
    Colour("fig-warning", "#b07400", "#e69f00"),
    Colour("fig-bad", "#c2410c", "#ff8f40"),
)


def css_variables() -> str:
    """Rules for a page: light by default, dark where the reader or the page asks for it."""
    light = "".join(f"--{colour.name}:{colour.light};" for colour in COLOURS)
    dark = "".join(f"--{colour.name}:{colour.dark};" for colour in COLOURS)
    return (
        f":root{{{light}}}\n"
        f"@media (prefers-color-scheme: dark){{:root:not([data-theme=light]){{{dark}}}}}\n"
        f":root[data-theme=dark]{{{dark}}}\n"
        f"@media print{{:root:root:root{{{light}}}}}\n"
    )
