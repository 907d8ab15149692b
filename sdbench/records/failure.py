"""How a process ended, and why badly: a cause with its ground, a crash report of the system."""

from typing import Literal

import msgspec

Outcome = Literal["ok", "failed", "oom", "crashed", "timeout", "guard", "skipped"]
Confidence = Literal["high", "medium", "low"]
# A case's outcome is its worst replicate's.
OUTCOME_SEVERITY: tuple[Outcome, ...] = (
    "crashed",
    "timeout",
    "guard",
    "oom",
    "failed",
    "skipped",
    "ok",
)


class FailureCause(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Why a worker failed. ``kind`` is stable; numbers are None where the text does not give them.

    For ``mps-out-of-memory``: ``allocated_bytes`` is held by torch's allocator (tensors and its
    cache), ``other_bytes`` by Metal for the same process in addition (compiled graphs and their
    buffers), ``limit_bytes`` is the high watermark. ``assertion`` quotes the decisive words.
    ``generic``: the sentence says no more than the message; ``sources`` are public threads
    (owner/repository#number), ``since`` and ``until`` the releases between which it was seen.
    """

    kind: str
    sentence: str
    remedy: str
    asked_bytes: int | None = None
    allocated_bytes: int | None = None
    other_bytes: int | None = None
    limit_bytes: int | None = None
    pool: str | None = None
    operator: str | None = None
    assertion: str | None = None
    confidence: Confidence | None = None
    generic: bool = False
    since: str | None = None
    until: str | None = None
    sources: list[str] = []


class Frame(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One call on the environment: the library's name and the function, None where not given."""

    image: str | None
    symbol: str | None


class CrashReport(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Why a process died, as macOS saw it; innermost call first.

    ``message`` holds what the dying libraries left: a failed assertion's text, an exception's name
    and reason. It can be given to ``read_failure`` as if it were stderr.
    """

    process: str | None = None
    os_version: str | None = None
    exception_type: str | None = None
    signal: str | None = None
    termination: str | None = None
    message: str | None = None
    queue: str | None = None
    frames: list[Frame] = []
