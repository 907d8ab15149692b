"""The faults that can be asked for, and how ``SDBENCH_STANDIN_FAULT`` spells them.

Nothing here imports torch: a spelling mistake has to fail at once and say what would have been right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

VARIABLE = "SDBENCH_STANDIN_FAULT"


class SettingError(ValueError):
    """A setting of the stand-in has a value it cannot have."""


@dataclass(frozen=True)
class FirstPassDiffers:
    """The first pass adds noise of this relative size to every UNet convolution."""

    noise: float = 0.05


@dataclass(frozen=True)
class BatchNoise:
    """With more than one picture in a pass, all but the first are noise."""


@dataclass(frozen=True)
class BatchAbort:
    """With more than one picture in a pass, Metal's assertion aborts the process."""


@dataclass(frozen=True)
class SlicedNan:
    """``baddbmm`` with ``beta=0`` lets the NaN of its unread input through."""


@dataclass(frozen=True)
class NanAfter:
    """Every convolution gives NaN once this many passes are complete."""

    passes: int


@dataclass(frozen=True)
class WrongOp:
    """One operator's result is too large by a factor."""

    op: str
    scale: float = 1.05


@dataclass(frozen=True)
class AtOp:
    """Operators go wrong in a chosen way, in the calls that meet every condition."""

    op: str
    """A pattern, as for file names, over names such as ``aten::bmm`` or ``aten::add.Tensor``."""
    effect: str
    scale: float = 1.05
    text: str | None = None
    signal: str = "SIGABRT"
    when: tuple[str, ...] = ()
    passes: int = 0
    elements: int = 0
    items: str = "all"


@dataclass(frozen=True)
class MissingOp:
    """One operator has no MPS kernel."""

    op: str


@dataclass(frozen=True)
class MemoryGrowth:
    """Every pass leaves this many bytes allocated."""

    bytes: int


@dataclass(frozen=True)
class PressureSlowdown:
    """Operators take ``factor`` times as long while more than ``above`` bytes are allocated."""

    above: int
    factor: float


@dataclass(frozen=True)
class HangSynchronize:
    """Waiting for the device never ends, once ``passes`` passes are complete."""

    passes: int = 0
    gil: bool = False


@dataclass(frozen=True)
class AsyncError:
    """The pass after ``passes`` complete ones fails on the device; the host learns it when it next waits."""

    passes: int = 0
    text: str = (
        "MPS command buffer execution failed: Insufficient Memory "
        "(00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)"
    )


Fault = (
    FirstPassDiffers
    | BatchNoise
    | BatchAbort
    | SlicedNan
    | NanAfter
    | WrongOp
    | AtOp
    | MissingOp
    | MemoryGrowth
    | PressureSlowdown
    | HangSynchronize
    | AsyncError
)

# The backend's name for each, and the condition.
WRONG_OPS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "layer_norm": ("aten::native_layer_norm", ()),
    "group_norm": ("aten::native_group_norm", ()),
    "softmax": ("aten::_softmax", ()),
    "conv2d-noncontiguous": ("aten::convolution", ("noncontiguous",)),
    "sdpa-noncontiguous": ("aten::scaled_dot_product_attention", ("noncontiguous",)),
}
EFFECTS = ("scale", "nan", "zero", "noise", "raise", "die")
CONDITIONS = ("noncontiguous", "channels-last", "batch", "first-pass")
SIGNALS = ("SIGABRT", "SIGBUS", "SIGSEGV", "SIGILL", "SIGTRAP", "SIGKILL")

T = TypeVar("T")
Reader = Callable[[str], object]


def _number(
    convert: Callable[[str], T], accept: Callable[[T], bool], wanted: str
) -> Callable[[str], T]:
    def read(text: str) -> T:
        try:
            value = convert(text)
        except ValueError:
            raise SettingError(f"must be {wanted}") from None
        if not accept(value):
            raise SettingError(f"must be {wanted}")
        return value

    return read


def _one_of(*allowed: str) -> Reader:
    def read(text: str) -> str:
        if text not in allowed:
            raise SettingError(f"must be one of {', '.join(allowed)}")
        return text

    return read


