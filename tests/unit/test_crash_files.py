"""The crash report is waited for, briefly, and only the right one is taken."""

import json
import os
from pathlib import Path

from factories import FakeClock

from sdbench.knowledge.crash_reports import read_crash_report
from sdbench.machine.crash_files import wait_for_report

BODY = {"pid": 4711, "procName": "python3.11", "exception": {"type": "EXC_CRASH"}}


def _write(folder: Path, name: str, body: dict[str, object], written_at: float) -> Path:
    path = folder / name
    path.write_text('{"app_name":"python3.11"}\n' + json.dumps(body, indent=2) + "\n")
    os.utime(path, (written_at, written_at))
    return path


def test_report_of_this_death_is_found_and_read(tmp_path: Path) -> None:
    _write(tmp_path, "Python-old.ips", BODY, written_at=50.0)
    _write(tmp_path, "Python-other.ips", {**BODY, "pid": 47110}, written_at=150.0)
    _write(tmp_path, "Python-this.ips", {**BODY, "procName": "this"}, written_at=150.0)
    text = wait_for_report(4711, 100.0, tmp_path)
    report = read_crash_report(text or "")
    assert report is not None and report.process == "this"


def test_wait_ends_where_no_report_comes(tmp_path: Path) -> None:
    clock = FakeClock()
    naps: list[float] = []

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        clock.advance(seconds)

    assert wait_for_report(1, 0.0, tmp_path, wait_s=2.0, clock=clock, sleep=sleep) is None
    assert sum(naps) >= 2.0


def test_report_still_being_written_is_waited_for(tmp_path: Path) -> None:
    clock = FakeClock()
    path = _write(tmp_path, "Python-this.ips", BODY, written_at=150.0)
    whole = path.read_text()
    path.write_text(whole[:60])

    def sleep(seconds: float) -> None:
        clock.advance(seconds)
        path.write_text(whole)

    assert wait_for_report(4711, 100.0, tmp_path, clock=clock, sleep=sleep) == whole


def test_folder_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    assert wait_for_report(1, 0.0, tmp_path / "none", wait_s=0.0) is None
