"""Operator calls on two devices: what was called, the error of the result, and which operators are
worst.

Pure. The numbers come from ``sdbench/worker/localise.py``, which says how they are made.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sdbench.process.operator_calls import OperatorCall, OperatorDifference

# An operator is beyond its floor from here on. A right result is as far from the CPU's as both are
# from the truth. Seen on healthy kernels that are not the reference's (synthetic/tiny): at most 0.8
# for the half-precision kernels of the CPU in torch 2.13, 8.8 in 1.13, which sums in bfloat16. A
# factor of 1.05, the least of the faults known on mps, is 13 in bfloat16, 100 in float16, 10^5 in
# float32: look in float32 first.
BEYOND = 30.0

Status = Literal["compared", "failed", "crashed", "hung"]
# An error compared with what rounding may cause at the depth of the operator's sums.
Rounding = Literal["within", "within-coarse", "beyond", "unknown"]
# From bad to worst: raised an exception, differs, does not come back, ends the process.
_STATUS_RANK: dict[Status, int] = {"compared": 0, "failed": 1, "hung": 3, "crashed": 4}
_NONFINITE_RANK = 2


@dataclass(frozen=True)
class JudgedCall:
    """A call and its result on the device."""

    call: OperatorCall
    status: Status
    comparison: OperatorDifference
    reason: str | None = None

    @property
    def beyond(self) -> bool:
        """Whether the device's result is wrong: it is none, or too far off for any arithmetic that
        the device is allowed."""
        return self._rank > 0 or (self.above_limit and not self.within_tf32)

    @property
    def above_limit(self) -> bool:
        """Whether the error is more than ``BEYOND`` times the floor."""
        ratio = self.comparison.ratio
        return ratio is not None and ratio > BEYOND

    @property
    def within_tf32(self) -> bool:
        """Whether TF32 explains the error, on a device that is allowed to multiply in it.

        An H200 with torch's defaults: convolutions in float32 are up to 2,100 times their floor
        off, all within the bound of TF32.
        """
        return self.rounding == "within-coarse" and self.comparison.coarse == "tf32"

    @property
    def of_bound(self) -> float | None:
        """The error as a multiple of the rounding error that the depth of the sums allows."""
        error, bound = self.comparison.rel_l2, self.comparison.bound
        return None if error is None or not bound else error / bound

    @property
    def rounding(self) -> Rounding:
        """Whether rounding explains the error.

        ``within-coarse``: only if the device adds up, or multiplies, in ``comparison.coarse``.
        Unknown where the depth is not, or where there is no result. No rounding makes a number that
        is finite infinite, or not a number.
        """
        comparison = self.comparison
        if self.status == "compared" and comparison.nonfinite:
            return "beyond"
        multiple = self.of_bound
        if self.status != "compared" or multiple is None or comparison.rel_l2 is None:
            return "unknown"
        if multiple <= 1:
            return "within"
        coarse = comparison.coarse_bound
        return "within-coarse" if coarse and comparison.rel_l2 <= coarse else "beyond"

    @property
    def met(self) -> bool:
        """Whether the pass itself makes this call."""
        return self.call.layout is None

    @property
    def severity(self) -> tuple[bool, bool, int, float, float]:
        """A sort key, worst first: wrong calls of the pass before other wrong calls, then the kind
        of fault, then the ratio."""
        comparison = self.comparison
        ratio, error = comparison.ratio or 0.0, comparison.rel_l2 or 0.0
        return self.beyond and self.met, self.beyond, self._rank, ratio, error

    @property
    def _rank(self) -> int:
        if self.status == "compared" and self.comparison.nonfinite:
            return _NONFINITE_RANK
        return _STATUS_RANK[self.status]


@dataclass(frozen=True)
class OperatorGroup:
    """All calls of one operator in one module; ``worst`` represents them."""

    worst: JudgedCall
    calls: int
    beyond: int


def ranked(judged: Sequence[JudgedCall]) -> list[OperatorGroup]:
    """Operators by owning module, worst first.

    An operator composed of others is omitted if one of its components is the cause.
    """
    explained = _explained(judged)
    groups: dict[tuple[str | None, ...], list[JudgedCall]] = {}
    for entry in judged:
        call = entry.call
        if call.index not in explained:
            groups.setdefault((call.module, call.op, call.layout), []).append(entry)
    found = [
        OperatorGroup(
            worst=max(entries, key=lambda entry: entry.severity),
            calls=len(entries),
            beyond=sum(entry.beyond for entry in entries),
        )
        for entries in groups.values()
    ]
    return sorted(found, key=lambda group: group.worst.severity, reverse=True)


def _explained(judged: Sequence[JudgedCall]) -> set[int]:
    """Calls that are wrong because an operator that they call is wrong."""
    by_index = {entry.call.index: entry for entry in judged}
    explained: set[int] = set()
    for entry in judged:
        outer = entry.call.within if entry.beyond else None
        while outer is not None and outer not in explained:
            explained.add(outer)
            outer = by_index[outer].call.within if outer in by_index else None
    return explained


def where_it_fails(judged: Sequence[JudgedCall], op: str) -> str:
    """The calls of an operator in which the device is wrong, and what distinguishes them.

    ``wrong in 12 of 45 calls: in every call with an operand that is not contiguous, and in no
    other``.
    """
    calls = [entry for entry in judged if entry.call.op == op and entry.met]
    wrong = [entry for entry in calls if entry.beyond]
    right = [entry for entry in calls if not entry.beyond]
    if not wrong:
        return f"right in all {len(calls)} calls of this pass, but wrong {_layouts(judged, op)}"
    if not right:
        return f"wrong in all {len(calls)} calls" if len(calls) > 1 else "wrong in its only call"
    words = f"wrong in {len(wrong)} of {len(calls)} calls"
    for feature, has in _FEATURES.items():
        if all(has(entry.call) for entry in wrong) and not any(has(e.call) for e in right):
            return f"{words}: in every call with {feature}, and in no other"
    return words


def _layouts(judged: Sequence[JudgedCall], op: str) -> str:
    """The memory layouts with which an operator is wrong."""
    wrong = [entry.call.layout for entry in judged if entry.call.op == op and entry.beyond]
    return " and ".join(
        _LAYOUT_WORDS.get(layout or "", str(layout)) for layout in [*dict.fromkeys(wrong)]
    )


_LAYOUT_WORDS = {
    "channels_last": "with its input in channels_last",
    "slice": "with its input as a slice of a larger tensor",
}


def _noncontiguous(call: OperatorCall) -> bool:
    return any(not operand.contiguous for operand in call.operands)


def _begins_inside(call: OperatorCall) -> bool:
    return any(operand.offset for operand in call.operands)


_FEATURES = {
    "an operand that is not contiguous": _noncontiguous,
    "an operand that begins inside another tensor's memory": _begins_inside,
}
