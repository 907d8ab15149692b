"""Files of others: regular ones, of bearable size, never through a link."""

import contextlib
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from every_write import Point, points_of
from faulty_disk import Fault, FaultyDisk, Killed, restore

from sdbench.files import access as files
from sdbench.worker.atomic_write import keep_file, write_whole


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with everything in it that is no regular file."""
    (tmp_path / "file").write_text("text\n")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "linked-folder").symlink_to(tmp_path / "folder")
    (tmp_path / "folder" / "inside").write_text("inside")
    return tmp_path


KINDS = {
    "fifo": "a FIFO",
    "folder": "a folder",
    "link": "a link, which is not followed",
    "dangling": "a link, which is not followed",
    "loop": "a link, which is not followed",
    "device": "a link, which is not followed",
}


@pytest.mark.parametrize("name", KINDS)
def test_only_regular_files_are_read_and_written_inside_a_folder(folder: Path, name: str) -> None:
    with pytest.raises(OSError) as caught:
        files.read_inside(folder, name, most_bytes=10)
    assert caught.value.strerror == f"not a regular file but {KINDS[name]}"
    with pytest.raises(OSError):
        files.open_to_append(folder, name)
    assert (folder / "file").read_text() == "text\n"
    assert not (folder / "nothing").exists()
    with pytest.raises(OSError):
        files.open_inside(folder, name)


def test_no_folder_on_the_way_may_be_a_link(folder: Path) -> None:
    assert files.read_inside(folder, "folder", "inside", most_bytes=10) == b"inside"
    with pytest.raises(OSError, match="a link, which is not followed"):
        files.read_inside(folder, "linked-folder", "inside", most_bytes=10)
    with pytest.raises(OSError, match="a link, which is not followed"):
        files.write_inside(folder, "linked-folder", "new", data=b"")
    assert not (folder / "folder" / "new").exists()


def test_the_folder_itself_may_be_reached_through_a_link(folder: Path) -> None:
    assert files.read_inside(folder / "linked-folder", "inside", most_bytes=10) == b"inside"


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/etc/passwd", "folder/inside"])
def test_a_name_is_a_name_and_no_path(folder: Path, name: str) -> None:
    with pytest.raises(OSError):
        files.read_inside(folder, name, most_bytes=10)


def test_a_link_is_replaced_where_a_whole_file_is_written(folder: Path) -> None:
    files.write_inside(folder, "link", data=b"new")
    assert not (folder / "link").is_symlink()
    assert (folder / "link").read_bytes() == b"new"
    assert (folder / "file").read_text() == "text\n"
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_what_the_user_names_may_be_a_link_but_no_device(folder: Path) -> None:
    assert files.read_file(folder / "link", 10) == b"text\n"
    for name, kind in {"device": "a device", "fifo": "a FIFO", "folder": "a folder"}.items():
        with pytest.raises(OSError, match=f"not a regular file but {kind}"):
            files.read_file(folder / name, 10)
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(folder)
        listening.bind("socket")
        with pytest.raises(OSError):
            files.read_file(Path("socket"), 10)


def test_the_limit_is_said(folder: Path) -> None:
    assert files.read_file(folder / "file", 5) == b"text\n"
    with pytest.raises(OSError, match="it has 5 bytes, and at most 4 are read"):
        files.read_file(folder / "file", 4)
    with (folder / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match="at most 1,000 are read"):
        files.read_inside(folder, "sparse", most_bytes=1000)


def test_lines_are_read_one_at_a_time_and_the_longest_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\n\n" + b"x" * 11 + b"\n" + b"y" * 10 + b"\nlast")
    with files.open_file(path) as file:
        assert [*files.lines_of(file, 10)] == [b"one", b"", None, b"y" * 10, b"last"]


def test_a_line_of_terabytes_ends_the_reading(tmp_path: Path) -> None:
    path = tmp_path / "hole"
    path.write_bytes(b"first\n")
    with path.open("r+b") as file:
        file.truncate(1 << 42)
    with files.open_file(path) as file:
        assert [*files.lines_of(file, 1 << 16)] == [b"first", None]
        assert file.tell() < 1 << 22


# --- writing -------------------------------------------------------------------------------------

OLD, NEW = b"the old content", b"what is there afterwards, and longer"
WRITERS: dict[str, Callable[[Path, bytes], None]] = {
    "write_inside": lambda path, data: files.write_inside(
        path.parent.parent, path.parent.name, path.name, data=data
    ),
    "write_file": files.write_file,
    "write_whole": lambda path, data: write_whole(str(path), data),
}


def stopped(root: Path, point: Point, act: Callable[[], object]) -> FaultyDisk:
    """The disk after something was stopped at a point."""
    disk = FaultyDisk(root, Fault(point.at, point.kind))
    with disk.below(), contextlib.suppress(Killed, OSError):
        act()
    return disk


def calls_of(root: Path, act: Callable[[], object]) -> list[str]:
    disk = FaultyDisk(root)
    with disk.below():
        act()
    assert not disk.differences()
    return [*disk.calls, "the end"]


@pytest.mark.parametrize("writer", WRITERS)
def test_file_is_the_old_or_the_new_one_wherever_writing_it_stops(
    tmp_path: Path, writer: str
) -> None:
    path = tmp_path / "disk" / "folder" / "file"
    path.parent.mkdir(parents=True)
    path.write_bytes(OLD)
    start, root = FaultyDisk(tmp_path / "disk").tree(), tmp_path / "disk"
    calls = calls_of(root, lambda: WRITERS[writer](path, NEW))
    seen = set()
    for point in points_of(calls):
        restore(root, start)
        disk = stopped(root, point, lambda: WRITERS[writer](path, NEW))
        seen.add(disk.tree(point.cut)["folder/file"])
        assert seen <= {OLD, NEW}, str(point)
        if point.at == len(calls) - 1 and writer != "write_whole":  # its folder is the parent's
            assert disk.tree("bare") == {"folder": None, "folder/file": NEW}
    assert seen == {OLD, NEW}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("kind", ["full", "EIO"])
def test_failed_write_leaves_nothing_behind(tmp_path: Path, writer: str, kind: str) -> None:
    path, root = tmp_path / "folder" / "file", tmp_path
    path.parent.mkdir()
    calls = calls_of(root, lambda: WRITERS[writer](path, NEW))
    for point in points_of(calls):
        if point.kind == kind:
            path.unlink(missing_ok=True)
            stopped(root, point, lambda: WRITERS[writer](path, NEW))
            assert {entry.name for entry in path.parent.iterdir()} <= {"file"}, str(point)


def test_what_a_killed_writer_leaves_is_removed_and_nothing_else(tmp_path: Path) -> None:
    path, others = tmp_path / "folder" / "file", ("folder/.sdbench-notes", "folder/.hidden")
    path.parent.mkdir()
    for name in others:
        (tmp_path / name).write_text("the user's")
    calls = calls_of(tmp_path, lambda: files.write_inside(tmp_path, "folder", "file", data=NEW))
    at = next(number for number, call in enumerate(calls) if call.startswith("rename"))
    stopped(tmp_path, Point(at, "killed"), lambda: WRITERS["write_inside"](path, NEW))
    left = {entry.name for entry in path.parent.iterdir()}
    assert len(left) == 4
    files.remove_scratch(tmp_path, "folder", older_than_s=60)
    assert {entry.name for entry in path.parent.iterdir()} == left
    files.remove_scratch(tmp_path, "folder")
    assert {f"folder/{entry.name}" for entry in path.parent.iterdir()} == {*others, "folder/file"}
    files.remove_scratch(tmp_path, "missing")


def test_folders_outlast_a_power_cut_even_those_a_killed_process_has_made(tmp_path: Path) -> None:
    wanted, root = tmp_path / "disk" / "a" / "b" / "c", tmp_path / "disk"
    root.mkdir()
    calls = calls_of(root, lambda: files.make_folder(wanted))
    for at in range(len(calls)):
        restore(root, {})
        disk = stopped(root, Point(at, "killed"), lambda: files.make_folder(wanted))
        disk.next_process()
        with disk.below():
            files.make_folder(wanted)
        assert "a/b/c" in disk.tree("bare"), calls[at]


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_folder_that_is_a_file_is_none(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        files.make_folder(tmp_path / name)


def test_named_file_keeps_its_link_and_its_mode(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(OLD)
    target.chmod(0o640)
    link.symlink_to("target")
    files.write_file(link, NEW)
    assert link.is_symlink() and target.read_bytes() == NEW
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_named_file_may_be_a_device_or_a_new_one(tmp_path: Path) -> None:
    files.write_file(Path(os.devnull), NEW)
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    files.write_file(tmp_path / "new", NEW)
    assert (tmp_path / "new").read_bytes() == NEW


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_named_file_in_a_folder_of_others_is_written_into(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    path.parent.mkdir()
    path.write_bytes(OLD)
    path.parent.chmod(0o555)
    try:
        files.write_file(path, NEW)
        assert path.read_bytes() == NEW
        with pytest.raises(PermissionError):
            files.write_file(path.with_name("another"), NEW)
    finally:
        path.parent.chmod(0o755)


def test_picture_has_its_name_only_once_it_is_on_the_disk(tmp_path: Path) -> None:
    """A file that has the name is not written again, so it must never be half of one."""
    root = tmp_path / "disk"
    root.mkdir()

    def act() -> None:
        keep_file(str(root / "images"), "name.png", lambda: NEW)

    for point in points_of(calls_of(root, act)):
        restore(root, {})
        assert stopped(root, point, act).tree(point.cut).get("images/name.png") in (None, NEW)


def test_what_can_be_made_again_is_whole_and_not_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    files.write_inside(tmp_path, "index", data=b"first", flushed=False)
    files.write_inside(tmp_path, "index", data=b"second", flushed=False)
    assert (tmp_path / "index").read_bytes() == b"second"
    assert [entry.name for entry in tmp_path.iterdir()] == ["index"]
    assert flushed == []
