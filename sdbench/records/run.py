"""A run: what was measured, where, with which versions; and the records about all of it."""

from collections.abc import Iterable
from typing import Any, Literal, TypeVar

import msgspec

from sdbench.records.case import Arm, Case, DeviceKind, Dtype
from sdbench.records.compared import Compared, Preflight
from sdbench.records.instrument_lines import Selftest
from sdbench.records.numbers import Bytes, Count, FlopsPerSecond, PassSeconds
from sdbench.records.planned import Plan
from sdbench.records.recorded import SCHEMA_VERSION, Recorded
from sdbench.records.replicate import Replicate, Started, Withdrawn


class MatmulRate(Recorded, frozen=True, kw_only=True, gc=False, tag="ceiling"):
    """The rate of large square matrix products on the device, measured before a variant's first
    case.

    None with the reason where it was not measured.
    """

    arm: str
    dtype: Dtype
    device: DeviceKind
    simulated: bool
    flops_per_s: FlopsPerSecond | None = None
    reason: str | None = None


class InterimCase(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One comparison at a look. ``open``: more processes could decide it."""

    case_id: str
    arm: str | None
    base: str
    new: str
    ratio: float | None
    verdict: Literal["faster", "slower", "equivalent", "inconclusive"]
    reason: str | None
    open: bool


class InterimAnalysis(Recorded, frozen=True, kw_only=True, gc=False, tag="looked"):
    """A look at a run that goes on until it is decided, after so many blocks (PROTOCOL 12).

    ``next_look`` is after how many blocks there is another; None: it was the last.
    """

    blocks: Count
    by: str
    threshold: float
    cases: list[InterimCase]
    next_look: Count | None


Record = Started | Withdrawn | Replicate | Compared | Preflight | MatmulRate | InterimAnalysis


class StackInfo(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An interpreter and the versions installed there; what a resume must find unchanged."""

    interpreter: str
    python: str
    packages: dict[str, str]


class Session(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One time the run was made or resumed: three clocks, which show sleep and restarts."""

    started_utc: str
    monotonic_s: float
    boot_id: str | None


class ComponentInfo(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A network of a model as it is stored; ``parameters`` and ``dtype`` are None for pickle files.

    ``dtype`` is the one of most of the bytes, as torch calls it.
    """

    class_name: str = msgspec.field(name="class")
    bytes: Bytes
    parameters: Count | None
    dtype: str | None


class LoraInfo(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A LoRA that is added to a model; ``name`` is the file's, ``sha256`` covers its content."""

    name: str
    path: str
    sha256: str
    weight: float


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The model of a run; ``trained``: its images mean something.

    ``sha256`` covers all files that decide its images: the folder, a single file, the LoRAs with
    their weights. ``components`` are the networks that are loaded, by their names in
    ``model_index.json``. ``revision`` is the commit of a model of the Hub. Of a model in one file,
    ``file`` is that file, ``in_file`` the networks in it, and ``path`` the assembled rest.
    """

    name: str
    path: str
    sha256: str | None
    pipeline_class: str
    bytes_on_disk: Bytes
    trained: bool
    components: dict[str, ComponentInfo] = {}
    revision: str | None = None
    loras: list[LoraInfo] = []
    file: str | None = None
    in_file: list[str] = []

    @property
    def title(self) -> str:
        """The name with the LoRAs and their weights."""
        return " + ".join([self.name, *(f"{lora.name} ({lora.weight:g})" for lora in self.loras)])


class ImageToImage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the images of a run begin with.

    ``pipeline_class`` is the class that is loaded with the model's networks; None: diffusers' own
    choice for the model's class. ``input_sha256`` is of the pixels of the built-in input image, by
    the resolution of the cases.
    """

    pipeline_class: str | None
    input_sha256: dict[str, str]


class PinnedDevice(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One of the devices of a host that measure a run at the same time (``run --devices``).

    ``name`` is ``cuda:1``, or ``cpu:1`` for a group of cores. ``machine_id`` is what the
    statistics take for a machine. ``cores`` are the logical CPUs of its workers as the kernel lists
    them (``0-7,16-23``), ``threads`` the number of cores that they are. ``bus_id`` is the GPU's
    address on the PCI bus.
    """

    name: str
    title: str
    machine_id: str
    cores: str
    threads: Count
    bus_id: str | None = None


BesideVerdict = Literal["undisturbed", "disturbed", "not-shown"]


class BesideOthers(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Steady seconds of a pass of one case on one device, while the other devices were idle
    (``alone_s``) and while all of them worked on the same case (``beside_s``), in turn.

    ``ratio`` is the second over the first, paired, with its 95% interval. ``undisturbed``: the
    interval is within the threshold (TOST); ``disturbed``: it is beyond it; else ``not-shown``,
    with the ``reason``.
    """

    verdict: BesideVerdict
    threshold: float
    case_id: str | None = None
    arm: str | None = None
    device: str | None = None
    others: Count = 0
    alone_s: list[PassSeconds] = []
    beside_s: list[PassSeconds] = []
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    reason: str | None = None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """``run.json``: all that holds for the run as a whole."""

    schema: int = SCHEMA_VERSION
    run_id: str
    label: str | None
    created_utc: str
    sdbench: str
    device: DeviceKind
    simulated: bool
    config: dict[str, Any]
    plan: Plan
    model: ModelInfo
    stacks: dict[str, StackInfo]
    machine: dict[str, Any]
    machine_facts: dict[str, Any] = {}
    machine_id: str
    environment: dict[str, str]
    preload: list[str]
    sittings: list[Session]
    prompt_remarks: list[str] = []
    """What was said of the prompts before the run, their text aside: what of them is not read."""
    resolved: dict[str, str] = {}
    """Settings that the configuration left to the model, and what each was taken from."""
    image_to_image: ImageToImage | None = None
    """None: the images are made of text alone."""
    selftest: Selftest | None = None
    """What the last selftest of this machine and device found; None: there was none."""
    devices: list[PinnedDevice] = []
    """The devices of the host that measure at the same time; empty: the run has no such choice."""
    beside: BesideOthers | None = None
    """Whether several devices at once disturb one another; None: not tested, or one device."""

    def variables(self, arm: Arm) -> dict[str, str]:
        """The environment variables that a variant computed with; its own go first."""
        return {**self.environment, **arm.env}

    def setting(self, case: Case, axis: str) -> Any:
        """A case's value on an axis; the run's own where the case names none."""
        value = getattr(case, axis)
        return self.config.get(axis) if value is None else value

    @property
    def mode_words(self) -> str:
        """``text-to-image``, or ``image-to-image, strength 0.6``."""
        if self.image_to_image is None:
            return "text-to-image"
        return f"image-to-image, strength {self.config.get('strength')}"

    def begins_with(self, resolution: str) -> dict[str, Any]:
        """What decides the images of a resolution in addition to the prompts; empty for
        text-to-image."""
        if self.image_to_image is None:
            return {}
        return {
            "strength": self.config.get("strength"),
            "input_sha256": self.image_to_image.input_sha256.get(resolution),
        }

    @property
    def on_virtual_mac(self) -> bool:
        """Whether it was made on a virtual Mac, whose times are not compared with a real one's."""
        return self.machine.get("system") == "Darwin" and self.identity("virtual") is True

    def identity(self, name: str) -> Any:
        """What the machine is, of ``machine_facts``; None where it is not known or not recorded."""
        fact = (self.machine_facts.get("identity") or {}).get(name)
        return None if isinstance(fact, dict) else fact


RowKey = tuple[str, str]
"""Case id and variant."""
OfRow = TypeVar("OfRow", Replicate, Compared)


def by_row(records: Iterable[OfRow]) -> dict[RowKey, list[OfRow]]:
    """Records of each case in each variant, in their order."""
    found: dict[RowKey, list[OfRow]] = {}
    for record in records:
        found.setdefault((record.case_id, record.arm), []).append(record)
    return found
