"""Gathers the facts for doctor: starts child processes, queries the machine, or reads a recording.

The child that imports torch takes seconds. It is started first and read last, so that everything
else is already on the screen.
"""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import msgspec
from packaging.utils import canonicalize_name

from sdbench.doctor.facts import (
    DeviceFacts,
    DoctorFacts,
    InterpreterFacts,
    Limits,
    TorchFacts,
    TorchFailed,
)
from sdbench.doctor.offline_model import find_offline
from sdbench.errors import UsageError
from sdbench.files.user_folders import cache_folder
from sdbench.knowledge.compatibility import EXTRAS, STACK
from sdbench.machine import RecordedFacts, RecordedSystem, System, open_system, probe_machine
from sdbench.machine.facts import Unavailable, known
from sdbench.machine.linux.cgroup import limited_cgroups
from sdbench.models.resolve import place_of
from sdbench.plan.read_config import load_config
from sdbench.process.child_environment import child_environment
from sdbench.process.doctor_events import (
    Absent,
    DeviceTried,
    ImportFailure,
    ImportTried,
    Libraries,
    Packages,
    TorchImported,
    Trying,
)
from sdbench.process.query import Child
from sdbench.records import DeviceKind

RECORDED = "(recorded)"
# Listing packages takes a tenth of a second, importing torch from a cold disk a minute.
PACKAGES_LIMIT_S = 15.0
TORCH_LIMIT_S = 120.0
# Each of the packages that build on torch may take as long again.
IMPORTS_LIMIT_S = 480.0
DEVICES: tuple[DeviceKind, ...] = ("mps", "cuda", "cpu")
# The same variable as a run's workers'.
PRELOAD = "SDBENCH_WORKER_PRELOAD"
_UNRECORDED = Unavailable("it is not in the recording")
_UNLISTED = Unavailable("this Python is too old to list its packages")
_NO_TORCH = Unavailable("torch is not installed")
_PENDING = Unavailable("nothing has been imported yet")
_NOT_IMPORTED = Unavailable("a recording does not import anything")
_NO_STACK = Unavailable("torch could not be imported")


@dataclass(frozen=True)
class Request:
    """The request of the command line."""

    python: str | None = None
    """An interpreter or a virtual environment; None is the one sdbench runs in."""
    model: str | None = None
    """None stands for the default configuration's model."""


