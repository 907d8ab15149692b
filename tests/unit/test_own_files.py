"""A file that somebody else wrote is not written over; what sdbench wrote is."""

import os
from pathlib import Path

import pytest
from factories import Called, make_call, make_judged
from measured_runs import kept, measured
from test_operator_script import ORIGIN

from sdbench.cli.localise import _free_folder
from sdbench.cli.overwriting import is_writable_without_asking, spare_others
from sdbench.cli.report import _FORMATS
from sdbench.errors import UsageError
from sdbench.localise.script import operator_script

USERS = "print('my own work')\n"


@pytest.fixture
def run(results: Path) -> Path:
    return kept(results, measured())


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("sdbench.cli.repro.collect_env", lambda python: "torch 9\n")


@pytest.mark.parametrize("name", ["repro.py", "issue.md", "environment.txt"])
def test_repro_spares_a_file_of_the_users(call: Called, run: Path, name: str) -> None:
    folder = Path("out")
    folder.mkdir()
    (folder / name).write_text(USERS)
    code, out, err = call("repro", run, "64x64", "-o", folder)
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert f"{folder / name} exists and was not written by sdbench" in err and "--force" in err
    assert [path.name for path in folder.iterdir()] == [name]
    assert (folder / name).read_text() == USERS
    assert call("repro", run, "64x64", "-o", folder, "--force")[0] == 0
    assert (folder / name).read_text() != USERS


def test_repro_writes_over_its_own_files(call: Called, run: Path) -> None:
    for _ in range(2):
        assert call("repro", run, "64x64", "-o", "out")[0] == 0


@pytest.mark.parametrize("kind", _FORMATS)
def test_report_spares_a_file_of_the_users_and_writes_over_its_own(
    call: Called, run: Path, kind: str
) -> None:
    mine, ours = Path("mine"), Path("ours")
    mine.write_text(USERS)
    code, out, err = call("report", run, "-f", kind, "-o", mine)
    assert (code, out) == (2, "") and "--force" in err
    assert mine.read_text() == USERS
    code, _, err = call("report", run, "-f", kind, "-o", ours)
    assert code == 0, err
    assert is_writable_without_asking(ours)


def test_report_writes_over_anything_where_it_is_told_to(call: Called, run: Path) -> None:
    Path("mine").write_text(USERS)
    assert call("report", run, "-f", "csv", "-o", "mine", "--force")[0] == 0
    assert call("report", run, "-f", "csv", "-o", "mine")[0] == 0


def test_report_spares_the_users_report_html(call: Called, run: Path) -> None:
    Path("report.html").write_text("<html>mine</html>")
    assert call("report", run)[0] == 2
    assert Path("report.html").read_text() == "<html>mine</html>"


def test_link_is_judged_by_what_it_leads_to(call: Called, run: Path) -> None:
    Path("notes.txt").write_text(USERS)
    Path("report.html").symlink_to("notes.txt")
    assert call("report", run)[0] == 2
    assert Path("notes.txt").read_text() == USERS


def test_what_holds_nothing_is_written(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    os.mkfifo(tmp_path / "pipe")
    for path in (empty, tmp_path / "absent", tmp_path / "pipe", Path(os.devnull)):
        assert is_writable_without_asking(path), path


def test_name_of_a_file_proves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "sdbench-report.html"
    path.write_text("<html>sdbench is written about here</html>")
    with pytest.raises(UsageError, match="was not written by sdbench"):
        spare_others(path, force=False)
    spare_others(path, force=True)


def test_mark_is_found_at_the_end_of_a_long_file(tmp_path: Path) -> None:
    path = tmp_path / "long.md"
    path.write_text("x" * 100_000 + "\n<!-- Written by sdbench -->\n")
    assert is_writable_without_asking(path)


def test_localise_takes_another_folder_where_the_users_script_is() -> None:
    script = operator_script(make_judged(make_call(), 1e6), ORIGIN, carried=False)
    assert _free_folder("found") == Path("found")
    Path("found").mkdir()
    (Path("found") / "reproduce.py").write_text(script)
    assert _free_folder("found") == Path("found")
    (Path("found") / "reproduce.py").write_text(USERS)
    assert _free_folder("found") == Path("found-2")


@pytest.mark.parametrize("name", ["reproduce.py", "operands.safetensors"])
def test_localise_refuses_before_it_searches(call: Called, name: str) -> None:
    Path("mine").mkdir()
    (Path("mine") / name).write_text(USERS)
    code, _, err = call("localise", "-o", "mine")
    assert code == 2 and "was not written by sdbench" in err and err.count("\n") == 1
