"""Writes a script about one operator call and runs it to check that it shows the fault."""

import subprocess
from pathlib import Path

from sdbench.errors import StoreError
from sdbench.files.access import make_folder, write_file
from sdbench.localise.localisation import Demonstration, Shown
from sdbench.localise.ranking import JudgedCall
from sdbench.localise.script import (
    LARGEST_OPERANDS_BYTES,
    OPERANDS_FILE,
    SCRIPT_FILE,
    Origin,
    operands_bytes,
    operator_script,
)
from sdbench.localise.search import Search
from sdbench.process.environment import preload_modules
from sdbench.process.executor import Executor
from sdbench.process.operator_calls import OperatorCall
from sdbench.process.torch_environment import RUN_PROGRAM

_SCRIPT_LIMIT_S = 300.0


def demonstrate(
    entry: JudgedCall, search: Search, origin: Origin, folder: Path, executor: Executor
) -> Demonstration:
    """Write a script that shows the fault and run it, with seeded operands if they show it.

    Otherwise the operands themselves are saved next to it, if they are small enough to share.

    Raises:
        StoreError: the folder cannot be written.
    """
    seeded = _written(entry, search, origin, folder, carried=False)
    if seeded.shown == "shown" or operands_bytes(entry.call) > LARGEST_OPERANDS_BYTES:
        return seeded
    if not _capture(search, entry.call, folder.absolute() / OPERANDS_FILE, executor):
        return seeded
    return _written(entry, search, origin, folder, carried=True)


def _written(
    entry: JudgedCall, search: Search, origin: Origin, folder: Path, *, carried: bool
) -> Demonstration:
    path = folder / SCRIPT_FILE
    try:
        make_folder(folder)
        write_file(path, operator_script(entry, origin, carried=carried).encode("utf-8"))
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}") from error
    return Demonstration(path, carried, _try_script(path, entry, search))


def _capture(search: Search, call: OperatorCall, path: Path, executor: Executor) -> bool:
    """Write the operands of one call to a safetensors file; return whether that succeeded."""
    task = search.task(capture={"call": call.index, "path": str(path)})
    report = executor.run(task, lambda event, sample: None)
    return report.exit_code == 0 and path.is_file()


def _try_script(path: Path, entry: JudgedCall, search: Search) -> Shown:
    """Run a script in the measured interpreter; return whether it shows what the search found.

    The script does not know about a stand-in device, so the device is preloaded from outside.
    """
    preloads = ",".join(preload_modules(search.environment))
    try:
        done = subprocess.run(
            [
                *(search.interpreter, RUN_PROGRAM, preloads),
                *("script", str(path.absolute()), search.device.kind),
            ],
            env=search.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SCRIPT_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "shown" if entry.status == "hung" else "not-run"
    except OSError:
        return "not-run"
    if done.returncode < 0:
        return "shown" if entry.status == "crashed" else "not-run"
    last_words = done.stdout.rstrip().rpartition("\n")[2]
    if last_words.startswith("FAIL") and done.returncode == 1:
        return "shown"
    return "not-shown" if last_words.startswith("PASS") else "not-run"