def _some_of(*allowed: str) -> Reader:
    def read(text: str) -> tuple[str, ...]:
        names = tuple(text.split("+"))
        if not set(names) <= set(allowed):
            raise SettingError(f"must be of {', '.join(allowed)}, several with +")
        return names

    return read


def _operator_name(text: str) -> str:
    if not re.fullmatch(r"aten::[\w*?]+(\.[\w*?]+)?", text):
        raise SettingError("must be an operator such as aten::sin or aten::add.Tensor")
    return text


def _text_of_file(path: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except (OSError, ValueError) as error:
        raise SettingError(f"must be a text file: {error}") from None


_count = _number(int, lambda value: value >= 0, "a whole number, 0 or more")
_positive = _number(int, lambda value: value > 0, "a whole number above 0")
_factor = _number(float, lambda value: 0 < value < float("inf"), "a number above 0")
_slowdown = _number(float, lambda value: 1 <= value < float("inf"), "a number, 1 or more")


@dataclass(frozen=True)
class _Kind:
    make: Callable[..., Fault]
    parameters: Mapping[str, Reader]
    required: tuple[str, ...] = ()


_KINDS: Mapping[str, _Kind] = {
    "first-pass-differs": _Kind(FirstPassDiffers, {"noise": _factor}),
    "batch-noise": _Kind(BatchNoise, {}),
    "batch-abort": _Kind(BatchAbort, {}),
    "sliced-nan": _Kind(SlicedNan, {}),
    "nan-after": _Kind(NanAfter, {"passes": _count}, ("passes",)),
    "wrong-op": _Kind(WrongOp, {"op": _one_of(*WRONG_OPS), "scale": _factor}, ("op",)),
    "at-op": _Kind(
        AtOp,
        {
            "op": _operator_name,
            "effect": _one_of(*EFFECTS),
            "scale": _factor,
            "text": _text_of_file,
            "signal": _one_of(*SIGNALS),
            "when": _some_of(*CONDITIONS),
            "passes": _count,
            "elements": _count,
            "items": _one_of("all", "rest"),
        },
        ("op", "effect"),
    ),
    "missing-op": _Kind(MissingOp, {"op": _operator_name}, ("op",)),
    "memory-growth": _Kind(MemoryGrowth, {"bytes": _positive}, ("bytes",)),
    "pressure-slowdown": _Kind(
        PressureSlowdown, {"above": _count, "factor": _slowdown}, ("above", "factor")
    ),
    "hang-synchronize": _Kind(
        HangSynchronize, {"passes": _count, "gil": lambda text: _one_of("0", "1")(text) == "1"}
    ),
    "async-error": _Kind(AsyncError, {"passes": _count, "text": _text_of_file}),
}


def parse_faults(text: str) -> tuple[Fault, ...]:
    """Reads ``name[:key=value]*[,name…]``; raises SettingError with one line that names what is allowed."""
    return tuple(_parse_fault(item.strip()) for item in text.split(",") if item.strip())


def _parse_fault(item: str) -> Fault:
    # A value may hold colons of its own (op=aten::sin), so only a colon before "key=" separates.
    name, *assignments = re.split(r":(?=[^:=]*=)", item)
    kind = _KINDS.get(name)
    if kind is None:
        raise SettingError(f"{VARIABLE}: unknown fault {name!r}; allowed: {', '.join(_KINDS)}")
    values: dict[str, object] = {}
    for assignment in assignments:
        key, _, value = assignment.partition("=")
        reader = kind.parameters.get(key)
        if reader is None:
            allowed = ", ".join(kind.parameters) or "none"
            raise SettingError(f"{VARIABLE}: {name} has no parameter {key!r}; allowed: {allowed}")
        try:
            values[key] = reader(value)
        except SettingError as error:
            raise SettingError(f"{VARIABLE}: {name}:{key}={value} {error}") from None
    missing = [key for key in kind.required if key not in values]
    if missing:
        raise SettingError(f"{VARIABLE}: {name} needs {', '.join(f'{key}=…' for key in missing)}")
    return kind.make(**values)
