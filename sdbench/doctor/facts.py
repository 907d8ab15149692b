"""The facts that doctor judges: the machine, an interpreter, its torch, and the requested model.

Plain data with a reason for every missing value; :mod:`.examine` fills it in, :mod:`.checks` reads
it.
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
    """One verdict: what was found, what was expected, why it matters, and the remedy."""

    id: str
    status: Status
    found: str
    expected: str
    why: str
    remedy: str | None = None
    """A command if one fixes the problem; None if there is nothing to fix."""


class InterpreterFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The examined Python and its installed packages."""

    path: str
    python: str | Unavailable
    """Its version."""
    architecture: str | Unavailable
    """The architecture it runs as: ``x86_64`` under Rosetta."""
    packages: dict[str, str] | Unavailable
    """Version by normalised name (``huggingface-hub``) of the packages of the torch stack."""
    requires: dict[str, list[str]] = {}
    """The requirements that these packages declare (PEP 508)."""
    platforms: dict[str, list[str]] | Unavailable = Unavailable("it is not known")
    """The platform tags of their wheels, such as ``macosx_11_0_arm64``."""
    disposable: bool = False
    """It lies in a cache (``uvx``, ``pipx run``): what is installed into it is not kept."""


class DeviceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What torch reports about one kind of device, and the result of a small computation there."""

    kind: DeviceKind
    built: bool | Unavailable
    available: bool | Unavailable
    computes: bool | Unavailable
    """Whether matrix product and sum agreed with the CPU's; False also if they failed."""
    reason: str | None = None
    """Why it cannot be used, or how it failed."""
    name: str | None = None
    dtypes: list[str] = []
    memory_bytes: int | None = None
    """The memory limit that it recommends."""

    @property
    def is_paravirtual(self) -> bool:
        """Whether torch says that the GPU is a virtual machine's (pytorch PR#111576)."""
        return "paravirtual" in (self.name or "").lower()


class TorchFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What torch reports, queried in a separate process."""

    version: str | Unavailable
    devices: dict[str, DeviceFacts]
    threads: int | Unavailable
    """Threads of an operator on the CPU."""
    import_s: float | Unavailable
    simulated: bool = False
    """Whether a preload has replaced a device."""

    def device(self, kind: DeviceKind) -> DeviceFacts | None:
        """The facts about one kind of device; None if it was not queried."""
        return self.devices.get(kind)


class TorchFailed(msgspec.Struct, frozen=True, kw_only=True):
    """Whether torch is installed and querying it failed (an exception, a signal, no answer)."""

    reason: str


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The model that a run would use, as far as it is known without the network."""

    outline: ModelInfo
    offline: bool | Unavailable
    """Whether it is available without the network."""
    note: str
    """Where it is, or why it is not available."""
    to_make_bytes: int = 0
    """Disk space that it still needs."""
    faults: list[Fault] = []
    """What is wrong with the existing files."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits that a container or the system sets; None stands for no limit."""

    memory_bytes: int | None = None
    cpus: float | None = None


class DoctorFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The total."""

    machine: MachineFacts
    interpreter: InterpreterFacts
    model: ModelFacts
    environment: dict[str, str]
    limits: Limits = Limits()
    nvidia_driver: bool = False
    """Whether NVIDIA's driver is loaded, whether or not the system reports the GPU."""
    results_free_bytes: int | Unavailable
    """Free bytes of the file system that holds the results."""
    torch: TorchFacts | TorchFailed | Unavailable
    """Unavailable before torch has been queried, and if it is not installed."""
    imports: list[ImportTried] | Unavailable = Unavailable("nothing has been imported yet")
    """The packages that a run imports, as far as their import was tried."""
    openmp: list[str] | Unavailable = Unavailable("nothing has been imported yet")
    """Files of the OpenMP runtimes that the imports load."""

    @property
    def recorded(self) -> bool:
        """Whether a recording of another machine is judged."""
        return self.machine.simulated

    @property
    def simulated(self) -> bool:
        """Whether a recording or a stand-in device is judged."""
        return self.recorded or (isinstance(self.torch, TorchFacts) and self.torch.simulated)

    @property
    def is_mac(self) -> bool:
        """Whether the machine is a Mac, including Intel Macs."""
        return self.machine.identity.system == "Darwin"

    @property
    def apple_silicon(self) -> bool | Unavailable:
        """Whether the processor is Apple's, from facts that are also visible to an
        x86_64 process."""
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
        """The device that a run would use if everything were in order."""
        if self.is_mac and self.apple_silicon is not False:
            return "mps"
        if isinstance(self.torch, TorchFacts):
            for device in self.torch.devices.values():
                if device.computes is True:
                    return device.kind
        return "cuda" if self.nvidia else "cpu"


def worst(checks: Iterable[Check]) -> Literal["pass", "warn", "fail"]:
    """The overall status; a check without an answer does not lower it."""
    seen = {check.status for check in checks}
    if "fail" in seen:
        return "fail"
    return "warn" if "warn" in seen else "pass"
