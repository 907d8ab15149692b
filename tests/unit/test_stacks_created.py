"""Is a created environment still what it was? Decided without running one."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from stack_doubles import PLATFORM, STACK, lock_of, telling_python

from sdbench.errors import UsageError
from sdbench.stacks import find_interpreter, resolve_stack
from sdbench.stacks.catalogue import Lock
from sdbench.stacks.created import (
    INFO,
    StackRecord,
    examine,
    read_info,
    stack_folder,
    why_spoilt,
    write_info,
)
from sdbench.stacks.listing import Installed

LOCK = Lock(Path("lock.txt"), "aa", {"torch": "1.13.1"})
FOUND = Installed("3.10.1", {"torch": "1.13.1", "numpy": "1.26.4"})
RECORD = StackRecord(
    name="torch-1.13",
    platform=PLATFORM,
    lock_sha256="aa",
    python="3.10.1",
    packages={"torch": "1.13.1", "numpy": "1.26.4"},
    created_utc="2026-01-02T03:04:05+00:00",
)


@pytest.fixture(autouse=True)
def on_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


def created(**changes: Any) -> Path:
    """An environment as ``create`` leaves it, but for what is changed in its info file."""
    lock, folder = lock_of(), stack_folder(STACK.name)
    telling_python(folder / "bin" / "python", lock.versions)
    fields = {"lock_sha256": lock.sha256, "packages": dict(lock.versions), **changes}
    write_info(folder, msgspec.structs.replace(RECORD, **fields))
    return folder


# --- the decision --------------------------------------------------------------------------------


def test_environment_that_matches_its_info_is_not_spoilt() -> None:
    assert why_spoilt(RECORD, LOCK, PLATFORM, FOUND) is None


@pytest.mark.parametrize(
    ("record", "found", "words"),
    [
        (None, FOUND, "sdbench-stack.json is missing or unreadable"),
        ({"platform": "macos-arm64"}, FOUND, "made for macos-arm64, and this is linux-x86_64"),
        ({"lock_sha256": "bb"}, FOUND, "made from another lock"),
        ({}, None, "its Python does not run"),
        ({"python": "3.10.0"}, FOUND, "Python was 3.10.0 and is 3.10.1"),
        ({"packages": {"torch": "1.13.1", "numpy": "1.26.3"}}, FOUND, "numpy was 1.26.3 and is"),
        ({"packages": {"torch": "1.13.1"}}, FOUND, "numpy was absent and is 1.26.4"),
        ({}, Installed("3.10.1", {"torch": "1.13.1"}), "numpy was 1.26.4 and is absent"),
    ],
)
def test_environment_that_has_changed_says_how(
    record: dict[str, Any] | None, found: Installed | None, words: str
) -> None:
    info = None if record is None else msgspec.structs.replace(RECORD, **record)
    assert words in str(why_spoilt(info, LOCK, PLATFORM, found))


def test_many_changes_are_counted_not_listed() -> None:
    packages = {f"package-{number}": "1" for number in range(9)}
    reason = why_spoilt(RECORD, LOCK, PLATFORM, Installed("3.10.1", {**FOUND.packages, **packages}))
    assert str(reason).count(" and is ") == 3
    assert str(reason).endswith(" and 6 more")


# --- on the disk ---------------------------------------------------------------------------------


def test_environment_that_is_not_there() -> None:
    assert examine(STACK).state == "absent"
    with pytest.raises(
        UsageError, match=r"not created yet; make it with: sdbench stacks create torch-1\.13"
    ):
        resolve_stack("torch-1.13")
    assert find_interpreter("torch-1.13") is None


def test_created_environment_is_found_by_its_name() -> None:
    folder = created()
    assert examine(STACK).state == "ready"
    stack = resolve_stack("torch-1.13")
    assert stack.interpreter == str(folder / "bin" / "python")
    assert (stack.python, stack.packages["torch"]) == ("3.10.1", "1.13.1")
    assert stack.packages["huggingface_hub"] == "0.26.5"
    assert find_interpreter("torch-1.13") == folder / "bin" / "python"


def test_changed_environment_is_not_measured_in() -> None:
    folder = created()
    telling_python(folder / "bin" / "python", {**lock_of().versions, "numpy": "2.0.0"})
    with pytest.raises(UsageError, match=r"was changed: numpy was 1\.26\.4 and is 2\.0\.0.*create"):
        resolve_stack("torch-1.13")


def test_environment_whose_python_is_gone() -> None:
    folder = created()
    (folder / "bin" / "python").unlink()
    (folder / "bin" / "python").symlink_to(folder / "gone")
    assert examine(STACK).reason == "its Python does not run"


@pytest.mark.parametrize("text", ["", "{}", "[1]", "\x00", '{"name": 5}'])
def test_info_file_that_cannot_be_read(text: str) -> None:
    folder = created()
    (folder / INFO).write_text(text)
    assert read_info(folder) is None
    assert examine(STACK).state == "spoilt"


def test_folder_of_a_stacks_name_is_given_as_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    telling_python(tmp_path / "torch-1.13" / "bin" / "python", lock_of().versions)
    with pytest.raises(UsageError, match="not created yet"):
        resolve_stack("torch-1.13")
    assert resolve_stack("./torch-1.13").packages["torch"] == "1.13.1"
