"""The memory limits of the mps allocator in a worker's environment, checked before it starts.

torch reads the two ratios with C's ``strtod`` when the allocator is first used and refuses what
contradicts itself (``MPSAllocator.mm``: ``invalid low watermark ratio``): a worker would only find
out after the model is loaded. Text that ``strtod`` cannot parse counts as 0, which means no limit.
"""

import re
from collections.abc import Mapping

HIGH = "PYTORCH_MPS_HIGH_WATERMARK_RATIO"
LOW = "PYTORCH_MPS_LOW_WATERMARK_RATIO"

# MPSAllocator.h, the same from torch 1.13 on; LOW is 1.0 on Macs with a separate graphics card.
_DEFAULT_HIGH = 1.7
_DEFAULT_LOW = 1.4
_HIGHEST = 2.0

_NUMBER = re.compile(r"\s*[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")


def check_watermarks(environment: Mapping[str, str]) -> str | None:
    """One line that says why the ratios are invalid and what to do; None if they are valid."""
    for name in (HIGH, LOW):
        problem = _problem(name, environment.get(name))
        if problem is not None:
            return problem
    if HIGH not in environment and LOW not in environment:
        return None
    high = _ratio(environment.get(HIGH), _DEFAULT_HIGH)
    low = _ratio(environment.get(LOW), _DEFAULT_LOW)
    limit = _HIGHEST if high == 0 else high
    if low <= limit:
        return None
    if LOW not in environment:
        return (
            f"{HIGH}={high:g} is below the default of {LOW}, {low:g}, which torch refuses; "
            f"set {LOW} to {high:g} or less as well"
        )
    if HIGH not in environment:
        return f"{LOW}={low:g} is above the default of {HIGH}, {high:g}; set it to {high:g} or less"
    return (
        f"{LOW}={low:g} is above {HIGH}={high:g}, which torch refuses; set it to {limit:g} at most"
    )


def removes_memory_limit(environment: Mapping[str, str]) -> bool:
    """Whether torch would run without any memory limit, which can freeze the whole machine.

    That is HIGH = 0, and also a HIGH that is no number.
    """
    return HIGH in environment and _ratio(environment[HIGH], _DEFAULT_HIGH) == 0


def high_watermark(environment: Mapping[str, str]) -> float:
    """The allocator's limit as a multiple of the recommended working set; 0 stands for no limit."""
    return _ratio(environment.get(HIGH), _DEFAULT_HIGH)


def _problem(name: str, text: str | None) -> str | None:
    if text is None:
        return None
    match = _NUMBER.match(text)
    if match is None or text[match.end() :].strip():
        return (
            f"{name}={text!r} is not a plain number, and torch would treat it as 0 (no limit); "
            f"expected a number from 0 to {_HIGHEST:g}, or unset the variable"
        )
    if not 0 <= float(text) <= _HIGHEST:
        return f"{name}={text.strip()} is outside 0 to {_HIGHEST:g}, which torch refuses"
    return None


def _ratio(text: str | None, default: float) -> float:
    """The value as ``strtod`` reads it: the longest number at the start, else 0."""
    if text is None:
        return default
    match = _NUMBER.match(text)
    return 0.0 if match is None else float(match[0])
