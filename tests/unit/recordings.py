"""The real outputs in ``tests/data/recordings``, as texts and each folder as a machine."""

from pathlib import Path

from sdbench.machine.macos.commands import THERMAL_KEY
from sdbench.machine.recording import RecordedCommand, RecordedFacts, RecordedSystem

DATA = Path(__file__).parents[1] / "data"
RECORDINGS = DATA / "recordings"
MACHINES = DATA / "machines"


def texts(*beginnings: str) -> list[str]:
    """Recordings, by folder and name, of commands whose names begin so; no stderr."""
    found = [
        path.relative_to(RECORDINGS).as_posix()
        for path in RECORDINGS.rglob("*.txt")
        if path.name.startswith(beginnings) and ".stderr." not in path.name
    ]
    return sorted(found)


def text(name: str) -> str:
    return (RECORDINGS / name).read_text(encoding="utf-8")


def folder_system(folder: str, facts: RecordedFacts | None = None) -> RecordedSystem:
    """All outputs of one folder, as one machine's."""
    paths = sorted((RECORDINGS / folder).glob("*.txt"))
    commands = [_command(path) for path in paths if path.name != "source.txt"]
    return RecordedSystem(facts or RecordedFacts(system="Darwin"), commands)


def _command(path: Path) -> RecordedCommand:
    content = path.read_text(encoding="utf-8")
    stderr = ".stderr." in path.name
    return RecordedCommand(
        argv=_argv(path.name),
        stdout="" if stderr else content,
        stderr=content if stderr else "",
        exit=1 if stderr else 0,
    )


def _argv(name: str) -> list[str]:
    """The command a file is named after; sysctl's names are left out, as its lines tell them."""
    if name.startswith("sysctl_-n_machdep.cpu.brand_string"):
        return ["sysctl", "-n", "machdep.cpu.brand_string"]
    if name.startswith("sysctl"):
        return ["sysctl"]
    if name.startswith("notifyutil"):
        return ["notifyutil", "-g", THERMAL_KEY]
    stem = name.split(".")[0].split("_pipe_")[0]
    known = ("vm_stat", "memory_pressure", "system_profiler", "sw_vers")
    program = next((word for word in known if stem.startswith(word)), stem.split("_")[0])
    return [program, *stem[len(program) :].strip("_").split("_")] if stem != program else [program]
