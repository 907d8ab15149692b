"""From a dead worker's last words to a cause a user can act on. Pure text reading.

Metal ends the process on a failed assertion, so the only trace may be the tail of stderr. What such
a tail is like: a progress bar may stand before the error on the same line, or in the middle of it;
either end may be cut; the words may come without their ``RuntimeError:``.
"""

import re

from sdbench.insight.failure_rules import FATAL, GENERAL, GPU_WORK, RAISED, SIGNALS, words
from sdbench.schema import FailureCause

_LONGEST_TAIL = 65_536


def read_failure(
    stderr_tail: str,
    exception_type: str | None,
    exception_message: str | None,
    signal: str | None,
) -> FailureCause | None:
    """The cause of a failure, or None if no known words are there.

    What raised an exception is told best by the exception; what was ended by a signal, by stderr.
    ``signal`` is the name (``SIGABRT``), None if the process ended by itself. A process that
    sdbench itself stopped ends by SIGKILL too: do not ask about those.
    """
    raised = _without_progress(f"{exception_type or ''}: {exception_message or ''}")
    tail = _without_progress(stderr_tail)
    if signal is None:
        order = [(text, FATAL + RAISED + GENERAL) for text in (raised, tail)]
    else:
        order = [(tail, FATAL), (raised, RAISED), (tail, RAISED), (tail, GENERAL)]
    for text, rules in order:
        for rule in rules:
            cause = rule.read(text)
            if cause is not None:
                return cause
    ended = SIGNALS.get(signal or "")
    return None if ended is None else ended.cause({}, None)


def without_advice(message: str) -> str:
    """An exception's message without what torch advises.

    Lifting the memory limit can freeze a Mac, and the remedy of the cause says better what to do.
    """
    return _ADVICE.sub("", message)


_ADVICE = words(
    r" (?:Use PYTORCH_MPS_HIGH_WATERMARK_RATIO=0\.0 to disable|If you want this op to be added).*",
    re.DOTALL,
)


def gpu_work_failure(stderr_tail: str) -> FailureCause | None:
    """What Metal said of a piece of work that failed, of a process that ended well all the same.

    Before torch 2.15 such an error is only written to stderr: the pipeline goes on, and what that
    work should have computed is missing or wrong.
    """
    text = _without_progress(stderr_tail)
    causes = (rule.read(text) for rule in GPU_WORK)
    return next((cause for cause in causes if cause is not None), None)


def fallback_operators(stderr_tail: str) -> list[str]:
    """Operators that ran on the CPU instead (``aten::nonzero``), each once, as first met.

    torch warns once for each place. Two wordings: the dispatcher's (``PYTORCH_ENABLE_MPS_FALLBACK``
    or a built-in fallback), the same from 1.12 on, and a kernel's own on an older macOS.
    """
    text = _without_progress(stderr_tail)
    named = [
        (match.start(), match["operator"] or f"aten::{match['own']}")
        for match in _FALLBACK.finditer(text)
    ]
    return list(dict.fromkeys(name for _, name in sorted(named)))


_ANSI = re.compile(r"\x1b\[[0-9;?]{0,16}[A-Za-z]")
# tqdm's bar: a percentage padded to three, the bar, counts and times in brackets.
_BAR = re.compile(r"\r?(?:  \d| \d\d|\d{3})%\|[^|\r\n]{0,400}\|[^\]\r\n]{0,400}\]")


def _without_progress(text: str) -> str:
    """The end of a text without progress bars and terminal colours, so that words meet again."""
    return _BAR.sub("", _ANSI.sub("", text[-_LONGEST_TAIL:]))


_FALLBACK = words(
    r"operator '(?P<operator>\w+::[\w.]+)' is not currently supported on the MPS backend and will "
    r"fall back"
    r"|MPS: (?P<own>\w+) op is supported (?:natively )?starting from macOS [\d.]+ Falling back on "
    r"CPU"
)
