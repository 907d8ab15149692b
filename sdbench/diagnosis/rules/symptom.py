"""What a rule found in one row."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sdbench.analysis.case_result import CaseResult
from sdbench.diagnosis.evidence import Evidence
from sdbench.diagnosis.result import Severity
from sdbench.knowledge.known_issues import FindingCode


@dataclass(frozen=True)
class Symptom:
    """``words`` go on after the name of the case; ``numbers`` are the evidence behind them."""

    code: FindingCode
    severity: Severity
    row: CaseResult
    words: str
    remedy: str
    numbers: dict[str, Any] = field(default_factory=dict)


Rule = Callable[[Evidence, CaseResult], Symptom | None]
