"""What must not be lost is written in one place, so that a test can stop it at every call."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_architecture import FILES, PACKAGE, tree_of

_OF_OS = {"write", "ftruncate", "truncate", "replace", "rename", "link", "symlink", "unlink"}
_OF_OS |= {"remove", "mkdir", "makedirs", "rmdir", "fsync"}
_OF_PATHS = {"write_text", "write_bytes", "unlink", "touch", "mkdir", "rename", "rmdir"}
_OF_PATHS |= {"symlink_to", "hardlink_to"}
_OF_SHUTIL = {"rmtree", "copy", "copy2", "copyfile", "copytree", "move"}

# Who changes the disk but through ``files/access.py``, and with what.
OTHERS = {
    # the records and the notes are appended to; their folder is made and taken back
    "runs/folder.py": {"os.mkdir", "os.ftruncate", ".rmdir", ".unlink"},
    "runs/ownership.py": {"os.write"},
    # imports nothing of sdbench, so it has its own
    "worker/atomic_write.py": {"os.makedirs", "os.write", "os.fsync", "os.replace", "os.unlink"},
    # its folder is made, a request to stop removed, a run that a crash left empty taken back
    "fleet/fleet_folder.py": {"os.mkdir", ".unlink", "shutil.rmtree"},
    # appended to, as the records
    "fleet/ledger_file.py": {"os.ftruncate"},
    "fleet/markers.py": {".unlink"},
    # keys, on a host: over ssh
    "fleet/host_workers.py": {"open"},
    # a folder that lives as long as an order
    "fleet/task.py": {"open"},
    # a mark in the cache; without it a process counts as cold
    "runner/loop.py": {".mkdir", ".touch"},
    "comparison/history_index.py": {".mkdir"},
    # gigabytes that can be made again: in a folder of another name, renamed when it is proven
    "models/synthetic.py": {
        *("open", ".write_text", ".write_bytes", ".mkdir", ".rename", "shutil.rmtree", "os.fsync"),
    },
    # links to the parts of a model in one file
    "models/single_file.py": {"os.symlink"},
    "stacks/create.py": {".mkdir", ".rename", "shutil.rmtree"},
    "stacks/created.py": {".write_bytes"},
    # where all else has failed
    "cli/last_resort.py": {".mkdir", "open"},
    # no files: a pipe, the kernel
    "runner/ballast_process.py": {"open", "os.write"},
    "worker/channel.py": {"os.write"},
    "worker/devices/cpu.py": {"open"},
}


def changes(tree: ast.AST) -> Iterator[str]:
    """Calls that change the disk, as far as they can be told from their names."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        called = call.func
        if isinstance(called, ast.Attribute):
            of = called.value.id if isinstance(called.value, ast.Name) else ""
            if of == "os" and called.attr in _OF_OS:
                yield f"os.{called.attr}"
            elif of == "shutil" and called.attr in _OF_SHUTIL:
                yield f"shutil.{called.attr}"
            elif of != "os" and called.attr in _OF_PATHS:
                yield f".{called.attr}"
        if _is_open_to_write(call):
            yield "open"


def _is_open_to_write(call: ast.Call) -> bool:
    called = call.func
    name = getattr(called, "id", None) or getattr(called, "attr", None)
    if name not in ("open", "fdopen"):
        return False
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    texts = [part.value for part in given if isinstance(part, ast.Constant)]
    return any(
        isinstance(text, str) and set(text) <= set("rwxabt+") and set(text) & set("wxa+")
        for text in texts
    )


def test_everything_is_written_in_one_place() -> None:
    found = {path.relative_to(PACKAGE).as_posix(): {*changes(tree_of(path))} for path in FILES}
    del found["files/access.py"]
    assert {name: what for name, what in found.items() if what} == OTHERS


@pytest.mark.parametrize(
    "code",
    [
        "Path(x).write_text('')",
        "open(x, 'w')",
        "path.open(mode='r+b')",
        "os.fdopen(fd, 'ab')",
        "os.replace(a, b)",
        "shutil.rmtree(x)",
    ],
)
def test_what_changes_the_disk_is_recognised(code: str) -> None:
    assert [*changes(ast.parse(code))]


@pytest.mark.parametrize("code", ["open(x, 'rb')", "os.stat(x)", "text.replace('a', 'b')"])
def test_what_only_reads_is_not(code: str) -> None:
    assert not [*changes(ast.parse(code))]


def test_package_is_looked_at() -> None:
    assert Path(PACKAGE, "files/access.py") in FILES
