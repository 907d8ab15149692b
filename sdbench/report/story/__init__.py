"""One story for every renderer, so that HTML, Markdown and terminal cannot disagree.

``tell`` reads what a report needs of loaded runs; everything else here is pure.
"""

from sdbench.report.story.records import (
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
from sdbench.report.story.tell import diagnosed, tell

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
