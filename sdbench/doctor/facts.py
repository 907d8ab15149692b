"""What doctor judges: the machine, an interpreter, the torch in it, the model asked for.

Plain data with a reason for every gap; :mod:`.examine` fills it in, :mod:`.checks` reads it.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

from sdbench.machine.facts import MachineFacts, Unavailable, known, or_none
from sdbench.models.folder_files import Fault
from sdbench.process.doctor_events import ImportTried
from sdbench.records import DeviceKind, ModelInfo

Status = Literal["pass", "warn", "fail", "unknown"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One verdict: what was found, what was expected, why it matters, what fixes it."""

    id: str
    status: Status
    found: str
    expected: str
    why: str
    remedy: str | None = None
    """A command wherever one fixes it; None where there is nothing to fix."""


class InterpreterFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The Python that is examined, and what is installed in it."""

    path: str
    python: str | Unavailable
    """Its version."""
    architecture: str | Unavailable
    """What it runs as: ``x86_64`` under Rosetta."""
    packages: dict[str, str] | Unavailable
    """Version by normalised name (``huggingface-hub``) of the packages of the torch stack."""
    requires: dict[str, list[str]] = {}
    """What these packages declare that they need, as they declare it (PEP 508)."""
    platforms: dict[str, list[str]] | Unavailable = Unavailable("it is not known")
    """What their wheels were made for, such as ``macosx_11_0_arm64``."""
    disposable: bool = False
    """It lies in a cache (``uvx``, ``pipx run``): what is installed into it is not kept."""


class DeviceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What torch says of one kind of device, and what became of a small computation there."""

    kind: DeviceKind
    built: bool | Unavailable
    available: bool | Unavailable
    computes: bool | Unavailable
    """Whether matrix product and sum agreed with the CPU's; False also where they failed."""
    reason: str | None = None
    """Why it cannot be used, or how it failed."""
    name: str | None = None
    dtypes: list[str] = []
    memory_bytes: int | None = None
    """What it recommends at most."""


class TorchFacts(msgspec.Struct, frozen=True, kw_only=True):
    """torch, asked in a process of its own."""

    version: str | Unavailable
    devices: dict[str, DeviceFacts]
    threads: int | Unavailable
    """Threads of an operator on the CPU."""
    import_s: float | Unavailable
    simulated: bool = False
    """A preload has replaced a device."""

    def device(self, kind: DeviceKind) -> DeviceFacts | None:
        """What is known of one kind, None if it was not asked."""
        return self.devices.get(kind)


class TorchFailed(msgspec.Struct, frozen=True, kw_only=True):
    """torch is installed, and asking it ended badly (an exception, a signal, no answer)."""

    reason: str


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The model a run would take, as far as it is known without the network."""

    outline: ModelInfo
    offline: bool | Unavailable
    """Whether it can be had without the network."""
    note: str
    """Where it is, or why it is not there."""
    to_make_bytes: int = 0
    """Disk it will still take."""
    faults: list[Fault] = []
    """What is wrong with the files that are there."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a container or the system allows of the machine; None is no limit."""

    memory_bytes: int | None = None
    cpus: float | None = None


class DoctorFacts(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    machine: MachineFacts
    interpreter: InterpreterFacts
    model: ModelFacts
    environment: dict[str, str]
    limits: Limits = Limits()
    nvidia_driver: bool = False
    """Whether NVIDIA's driver is loaded, whether or not the system reports the GPU."""
    results_free_bytes: int | Unavailable
    """Of the file system that takes the results."""
    torch: TorchFacts | TorchFailed | Unavailable
    """Unavailable before torch has been asked, and where it is not installed."""
    imports: list[ImportTried] | Unavailable = Unavailable("nothing has been imported yet")
    """The packages that a run imports, as far as they were tried."""
    openmp: list[str] | Unavailable = Unavailable("nothing has been imported yet")
    """Files of the OpenMP runtimes that the imports load."""

    @property
    def recorded(self) -> bool:
        """Whether another machine's recording is judged."""
        return self.machine.simulated

    @property
    def simulated(self) -> bool:
        """Whether a recording or a stand-in is judged."""
        return self.recorded or (isinstance(self.torch, TorchFacts) and self.torch.simulated)

    @property
    def is_mac(self) -> bool:
        """Whether the machine is a Mac, be it an Intel one."""
        return self.machine.identity.system == "Darwin"

    @property
    def apple_silicon(self) -> bool | Unavailable:
        """Whether the hardware is Apple's own, judged by what an x86_64 process is shown too."""
        identity = self.machine.identity
        if known(identity.architecture) and identity.architecture == "arm64":
            return True
        if known(identity.chip):
            # Old translated processes are shown "VirtualApple @ 2.50GHz".
            return "Apple" in identity.chip
        if known(identity.architecture):
            return False
        return Unavailable("the system does not report which processor it has")

    @property
    def translated_python(self) -> bool:
        """Whether the interpreter is an x86_64 one on Apple silicon: it runs under Rosetta."""
        return (
            self.is_mac and self.apple_silicon is True and self.interpreter.architecture == "x86_64"
        )

    @property
    def nvidia(self) -> bool:
        """Whether an NVIDIA GPU is there that torch could use."""
        gpus = self.machine.identity.gpus
        reported = known(gpus) and any("nvidia" in name.lower() for name in gpus)
        return not self.is_mac and (reported or self.nvidia_driver)

    def installed(self, package: str) -> str | None:
        """A package's version; None if it is not installed, or not known to be."""
        packages = self.interpreter.packages
        if known(packages):
            return packages.get(package)
        if package == "torch" and isinstance(self.torch, TorchFacts):
            return or_none(self.torch.version)
        return None

    def expected_device(self) -> DeviceKind:
        """The device a run would take if everything were in order."""
        if self.is_mac and self.apple_silicon is not False:
            return "mps"
        if isinstance(self.torch, TorchFacts):
            for device in self.torch.devices.values():
                if device.computes is True:
                    return device.kind
        return "cuda" if self.nvidia else "cpu"


def worst(checks: Iterable[Check]) -> Literal["pass", "warn", "fail"]:
    """The overall status; a check without an answer makes nothing worse."""
    seen = {check.status for check in checks}
    if "fail" in seen:
        return "fail"
    return "warn" if "warn" in seen else "pass"
