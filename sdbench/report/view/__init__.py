"""One story for every renderer, so that HTML, Markdown and terminal cannot disagree.

``build_report`` reads what a report needs of loaded runs; everything else here is pure.
"""

from sdbench.report.view.build import build_report, diagnosed
from sdbench.report.view.model import Advice, CaseView, FindingView, Line, Report, RunReport, Tone

__all__ = [
    "Advice",
    "CaseView",
    "FindingView",
    "Line",
    "Report",
    "RunReport",
    "Tone",
    "build_report",
    "diagnosed",
]
