"""One story for every renderer, so that HTML, Markdown and terminal cannot disagree.

``tell`` reads what a report needs of loaded runs; everything else here is pure.
"""

from sdbench.report.view.build import diagnosed, tell
from sdbench.report.view.model import (
    Advice,
    Cell,
    Comparisons,
    DivergenceCurve,
    Evidence,
    FindingStory,
    Headline,
    KnownLink,
    Line,
    Mark,
    NoAdvice,
    ProcessTimes,
    RunStory,
    SetupCheck,
    Span,
    StageRow,
    StageShare,
    Story,
    Timeline,
    Tone,
)

__all__ = [
    "Advice",
    "Cell",
    "Comparisons",
    "DivergenceCurve",
    "Evidence",
    "FindingStory",
    "Headline",
    "KnownLink",
    "Line",
    "Mark",
    "NoAdvice",
    "ProcessTimes",
    "RunStory",
    "SetupCheck",
    "Span",
    "StageRow",
    "StageShare",
    "Story",
    "Timeline",
    "Tone",
    "diagnosed",
    "tell",
]
