"""A finished search for the operators in which a device and the CPU part. Pure data."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from sdbench.localise.ranking import JudgedCall, OperatorGroup, ranked, where_it_fails
from sdbench.records import Case, DeviceKind, Dtype, Mode

Shown = Literal["shown", "not-shown", "not-run"]


@dataclass(frozen=True)
class Demonstration:
    """A script about one call, and whether running it showed the fault.

    ``carried``: its operands are in a file beside it, because seeded ones did not show it.
    """

    script: Path
    carried: bool
    shown: Shown


@dataclass(frozen=True)
class Localisation:
    """What was looked at and what was found; ``skipped`` counts calls not compared, by reason."""

    model: str
    device: DeviceKind
    simulated: bool
    dtype: Dtype
    case: Case
    images: int
    steps: int
    judged: list[JudgedCall]
    skipped: dict[str, int]
    notes: list[str]
    complete: bool
    proof: Demonstration | None
    duration_s: float
    mode: Mode = "text-to-image"
    strength: float | None = None

    @cached_property
    def groups(self) -> list[OperatorGroup]:
        """All operators by module, worst first."""
        return ranked(self.judged)

    @property
    def beyond(self) -> list[OperatorGroup]:
        """What the device does wrongly."""
        return [group for group in self.groups if group.beyond]

    @property
    def where(self) -> str | None:
        """In which calls the worst operator is wrong."""
        if not self.beyond:
            return None
        return where_it_fails(self.judged, self.beyond[0].worst.call.op)
