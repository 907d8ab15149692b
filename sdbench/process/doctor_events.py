"""What an examining child says, one line each (``sdbench/worker/examine.py`` writes them)."""

from typing import Literal

import msgspec

from sdbench.records import DeviceKind

OperatorVerdict = Literal[
    "right", "less-exact", "wrong", "not-a-number", "missing", "raised", "died", "hung"
]
ProbeVerdict = Literal["shown", "absent", "not-there", "not-run", "died", "hung"]


class Packages(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="packages"):
    """This Python, and what is installed in it."""

    python: str
    architecture: str
    packages: dict[str, str] | None
    """None where this Python cannot list them."""
    requires: dict[str, list[str]]
    platforms: dict[str, list[str]] = {}
    """Of each package the platforms that its wheel was made for (``macosx_11_0_arm64``)."""


class Absent(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="absent"):
    """torch is not installed."""


class TorchImported(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="torch"):
    """torch could be imported."""

    version: str
    import_s: float
    threads: int
    simulated: bool


class Trying(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="trying"):
    """What comes next; if nothing does, that is what it died of."""

    key: str


class DeviceTried(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="device"):
    """What became of a device; ``computes`` is None where it was not tried."""

    kind: DeviceKind
    built: bool
    available: bool
    computes: bool | None
    reason: str | None = None
    name: str | None = None
    dtypes: list[str] = []
    memory_bytes: int | None = None


class ImportFailure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a package could not be imported: the innermost cause."""

    type: str
    """Of the exception; ``Placeholder`` for a class that only raises, ``died`` for no exception."""
    message: str
    asked_by: str | None = None
    """The module whose line failed."""
    through: str | None = None
    """What the outermost exception said, where it wraps the cause."""


class ImportTried(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="import"):
    """What became of one package of the environment."""

    name: str
    failure: ImportFailure | None


class Libraries(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="libraries"):
    """What the imports have loaded into the process."""

    openmp: list[str]


class OperatorResult(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="operator"):
    """What became of one operator in one dtype."""

    dtype: str
    operator: str
    verdict: OperatorVerdict
    shape: str | None = None
    rel_l2: float | None = None
    """||device - reference|| / ||reference||, the reference in float64 on the CPU."""
    tolerance: float | None = None
    message: str | None = None


class DeviceRate(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="ceiling"):
    """What a device does at most: floating-point operations, or bytes read and written."""

    dtype: str
    flops_per_s: float | None = None
    bytes_per_s: float | None = None


class ProbeResult(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="probe"):
    """What became of one probe of a known fault.

    ``not-there``: this torch or this device lacks what the probe needs, so the fault cannot be
    there. ``not-run``: it failed otherwise, and nothing is known. A probe that ended the process or
    gave no answer is ``died`` or ``hung``.
    """

    name: str
    verdict: ProbeVerdict
    message: str | None = None


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="failed"):
    """An exception ended it."""

    type: str
    message: str


class Done(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="done"):
    """All is said."""


Event = (
    Packages
    | Absent
    | TorchImported
    | Trying
    | DeviceTried
    | ImportTried
    | Libraries
    | OperatorResult
    | DeviceRate
    | ProbeResult
    | Failed
    | Done
)
DECODER: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
