"""From two numbers and an allowed difference to a verdict. Pure."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from sdbench.records import InstrumentLine

TWO_LOOKS = "it failed in one of two looks"


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One line before it is answered.

    ``instrument`` and ``source`` name the two sides, ``allowed`` is how far apart they may be in
    ``unit``, and ``ground`` why so far.
    """

    id: str
    instrument: str
    source: str
    unit: str = ""
    allowed: float | None = None
    ground: str = ""

    def unknown(self, reason: str, **sides: float | str | None) -> InstrumentLine:
        """The line of a question that could not be answered."""
        return self._line("unknown", reason=reason, **sides)

    def compare(
        self, measured: float | None, expected: float | None, *, missing: str | None = None
    ) -> InstrumentLine:
        """Pass where both numbers are known, finite and no further apart than allowed.

        It fails whichever of the two is wrong. ``missing`` says why a number is not known.
        """
        sides = {"measured": measured, "expected": expected}
        if measured is None or expected is None:
            side = self.instrument if measured is None else self.source
            return self._line("unknown", reason=missing or f"{side} gave no value", **sides)
        if not (math.isfinite(measured) and math.isfinite(expected)):
            words = {name: str(value) for name, value in sides.items()}
            return self._line("fail", reason="a value is not a finite number", **words)
        apart = abs(measured - expected)
        return self._line("pass" if apart <= (self.allowed or 0.0) else "fail", **sides)

    def compare_words(self, measured: str | None, expected: str) -> InstrumentLine:
        """Pass where both sides say the same word."""
        if measured is None:
            return self.unknown(f"{self.instrument} gave no answer", expected=expected)
        return self._line(
            "pass" if measured == expected else "fail", measured=measured, expected=expected
        )

    def _line(self, status: Any, **found: Any) -> InstrumentLine:
        return InstrumentLine(
            id=self.id,
            status=status,
            instrument=self.instrument,
            source=self.source,
            unit=self.unit,
            allowed=self.allowed,
            ground=self.ground,
            **found,
        )


def all_unknown(questions: Iterable[Question], reason: str) -> list[InstrumentLine]:
    """All lines of an instrument that could not be looked at."""
    return [question.unknown(reason) for question in questions]


def confirmed(
    first: Sequence[InstrumentLine], second: Sequence[InstrumentLine]
) -> list[InstrumentLine]:
    """Of two looks, the second one's lines; a line has failed only if it failed in both.

    One that failed in one look alone is unknown: a disturbance by another program and a fault that
    comes and goes look the same.
    """
    before = {line.id: line.status for line in first}
    lines = []
    for line in second:
        statuses = {before.get(line.id, "unknown"), line.status}
        if "fail" in statuses and statuses != {"fail"}:
            line = msgspec.structs.replace(line, status="unknown", reason=TWO_LOOKS)
        lines.append(line)
    return lines
