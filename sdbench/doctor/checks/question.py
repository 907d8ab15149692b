"""The question of a check; its answers are verdicts."""

from typing import NamedTuple

from sdbench.doctor.facts import Check, Status
from sdbench.machine.facts import Unavailable


class Question(NamedTuple):
    """The part of a verdict that does not depend on the result."""

    id: str
    expected: str
    why: str

    def passes(self, found: str) -> Check:
        """A verdict that passes."""
        return self.answered("pass", found)

    def warns(self, found: str, remedy: str, *, why: str | None = None) -> Check:
        """A verdict with a warning."""
        return self.answered("warn", found, remedy, why)

    def fails(self, found: str, remedy: str, *, why: str | None = None) -> Check:
        """A verdict that fails."""
        return self.answered("fail", found, remedy, why)

    def unknown(self, reason: Unavailable | str) -> Check:
        """A verdict that is unknown, with the reason."""
        text = reason.unavailable if isinstance(reason, Unavailable) else reason
        return self.answered("unknown", text)

    def answered(
        self, status: Status, found: str, remedy: str | None = None, why: str | None = None
    ) -> Check:
        """Any verdict."""
        return Check(
            id=self.id,
            status=status,
            found=found,
            expected=self.expected,
            why=why or self.why,
            remedy=remedy,
        )
