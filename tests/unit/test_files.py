"""Files of others: regular ones, of bearable size, never through a link."""

import os
import socket
from pathlib import Path

import pytest

from sdbench import files


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
