"""The result of a search for operators whose results differ between device and CPU. Pure data."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from sdbench.localise.ranking import JudgedCall, OperatorGroup, ranked, where_it_fails
from sdbench.records import Case, DeviceKind, Dtype, Mode

Shown = Literal["shown", "not-shown", "not-run"]


@dataclass(frozen=True)
class Demonstration:
    """A script about one call, and whether running it shows the fault.

    ``carried``: its operands are in a file next to it, because seeded ones do not show the fault.
    """

    script: Path
    carried: bool
    shown: Shown


@dataclass(frozen=True)
class Localisation:
    """The calls that were compared and the results; ``skipped`` counts calls not compared, by
    reason."""

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
        """The operators with wrong results on the device."""
        return [group for group in self.groups if group.beyond]

    @property
    def beyond_rounding(self) -> list[OperatorGroup]:
        """The operators whose error is less than the limit, but more than rounding allows."""
        return [group for group in self._near if group.worst.rounding == "beyond"]

    @property
    def within_coarse(self) -> list[OperatorGroup]:
        """Those whose error rounding allows only in a coarser type than float32."""
        return [group for group in self._near if group.worst.rounding == "within-coarse"]

    @property
    def _near(self) -> list[OperatorGroup]:
        return [group for group in self.groups if not group.beyond]

    @property
    def right(self) -> bool:
        """Whether all calls were compared and nothing is wrong or beyond rounding."""
        return self.complete and not self.beyond and not self.beyond_rounding

    @property
    def where(self) -> str | None:
        """The calls in which the worst operator is wrong."""
        if not self.beyond:
            return None
        return where_it_fails(self.judged, self.beyond[0].worst.call.op)
