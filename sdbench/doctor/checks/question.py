"""What a check asks; its answers are verdicts."""

from typing import NamedTuple

from sdbench.doctor.facts import Check, Status
from sdbench.machine.facts import Unavailable


class Question(NamedTuple):
    """The part of a verdict that does not depend on what is found."""

    id: str
    expected: str
    why: str

    def passes(self, found: str) -> Check:
        """As expected."""
        return self.answered("pass", found)

    def warns(self, found: str, remedy: str, *, why: str | None = None) -> Check:
        """It works, less well than it could."""
        return self.answered("warn", found, remedy, why)

    def fails(self, found: str, remedy: str, *, why: str | None = None) -> Check:
        """It does not work."""
        return self.answered("fail", found, remedy, why)

    def unknown(self, reason: Unavailable | str) -> Check:
        """It is not known, and why."""
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
