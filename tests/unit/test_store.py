"""Run folders: durable, whole after any accident, readable by older and newer versions."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from every_write import points_of
from factories import largest_file, make_config, make_replicate, make_run, make_slot, make_started
from faulty_disk import Fault, FaultyDisk

from sdbench.errors import StoreError, UsageError
from sdbench.records import SCHEMA_VERSION, Replicate, Run
from sdbench.runs import RunFolder, find_run, list_runs, load_run
from sdbench.runs.folder import _whole_lines
from sdbench.runs.reading import RECORDS_FILE, RUN_FILE

needs_plain_user = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[RunFolder]:
    opened = RunFolder.create(tmp_path, make_run())
    yield opened
    opened.close()


def test_run_is_read_as_it_was_written(folder: RunFolder) -> None:
    assert load_run(folder.path).run == make_run()


def test_records_are_read_as_they_were_written(folder: RunFolder) -> None:
    started, ended = make_started(), make_replicate()
    folder.append(started)
    folder.append(ended)
    loaded = load_run(folder.path)
    assert loaded.started == [started]
    assert loaded.attempts == [ended]
    assert loaded.warnings == []


def test_record_is_on_disk_before_append_returns(folder: RunFolder) -> None:
    folder.append(make_started())
    lines = (folder.path / RECORDS_FILE).read_bytes().splitlines(keepends=True)
    assert len(lines) == 1
    assert lines[0].endswith(b"\n")
    assert json.loads(lines[0])["type"] == "started"


def test_every_file_carries_the_schema_version(folder: RunFolder) -> None:
    folder.append(make_started())
    folder.append(make_replicate())
    documents = [json.loads((folder.path / RUN_FILE).read_text())]
    documents += map(json.loads, (folder.path / RECORDS_FILE).read_text().splitlines())
    assert [document["schema"] for document in documents] == [SCHEMA_VERSION] * 3


def test_last_attempt_counts_and_all_are_kept(folder: RunFolder) -> None:
    slot = make_slot()
    other = make_slot(block=1, index=1)
    folder.append(make_replicate(slot, outcome="crashed"))
    folder.append(make_replicate(other))
    folder.append(make_replicate(slot, attempt=2))
    loaded = load_run(folder.path)
    assert [entry.attempt for entry in loaded.attempts] == [1, 1, 2]
    assert [(entry.replicate_id, entry.attempt) for entry in loaded.replicates] == [
        (slot.replicate_id, 2),
        (other.replicate_id, 1),
    ]


def test_process_that_was_started_and_never_recorded_is_in_flight(folder: RunFolder) -> None:
    done, lost = make_slot(), make_slot(block=1, index=1)
    folder.append(make_started(done))
    folder.append(make_replicate(done))
    folder.append(make_started(lost))
    assert [entry.replicate_id for entry in load_run(folder.path).in_flight] == [lost.replicate_id]


@pytest.mark.parametrize(
    "torn", [b'{"type":"replicate","outc', b"\x00\x00\x00", b"{}x\n", b"\xff\n"]
)
def test_torn_tail_is_put_aside_on_resume(folder: RunFolder, torn: bytes) -> None:
    folder.append(make_started())
    folder.close()
    records = folder.path / RECORDS_FILE
    whole = records.read_bytes()
    records.write_bytes(whole + torn)

    reopened = RunFolder.open(folder.path)
    reopened.append(make_replicate())
    reopened.close()

    assert records.read_bytes().startswith(whole)
    assert (folder.path / f"{RECORDS_FILE}.torn-0").read_bytes() == torn
    loaded = load_run(folder.path)
    assert (len(loaded.started), len(loaded.attempts), loaded.warnings) == (1, 1, [])


def test_tail_as_long_as_a_line_may_be_is_looked_through_and_no_longer_one(tmp_path: Path) -> None:
    with (tmp_path / "records").open("w+b") as file:
        file.write(b"{}\n")
        file.truncate(3 + (63 << 20))  # zeros that take no room
        assert _whole_lines(file.fileno(), 3 + (63 << 20)) == 3
        file.truncate(3 + (65 << 20))
        with pytest.raises(OSError, match="longer than 67,108,864 bytes"):
            _whole_lines(file.fileno(), 3 + (65 << 20))


def test_second_torn_tail_does_not_replace_the_first(folder: RunFolder) -> None:
    folder.close()
    for torn in (b"first", b"second"):
        with open(folder.path / RECORDS_FILE, "ab") as file:
            file.write(torn)
        RunFolder.open(folder.path).close()
    kept = sorted(folder.path.glob(f"{RECORDS_FILE}.torn-*"))
    assert [path.name for path in kept] == [f"{RECORDS_FILE}.torn-{n}" for n in (0, 1)]
    assert [path.read_bytes() for path in kept] == [b"first", b"second"]


def test_run_that_cannot_be_started_leaves_no_folder_and_holds_no_file_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: RunFolder, run: Run) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(RunFolder, "write_run", full)
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(StoreError, match=r"cannot start a run in .*: No space left") as caught:
        RunFolder.create(tmp_path, make_run())
    # The error is still there, and all that its frames refer to.
    assert caught.value.__traceback__ is not None
    assert len(os.listdir("/dev/fd")) <= before
    assert list(tmp_path.iterdir()) == []


def test_whole_file_is_left_alone_on_resume(folder: RunFolder) -> None:
    folder.append(make_started())
    folder.close()
    before = (folder.path / RECORDS_FILE).read_bytes()
    RunFolder.open(folder.path).close()
    assert (folder.path / RECORDS_FILE).read_bytes() == before
    assert not list(folder.path.glob("*.torn-*"))


def test_torn_line_in_the_middle_is_said_and_costs_only_itself(folder: RunFolder) -> None:
    folder.append(make_started())
    with open(folder.path / RECORDS_FILE, "ab") as file:
        file.write(b'{"type":"replicate","outc\n')
    folder.append(make_replicate())
    loaded = load_run(folder.path)
    assert len(loaded.attempts) == 1
    assert len(loaded.warnings) == 1
    assert loaded.warnings[0].startswith("records.jsonl line 2 is unreadable")


def test_full_disk_takes_the_half_written_record_back(folder: RunFolder) -> None:
    folder.append(make_started())
    records = folder.path / RECORDS_FILE
    before = records.read_bytes()
    with largest_file(len(before) + 40), pytest.raises(StoreError) as caught:
        folder.append(make_replicate())
    assert "cannot write" in str(caught.value)
    assert "earlier measurements are kept" in str(caught.value)
    assert caught.value.exit_code == 3
    assert records.read_bytes() == before

    folder.append(make_replicate())  # there is room again
    assert len(load_run(folder.path).attempts) == 1


def test_run_file_is_replaced_as_a_whole_or_not_at_all(folder: RunFolder) -> None:
    before = (folder.path / RUN_FILE).read_bytes()
    with largest_file(100), pytest.raises(StoreError):
        folder.write_run(make_run(label="x" * 1000))
    assert (folder.path / RUN_FILE).read_bytes() == before
    assert [
        path.name for path in folder.path.iterdir() if path.name.startswith(f".{RUN_FILE}")
    ] == []


def test_others_may_read_a_run_and_nobody_but_its_owner_write_it(folder: RunFolder) -> None:
    assert (folder.path / RUN_FILE).stat().st_mode & 0o777 == 0o644


def test_telemetry_that_cannot_be_written_is_told_and_not_raised(folder: RunFolder) -> None:
    assert folder.write_telemetry("one", [b"{}\n"]) is None
    assert (folder.path / "telemetry" / "one.jsonl").read_bytes() == b"{}\n"
    with largest_file(1):
        reason = folder.write_telemetry("two", [b"{}\n"])
    assert reason
    assert not (folder.path / "telemetry" / "two.jsonl").exists()


def test_two_runs_cannot_share_a_folder(folder: RunFolder) -> None:
    with pytest.raises(UsageError, match="another sdbench is working on this run"):
        RunFolder.open(folder.path)
    folder.close()
    RunFolder.open(folder.path).close()


def test_lock_of_a_killed_process_does_not_stay(tmp_path: Path) -> None:
    run = make_run()
    RunFolder.create(tmp_path, run).close()
    program = (
        "import os, sys; from pathlib import Path; from sdbench.runs import RunFolder;"
        "folder = RunFolder.open(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    path = tmp_path / run.run_id
    killed = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    RunFolder.open(path).close()


def test_folder_of_a_run_is_made_once(tmp_path: Path, folder: RunFolder) -> None:
    with pytest.raises(UsageError, match="cannot make"):
        RunFolder.create(tmp_path, make_run())


def test_results_folder_that_is_a_file_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot make"):
        RunFolder.create(tmp_path / "file", make_run())


@needs_plain_user
def test_read_only_run_is_explained(folder: RunFolder) -> None:
    folder.close()
    (folder.path / ".lock").unlink(missing_ok=True)
    folder.path.chmod(0o555)
    try:
        with pytest.raises(StoreError, match="cannot write"):
            RunFolder.open(folder.path)
        assert load_run(folder.path).run == make_run()
    finally:
        folder.path.chmod(0o755)


def test_run_that_cannot_be_read_is_explained(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run there"):
        load_run(tmp_path)
    (tmp_path / RUN_FILE).write_text('{"run_id": 5}')
    with pytest.raises(StoreError, match="not a run of this or an older version of sdbench"):
        load_run(tmp_path)
    (tmp_path / RUN_FILE).write_bytes(b"\xff\x00")
    with pytest.raises(StoreError):
        load_run(tmp_path)


def test_fields_of_a_newer_version_do_not_keep_a_run_from_loading(folder: RunFolder) -> None:
    run = json.loads((folder.path / RUN_FILE).read_text())
    (folder.path / RUN_FILE).write_text(json.dumps({**run, "schema": 99, "invented": {"a": 1}}))
    record = msgspec.to_builtins(make_replicate())
    (folder.path / RECORDS_FILE).write_text(json.dumps({**record, "invented": 1}) + "\n")
    loaded = load_run(folder.path)
    assert loaded.run.run_id == make_run().run_id
    assert loaded.attempts == [make_replicate()]


def test_numbers_that_are_none_are_written_as_null() -> None:
    document = json.loads(msgspec.json.encode(make_replicate()))
    assert document["import_s"] is None
    assert document["peak_memory_bytes"] is None


def test_record_survives_encoding(folder: RunFolder) -> None:
    replicate = make_replicate(stderr_tail="Zeile\n\x00\x1b[31m … \U0001f600", reason='"quoted"')
    decoded = msgspec.json.decode(msgspec.json.encode(replicate), type=Replicate)
    assert decoded == replicate


def test_run_is_found_by_path_id_beginning_and_latest(tmp_path: Path) -> None:
    ids = ["20260101-000000-quick-aaaa", "20260102-000000-quick-bbbb", "20260102-000000-full-cccc"]
    for run_id in ids:
        RunFolder.create(tmp_path, make_run(run_id=run_id)).close()
    assert find_run(tmp_path, str(tmp_path / ids[0])) == tmp_path / ids[0]
    assert find_run(tmp_path, ids[1]) == tmp_path / ids[1]
    assert find_run(tmp_path, "20260101") == tmp_path / ids[0]
    assert find_run(tmp_path, "latest") == tmp_path / ids[1]
    with pytest.raises(UsageError, match="2 runs called '20260102'"):
        find_run(tmp_path, "20260102")
    with pytest.raises(UsageError, match="no run called 'other'"):
        find_run(tmp_path, "other")


def test_whole_id_wins_over_being_the_beginning_of_another(tmp_path: Path) -> None:
    for run_id in ("20260101-000000-a", "20260101-000000-ab"):
        RunFolder.create(tmp_path, make_run(run_id=run_id)).close()
    assert find_run(tmp_path, "20260101-000000-a").name == "20260101-000000-a"


def test_nothing_is_found_where_there_is_nothing(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "absent") == []
    with pytest.raises(UsageError, match="no run called 'latest'"):
        find_run(tmp_path / "absent", "latest")


def test_runs_are_listed_oldest_first(tmp_path: Path) -> None:
    for run_id in ("20260103-000000-c", "20260101-000000-a", "20260102-000000-b"):
        RunFolder.create(tmp_path, make_run(run_id=run_id)).close()
    (tmp_path / "not-a-run").mkdir()
    assert [path.name[-1] for path in list_runs(tmp_path)] == ["a", "b", "c"]


def test_run_holds_the_whole_plan(folder: RunFolder) -> None:
    decoded = msgspec.json.decode((folder.path / RUN_FILE).read_bytes(), type=Run)
    assert decoded.plan == make_run(make_config()).plan


# --- the disk fails (tests/unit/test_every_write.py stops whole runs at every call) --------------


@pytest.mark.parametrize("kind", ["full", "EIO"])
def test_run_that_cannot_be_begun_leaves_no_folder(tmp_path: Path, kind: str) -> None:
    whole = FaultyDisk(tmp_path)
    with whole.below():
        RunFolder.create(tmp_path / "whole", make_run()).close()
    failed = 0
    for point in points_of([*whole.calls, "the end"]):
        if point.kind != kind:
            continue
        root = tmp_path / str(point.at)
        shutil.rmtree(tmp_path / "state", ignore_errors=True)
        with FaultyDisk(tmp_path, Fault(point.at, point.kind)).below():
            try:
                RunFolder.create(root, make_run()).close()
            except StoreError as error:
                failed += 1
                assert "No space left" in str(error) or "nput/output" in str(error)
                assert "what was measured before" not in str(error), "nothing was"
                assert not [*root.glob("*")], str(point)
            else:
                assert list_runs(root), str(point)
    assert failed > 5


def test_unfinished_files_of_a_killed_process_are_removed_on_resume(folder: RunFolder) -> None:
    places = [folder.path, *(folder.path / name for name in ("images", "latents", "telemetry"))]
    for place in places:
        place.mkdir(exist_ok=True)
        (place / ".sdbench-0123abcd.tmp").write_text("half")
        (place / "kept").write_text("whole")
    folder.close()
    RunFolder.open(folder.path).close()
    for place in places:
        assert not [*place.glob(".sdbench-*")]
        assert (place / "kept").is_file()


def test_what_a_killed_process_wrote_is_flushed_on_resume(tmp_path: Path) -> None:
    disk = FaultyDisk(tmp_path)
    with disk.below():
        folder = RunFolder.create(tmp_path, make_run())
        fd = os.open(folder.path / RECORDS_FILE, os.O_WRONLY | os.O_CREAT)
        os.write(fd, msgspec.json.encode(make_replicate()) + b"\n")
        os.close(fd)
        folder.close()
        name = f"{folder.path.name}/{RECORDS_FILE}"
        assert not disk.tree("bare").get(name)
        RunFolder.open(folder.path).close()
    assert disk.tree("bare")[name] == (folder.path / RECORDS_FILE).read_bytes()
