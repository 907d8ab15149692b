"""Derives from a dead worker's error output a cause that a user can act on. Pure text parsing.

Metal ends the process on a failed assertion, so the only trace may be the tail of stderr. What such
a tail is like: a progress bar may stand before the error on the same line, or in the middle of it;
either end may be cut; the words may come without their ``RuntimeError:``.
"""

import re
from collections.abc import Iterable

from sdbench.knowledge.failure_texts import FailurePattern, rule_of_signal, rules_of, words
from sdbench.knowledge.pasted_log import incidents, without_code, without_progress
from sdbench.knowledge.version_ranges import UNKNOWN, Versions
from sdbench.records import FailureCause

_LONGEST_TAIL = 65_536


def read_failure(
    stderr_tail: str,
    exception_type: str | None,
    exception_message: str | None,
    signal: str | None,
    versions: Versions = UNKNOWN,
) -> FailureCause | None:
    """The cause of a failure, or None if the text matches no rule.

    For a raised exception the exception is evaluated (the root of its chain, if it wraps another
    one); for a process that a signal ended, its error output. ``signal`` is the name (``SIGABRT``),
    None if the process ended by itself. Do not call this for processes that sdbench stopped itself:
    they end with SIGKILL too. ``versions`` are those of the worker.
    """
    raised = _clean(f"{exception_type or ''}: {exception_message or ''}")
    tail = _clean(stderr_tail)
    links = list(reversed(incidents(tail)))
    chain = [link for incident in links for link in incident]
    specific, native = rules_of("raised"), rules_of("abort", "gpu-work")
    own = _without_wrappers(specific)
    if signal is None:
        order = [(raised, _without_wrappers(native + specific))]
        order += [(link, _without_wrappers(native + specific)) for link in chain]
        order += [(text, _wrappers(specific)) for text in (raised, tail)]
    else:
        order = [(tail, native), (raised, own), *((link, own) for link in chain)]
        order += [(text, _wrappers(specific)) for text in (raised, tail)]
    order += [(text, rules_of("general", "ended")) for text in (raised, tail)]
    for text, rules in order:
        cause = first_cause(rules, text, versions)
        if cause is not None:
            return cause
    ended = rule_of_signal(signal)
    return None if ended is None else ended.cause_of({}, None, "", versions)


def first_cause(
    rules: Iterable[FailurePattern], text: str, versions: Versions
) -> FailureCause | None:
    """The cause from the first rule that matches a text."""
    causes = (rule.read(text, versions) for rule in rules)
    return next((cause for cause in causes if cause is not None), None)


def without_advice(message: str) -> str:
    """An exception's message without the advice that torch appends.

    Lifting the memory limit can freeze a Mac, and the remedy of the cause says better what to do.
    """
    return _ADVICE.sub("", message)


_ADVICE = words(
    r" (?:Use PYTORCH_MPS_HIGH_WATERMARK_RATIO=0\.0 to disable|If you want this op to be added).*",
    re.DOTALL,
)


def gpu_work_failure(stderr_tail: str) -> FailureCause | None:
    """What Metal reported about GPU work that failed in a process that nevertheless completed.

    Before torch 2.15 such an error is only written to stderr: the pipeline goes on, and what that
    work should have computed is missing or wrong.
    """
    return first_cause(rules_of("gpu-work"), _clean(stderr_tail), UNKNOWN)


def fallback_operators(stderr_tail: str) -> list[str]:
    """Operators that ran on the CPU instead (``aten::nonzero``), each once, in order of first
    appearance.

    torch warns once for each place. Two wordings: the dispatcher's (``PYTORCH_ENABLE_MPS_FALLBACK``
    or a built-in fallback), the same from 1.12 on, and a kernel's own on an older macOS.
    """
    text = without_progress(stderr_tail[-_LONGEST_TAIL:])
    named = [
        (match.start(), match["operator"] or f"aten::{match['own']}")
        for match in _FALLBACK.finditer(text)
    ]
    return list(dict.fromkeys(name for _, name in sorted(named)))


def _clean(text: str) -> str:
    return without_code(without_progress(text[-_LONGEST_TAIL:]))


def _without_wrappers(rules: Iterable[FailurePattern]) -> tuple[FailurePattern, ...]:
    return tuple(rule for rule in rules if not rule.wrapper)


def _wrappers(rules: Iterable[FailurePattern]) -> tuple[FailurePattern, ...]:
    return tuple(rule for rule in rules if rule.wrapper)


_FALLBACK = words(
    r"operator '(?P<operator>\w+::[\w.]+)' is not currently supported on the MPS backend and will "
    r"fall back"
    r"|MPS: (?P<own>\w+) op is supported (?:natively )?starting from macOS [\d.]+ Falling back on "
    r"CPU"
)
