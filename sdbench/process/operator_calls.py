"""Operator calls that a worker repeats on the device, and how far the results are apart. Types.

The numbers come from ``sdbench/worker/localise.py``, which says how they are made.
"""

import math
from typing import Any

import msgspec

from sdbench.records import Count


class Storage(msgspec.Struct, frozen=True, kw_only=True):
    """The memory behind an operand, in the type under test.

    ``unread``: the operator must not look at the content (``beta=0``). ``mean`` and ``deviation``
    are those of the finite numbers of a float, ``low`` and ``high`` the limits of integers.
    """

    elements: Count
    dtype: str
    unread: bool = False
    mean: float | None = None
    deviation: float | None = None
    low: int | None = None
    high: int | None = None


class Operand(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor given to an operator: a view of a storage, in elements."""

    name: str
    storage: int
    shape: list[int]
    stride: list[int]
    offset: int

    @property
    def contiguous(self) -> bool:
        """Whether its elements lie one after the other, last dimension fastest."""
        expected = 1
        for size, stride in zip(reversed(self.shape), reversed(self.stride), strict=True):
            if size != 1 and stride != expected:
                return math.prod(self.shape) == 0
            expected *= size
        return True


class Argument(msgspec.Struct, frozen=True, kw_only=True):
    """One argument of a call; what JSON has no word for is an object with one key.

    ``{"operand": 0}``, ``{"float": "inf"}``, ``{"torch": "float16"}``, ``{"device": true}``.
    """

    name: str
    by_name: bool
    value: Any


class OperatorCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call of an operator in a pass on the CPU, about to be repeated on the device.

    ``index`` counts repeated calls, ``within`` is the index of the call this one is a part of,
    ``share`` says about how much of the pass is done. ``layout``: not as the pass has it, but with
    its first operand laid out in that way.
    """

    index: Count
    signature: str
    op: str
    schema: str
    module: str
    module_class: str
    layout: str | None = None
    within: Count | None = None
    share: float = 0.0
    arguments: list[Argument] = []
    operands: list[Operand] = []
    storages: list[Storage] = []


class OperatorDifference(msgspec.Struct, frozen=True, kw_only=True):
    """How far the device's result is from the CPU's.

    ``nonfinite`` counts elements that are finite on one side only; there is no ratio then.
    ``depth`` is the number of terms in each of its sums, ``bound`` the relative L2 error that
    rounding may cause with such a depth; ``coarse_bound`` where it adds up, or multiplies, in the
    type ``coarse`` (``float16``, ``bfloat16``, ``tf32``). None where no bound is known, or where
    another call of the operator in its module is further from the CPU's.
    ``left_out``: the operator is only the CPU's way of doing the one it is a part of.
    """

    index: Count
    output: Count = 0
    rel_l2: float | None = None
    floor: float | None = None
    ratio: float | None = None
    nonfinite: Count = 0
    depth: Count | None = None
    bound: float | None = None
    coarse: str | None = None
    coarse_bound: float | None = None
    error: str | None = None
    left_out: bool = False
