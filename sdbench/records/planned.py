"""The plan of a run: cases, blocks and the order of the processes."""

import functools
from collections import Counter
from typing import Literal

import msgspec

from sdbench.records.case import Arm, Case
from sdbench.records.numbers import Block, Count

StartMethod = Literal["spawn", "fork"]


class PlannedCase(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A case of a plan; ``skip_reason`` says why it cannot run, ``merged`` what it stands for.

    ``flags`` are known issues and predicted overflows it meets on this stack, one sentence each.
    """

    case: Case
    skip_reason: str | None = None
    merged: list[str] = []
    flags: list[str] = []

    @property
    def case_id(self) -> str:
        """The case's id."""
        return self.case.case_id


class Slot(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One process to run: a case in an arm in a block, at its place in the order."""

    index: Count
    block: Block
    case_id: str
    arm: str

    @property
    def replicate_id(self) -> str:
        """Unique within a run, and a safe file name."""
        return f"{self.case_id}.{self.arm}.{self.block}"


class Plan(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """What a run does, in order."""

    cases: list[PlannedCase]
    arms: list[Arm]
    slots: list[Slot]
    start: StartMethod

    def planned(self, case_id: str) -> PlannedCase:
        """The case of that id.

        Raises:
            KeyError: the plan has no such case.
        """
        return self._by_id[case_id]

    def processes(self, case_id: str, arm: str) -> int:
        """How many processes of a case in an arm are planned."""
        return self._processes[case_id, arm]

    def arm(self, name: str) -> Arm:
        """The arm of that name.

        Raises:
            KeyError: the plan has no such arm.
        """
        return self._arms_by_name[name]

    # A plan may have 100,000 processes, and all of them are looked up.

    @functools.cached_property
    def _by_id(self) -> dict[str, PlannedCase]:
        return {planned.case_id: planned for planned in reversed(self.cases)}

    @functools.cached_property
    def _arms_by_name(self) -> dict[str, Arm]:
        return {arm.name: arm for arm in reversed(self.arms)}

    @functools.cached_property
    def _processes(self) -> Counter[tuple[str, str]]:
        return Counter((slot.case_id, slot.arm) for slot in self.slots)
