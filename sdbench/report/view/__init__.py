"""One story for every renderer, so that HTML, Markdown and terminal cannot disagree.

``build_report`` reads what a report needs of loaded runs; everything else here is pure.
"""

from sdbench.report.view.build import build_report, diagnosed
from sdbench.report.view.model import (
    Advice,
    CaseView,
    Comparisons,
    DivergenceCurve,
    EvidenceLine,
    FindingView,
    Headline,
    KnownLink,
    Line,
    Mark,
    NoAdvice,
    ProcessTimes,
    Report,
    RunReport,
    SetupCheck,
    Span,
    StageRow,
    StageShare,
    Timeline,
    Tone,
)

__all__ = [
    "Advice",
    "CaseView",
    "Comparisons",
    "DivergenceCurve",
    "EvidenceLine",
    "FindingView",
    "Headline",
    "KnownLink",
    "Line",
    "Mark",
    "NoAdvice",
    "ProcessTimes",
    "Report",
    "RunReport",
    "SetupCheck",
    "Span",
    "StageRow",
    "StageShare",
    "Timeline",
    "Tone",
    "build_report",
    "diagnosed",
]
