"""What a worker says, one JSON document a line: checked here, at the edge, and typed from here on.

A worker is not to be trusted: its memory may be corrupt, or something in it may write into the
pipe. A line that is no event is counted and goes no further.
"""

from typing import Any

import msgspec

from sdbench.process.operator_calls import OperatorCall, OperatorDifference
from sdbench.records import (
    Bytes,
    Clock,
    Count,
    CountedFlops,
    Effect,
    FlopsPerSecond,
    Pass,
    PassesStopped,
    Seconds,
    UnitSeconds,
    Yardstick,
)


class _Timed(msgspec.Struct, frozen=True, kw_only=True, tag_field="event"):
    """Anything a worker says; ``t`` is the system-wide monotonic clock in seconds."""

    t: Clock = 0.0


class Hello(_Timed, frozen=True, kw_only=True, tag="hello"):
    """The worker is there and guarded by its watchdog; ``cores`` are the CPUs it may use."""

    pid: int
    watchdog_pid: int | None = None
    python: str | None = None
    forked: bool = False
    cores: list[int] | None = None


class Phase(_Timed, frozen=True, kw_only=True, tag="phase"):
    """A phase begins: import, device, group, load, prime, pass N, yardstick, profile, end."""

    name: str


class Stack(_Timed, frozen=True, kw_only=True, tag="stack"):
    """Versions as imported; ``import_s`` is None in a forked worker."""

    versions: dict[str, str] = {}
    import_s: Seconds | None = None
    simulated: bool = False


class DeviceTried(_Timed, frozen=True, kw_only=True, tag="device"):
    """A device was opened, or could not be, for ``reason``."""

    kind: str
    available: bool = True
    reason: str | None = None
    facts: dict[str, Any] = {}
    dtypes: list[str] = []
    recommended_max_bytes: Bytes | None = None
    simulated: bool = False


class SignatureRead(_Timed, frozen=True, kw_only=True, tag="signature"):
    """Defaults of a pipeline's ``__call__``; None where it has no number for one.

    ``image_to_image`` is the class that diffusers takes for image-to-image; None: it has none.
    """

    steps: int | None
    guidance_scale: float | None
    image_to_image: str | None = None


class GroupBegun(_Timed, frozen=True, kw_only=True, tag="group"):
    """The worker starts so many processes (itself included) that make each pass together.

    ``threads`` are what each of them computes with on the CPU.
    """

    processes: Count
    threads: Count | None = None


class MemberEnded(_Timed, frozen=True, kw_only=True, tag="member"):
    """Another process of the group ended, and the worker with it; ``rank`` counts from 0."""

    rank: Count
    exit_code: int | None = None


class Loaded(_Timed, frozen=True, kw_only=True, tag="loaded"):
    """The pipeline is on the device with the case's settings on.

    ``peak_bytes`` is the highest memory while it was loaded, as passes count it; None: unknown.
    """

    load_s: Seconds
    peak_bytes: Bytes | None = None


class PassEnded(Pass, frozen=True, kw_only=True, tag_field="event", tag="pass"):
    """A pass and what it made."""

    t: Clock = 0.0

    def as_pass(self) -> Pass:
        """The pass alone, as the record keeps it."""
        return Pass(**{name: getattr(self, name) for name in Pass.__struct_fields__})


class PassesMade(_Timed, frozen=True, kw_only=True, tag="passes"):
    """All measured passes are made: how many, and why there is no further one."""

    made: Count
    stopped: PassesStopped


class YardstickRead(_Timed, frozen=True, kw_only=True, tag="yardstick"):
    """How long the fixed piece of work took before and after the steady passes."""

    version: Count
    before_s: UnitSeconds | None = None
    after_s: UnitSeconds | None = None
    reason: str | None = None

    def as_yardstick(self) -> Yardstick:
        """The readings alone, as the record keeps them."""
        return Yardstick(**{name: getattr(self, name) for name in Yardstick.__struct_fields__})


class SettingsSeen(_Timed, frozen=True, kw_only=True, tag="settings"):
    """What the case's settings did, and how long torch's compiler worked."""

    effects: dict[str, Effect]
    compile_s: Seconds | None = None


class Counted(_Timed, frozen=True, kw_only=True, tag="counted"):
    """The operations of the profiled call and of a measured pass, or why they are not known."""

    flops: CountedFlops | None
    reason: str | None = None


class CeilingMeasured(_Timed, frozen=True, kw_only=True, tag="ceiling"):
    """The rate of large matrix products in a dtype, or why there is none."""

    dtype: str
    flops_per_s: FlopsPerSecond | None = None
    reason: str | None = None


class InstrumentRead(_Timed, frozen=True, kw_only=True, tag="instrument"):
    """What a worker read of its own instruments for the selftest; ``reason`` where it could not.

    Names of ``values`` carry the unit.
    """

    name: str
    values: dict[str, float | None] = {}
    reason: str | None = None


class CallBegun(OperatorCall, frozen=True, kw_only=True, tag_field="event", tag="call"):
    """An operator call is about to be repeated on the device."""

    t: Clock = 0.0


class CallCompared(
    OperatorDifference, frozen=True, kw_only=True, tag_field="event", tag="compared"
):
    """The call begun last came back, and how far it is from the CPU's."""

    t: Clock = 0.0


class Localised(_Timed, frozen=True, kw_only=True, tag="localised"):
    """All operators of a pass have been repeated; ``skipped`` counts by reason what was not."""

    skipped: dict[str, int] = {}
    notes: list[str] = []


class Failed(_Timed, frozen=True, kw_only=True, tag="error"):
    """An exception ended the job; ``kind`` is impossible, unavailable, oom or exception.

    ``causes`` are the exception and those it was raised from, the innermost last.
    """

    type: str
    message: str = ""
    kind: str = "exception"
    phase: str | None = None
    causes: list[str] = []


class Done(_Timed, frozen=True, kw_only=True, tag="done"):
    """The job is done. What the process weighs then: shared pages by share (PSS), own (USS)."""

    pss_bytes: Bytes | None = None
    uss_bytes: Bytes | None = None


Event = (
    Hello
    | Phase
    | Stack
    | DeviceTried
    | SignatureRead
    | GroupBegun
    | MemberEnded
    | Loaded
    | PassEnded
    | PassesMade
    | YardstickRead
    | SettingsSeen
    | Counted
    | CeilingMeasured
    | InstrumentRead
    | CallBegun
    | CallCompared
    | Localised
    | Failed
    | Done
)
DECODER: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
