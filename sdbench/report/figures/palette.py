"""The colours of figures: one set of names, filled in for a page, an image in light, in dark.

Categories are Okabe and Ito's, which people with any kind of colour vision can distinguish
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
    # From quick to slow, by lightness alone.
    Colour("heat-0", "#f0f6fb", "#1b2530"),
    Colour("heat-1", "#dcebf5", "#1d3040"),
    Colour("heat-2", "#c5dfef", "#1e3b51"),
    Colour("heat-3", "#a9d0e8", "#1f4864"),
    Colour("heat-4", "#86bddf", "#205676"),
    Colour("heat-5", "#5ea7d4", "#206389"),
    Colour("heat-6", "#1f74a8", "#56a5d6"),
    Colour("heat-7", "#0f5f95", "#83c0e5"),
    Colour("heat-8", "#084b7a", "#b4dbf1"),
    Colour("heat-ink-low", "#1f2328", "#f2f5f7"),
    Colour("heat-ink-high", "#ffffff", "#0b1117"),
)
# From this level on the ink is that for high ones.
FIRST_HIGH_HEAT = 6


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