class Examination:
    """An interpreter and its machine; close it to end the child processes that are still running.

    Attributes:
        interpreter: the path of the interpreter.
        title: the interpreter's name for people.

    Raises:
        UsageError: there is no such interpreter or model, or the recording cannot be read.
    """

    def __init__(self, request: Request) -> None:
        self._system = open_system()
        self._model = load_config("default").model if request.model is None else request.model
        place_of(self._model)  # refuses what can be the name of no model
        self._packages: Child | None = None
        self._torch: Child | None = None
        self._broken: str | None = None
        if isinstance(self._system, RecordedSystem):
            if request.python is not None:
                raise UsageError("--python: a recording is of one interpreter; leave it out")
            self.interpreter = RECORDED
            self.title = _recorded_title(self._system.facts)
            return
        self.interpreter = self.title = _interpreter(request.python)
        try:
            self._torch = self._child(
                "torch", silence_s=TORCH_LIMIT_S, limit_s=TORCH_LIMIT_S + IMPORTS_LIMIT_S
            )
            self._packages = self._child(
                *("packages", "--names", *STACK, *EXTRAS),
                silence_s=PACKAGES_LIMIT_S,
                limit_s=PACKAGES_LIMIT_S,
            )
        except OSError as error:
            self._broken = f"it does not run as a Python: {error.strerror}"

    def _child(self, what: str, *arguments: str, silence_s: float, limit_s: float) -> Child:
        return Child(
            *(self.interpreter, what, arguments, child_environment()),
            silence_s=silence_s,
            limit_s=limit_s,
        )

    def __enter__(self) -> "Examination":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for child in (self._packages, self._torch):
            if child is not None:
                child.close()

    @property
    def recorded(self) -> bool:
        """Whether a recording of another machine is judged."""
        return self._system.simulated

    @property
    def preloads(self) -> str:
        """Modules that the environment loads before torch, such as a stand-in device;
        usually none."""
        return os.environ.get(PRELOAD, "")

    def before_torch(self) -> DoctorFacts:
        """All facts that are known without torch."""
        machine = probe_machine(self._system, cache_folder())
        recording = self._system.facts if isinstance(self._system, RecordedSystem) else None
        interpreter = self._interpreter_facts(recording)
        return DoctorFacts(
            machine=machine,
            interpreter=interpreter,
            model=find_offline(self._model, recorded=recording is not None),
            environment=dict(os.environ) if recording is None else _there(recording.env),
            limits=Limits() if recording is not None else _limits(self._system),
            nvidia_driver=known(self._system.read("/proc/driver/nvidia/version")),
            results_free_bytes=_UNRECORDED if recording is not None else _free_here(),
            torch=Unavailable("torch has not answered yet")
            if recording is None
            else _recorded_torch(recording, interpreter),
            imports=_PENDING if recording is None else _NOT_IMPORTED,
            openmp=_PENDING if recording is None else _NOT_IMPORTED,
        )

    def with_torch(self, facts: DoctorFacts) -> DoctorFacts:
        """The same, completed with the answer of torch."""
        if facts.recorded:
            return facts
        if self._torch is None or not known(facts.interpreter.python):
            return _with(facts, _Answers(torch=Unavailable("this Python does not run")))
        return _with(facts, _answers(self._torch))

    def _interpreter_facts(self, recording: RecordedFacts | None) -> InterpreterFacts:
        if recording is not None:
            return _recorded_interpreter(recording)
        if self._packages is None:
            return _broken_interpreter(self.interpreter, self._broken or "it does not run")
        for event in self._packages.events():
            if isinstance(event, Packages):
                return InterpreterFacts(
                    path=self.interpreter,
                    python=event.python,
                    architecture=event.architecture,
                    packages=_UNLISTED if event.packages is None else event.packages,
                    requires=event.requires,
                    platforms=event.platforms,
                    disposable=_lies_in_a_cache(Path(self.interpreter)),
                )
        ending = self._packages.ending() or "it ended without an answer"
        return _broken_interpreter(self.interpreter, f"it does not run as a Python: {ending}")


def _interpreter(name: str | None) -> str:
    if name is None:
        return sys.executable
    from sdbench.stacks import find_interpreter

    found = find_interpreter(name)
    if found is None:
        raise UsageError(
            f"--python {name}: expected the path of a Python or of a virtual environment, or a "
            "created environment (sdbench stacks list)"
        )
    return str(found)


def _lies_in_a_cache(interpreter: Path) -> bool:
    """Whether a folder above the environment of an interpreter is marked as a cache.

    The mark is a file by the Cache Directory Tagging Specification. uv also puts one into every
    virtual environment, which therefore does not count.
    """
    return any((folder / "CACHEDIR.TAG").is_file() for folder in [*interpreter.parents][2:])


def _there(recorded: Mapping[str, str | None]) -> dict[str, str]:
    """The recorded facts without those recorded as absent."""
    return {name: value for name, value in recorded.items() if value is not None}


def _recorded_title(recording: RecordedFacts) -> str:
    architecture = f" ({recording.python_machine})" if recording.python_machine else ""
    return f"a recorded Python {recording.python or 'of unknown version'}{architecture}"


def _broken_interpreter(path: str, reason: str) -> InterpreterFacts:
    why = Unavailable(reason)
    return InterpreterFacts(path=path, python=why, architecture=why, packages=why)


def _recorded_interpreter(recording: RecordedFacts) -> InterpreterFacts:
    packages: dict[str, str] | Unavailable = _UNRECORDED
    if recording.packages is not None:
        packages = {
            canonicalize_name(name): version for name, version in _there(recording.packages).items()
        }
        if recording.torch is not None and recording.torch.version is not None:
            packages.setdefault("torch", recording.torch.version)
    return InterpreterFacts(
        path=RECORDED,
        python=recording.python or _UNRECORDED,
        architecture=recording.python_machine or recording.machine or _UNRECORDED,
        packages=packages,
        platforms=_UNRECORDED,
    )


