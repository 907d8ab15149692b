"""All figures, drawn once for HTML (inline SVG) and for Markdown (SVG and PNG files).

``run_figures`` and ``story_figures`` give a list; each knows its id, its title, a description for
those who do not see it, and draws itself as SVG or PNG.
"""

from sdbench.report.figures.figure import Figure, FigureKind
from sdbench.report.figures.palette import css_variables
from sdbench.report.figures.select import run_figures, story_figures

__all__ = ["Figure", "FigureKind", "css_variables", "run_figures", "story_figures"]