def _recorded_torch(
    recording: RecordedFacts, interpreter: InterpreterFacts
) -> TorchFacts | Unavailable:
    said = recording.torch
    if said is None:
        packages = interpreter.packages
        return _NO_TORCH if known(packages) and "torch" not in packages else _UNRECORDED
    mps = DeviceFacts(
        kind="mps",
        built=_UNRECORDED if said.mps_built is None else said.mps_built,
        available=_UNRECORDED if said.mps_available is None else said.mps_available,
        computes=Unavailable("a recording cannot compute anything"),
    )
    return TorchFacts(
        version=said.version or _UNRECORDED,
        devices={"mps": mps},
        threads=_UNRECORDED,
        import_s=_NOT_IMPORTED,
    )


@dataclass(frozen=True)
class _Answers:
    """The messages of the child that imports torch and the rest of the environment."""

    torch: TorchFacts | TorchFailed | Unavailable
    imports: list[ImportTried] | Unavailable = _NO_STACK
    openmp: list[str] | Unavailable = _NO_STACK


def _answers(child: Child) -> _Answers:
    """The child's messages; if it crashed, the cause is named after the step that was running."""
    imported: TorchImported | None = None
    devices: dict[str, DeviceFacts] = {}
    imports: list[ImportTried] = []
    openmp: list[str] | Unavailable = Unavailable("the imports did not finish")
    trying: str | None = None
    for event in child.events():
        if isinstance(event, Absent):
            return _Answers(torch=_NO_TORCH)
        if isinstance(event, TorchImported):
            imported = event
        elif isinstance(event, Trying):
            trying = event.key
        elif isinstance(event, DeviceTried):
            devices[event.kind] = _device_facts(event)
            trying = None
        elif isinstance(event, ImportTried):
            imports.append(event)
            trying = None
        elif isinstance(event, Libraries):
            openmp = event.openmp
    ending = child.ending()
    if imported is None:
        return _Answers(torch=TorchFailed(reason=ending or "it ended without an answer"))
    for kind in DEVICES:
        if ending is not None and trying == kind:
            devices[kind] = DeviceFacts(
                kind=kind, built=True, available=True, computes=False, reason=ending
            )
    torch = TorchFacts(
        version=imported.version,
        devices=devices,
        threads=imported.threads,
        import_s=imported.import_s,
        simulated=imported.simulated,
    )
    if ending is not None and not child.hung and (trying or "").startswith("import "):
        assert trying is not None
        failure = ImportFailure(type="died", message=ending)
        imports.append(ImportTried(name=trying.removeprefix("import "), failure=failure))
    elif (ending is not None or not imports) and not any(one.failure for one in imports):
        # Under load or from a cold disk an import takes minutes: too slow is not broken.
        words = f"{trying}: {ending}" if trying else ending or "the imports were not tried"
        return _Answers(torch=torch, imports=Unavailable(words), openmp=openmp)
    return _Answers(torch=torch, imports=imports, openmp=openmp)


def _device_facts(event: DeviceTried) -> DeviceFacts:
    computes: bool | Unavailable
    if event.computes is None:
        computes = Unavailable(event.reason or "it was not tried")
    else:
        computes = event.computes
    return DeviceFacts(
        kind=event.kind,
        built=event.built,
        available=event.available,
        computes=computes,
        reason=event.reason,
        name=event.name,
        dtypes=event.dtypes,
        memory_bytes=event.memory_bytes,
    )


def _with(facts: DoctorFacts, answers: _Answers) -> DoctorFacts:
    return msgspec.structs.replace(
        facts, torch=answers.torch, imports=answers.imports, openmp=answers.openmp
    )


def _free_here() -> int | Unavailable:
    try:
        return shutil.disk_usage(".").free
    except OSError as error:
        return Unavailable(f"the file system does not report its free space ({error.strerror})")


def _limits(system: System) -> Limits:
    """Limits from Linux control groups, and from the processors that this process may use."""
    if system.name() != "Linux":
        return Limits()
    memory = [group.limit_bytes for group in limited_cgroups(system.read, None)]
    cpus: list[float] = [len(os.sched_getaffinity(0))]
    quota = system.read("/sys/fs/cgroup/cpu.max")
    words = quota.split() if isinstance(quota, str) else []
    if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]):
        cpus.append(int(words[0]) / int(words[1]))
    return Limits(memory_bytes=min(memory, default=None), cpus=min(cpus))
