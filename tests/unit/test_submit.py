"""``sdbench submit``: what a results repository takes, where it goes, and that nothing is sent."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from factories import Called
from real_bundles import FLOAT32, real_bundle, virtual_bundle

from sdbench.bundles.publishable import Blocker, Publishable
from sdbench.bundles.verify import accept
from sdbench.submissions.submit import git_commands, judge_file, obstacle

TARGET = f"submissions/m-{'1' * 16}/{FLOAT32.name}.sdbench.zip"


@pytest.fixture(scope="session")
def good() -> bytes:
    return real_bundle()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "board"
    (folder / "submissions").mkdir(parents=True)
    return folder


def written(tmp_path: Path, data: bytes, name: str = "given.sdbench.zip") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def files_in(folder: Path) -> list[str]:
    return sorted(str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file())


def test_a_dry_run_shows_what_would_be_added_and_writes_nothing(
    good: bytes, repository: Path, tmp_path: Path, call: Called
) -> None:
    file = written(tmp_path, good)
    code, out, _ = call("submit", file, "--to", repository, "--dry-run")
    assert code == 0
    assert f"would be added: {file} → {TARGET}" in out
    assert f"git -C {repository} add -- {TARGET}" in out
    assert files_in(repository) == []


def test_a_bundle_is_copied_byte_for_byte_once(
    good: bytes, repository: Path, tmp_path: Path, call: Called
) -> None:
    file = written(tmp_path, good)
    code, out, _ = call("submit", file, "--to", repository, "--json")
    document = json.loads(out)
    assert (code, document["dry_run"]) == (0, False)
    (entry,) = document["files"]
    assert (entry["status"], entry["target"]) == ("added", TARGET)
    assert [words.split()[3] for words in document["commands"]] == [
        *("switch", "add", "commit", "push")
    ]
    assert (repository / TARGET).read_bytes() == good

    code, out, _ = call("submit", file, "--to", repository)
    assert code == 0 and "is there already" in out and "git" not in out
    assert files_in(repository) == [TARGET]


def test_an_unpublishable_bundle_is_refused_with_its_first_blocker(
    repository: Path, tmp_path: Path, call: Called
) -> None:
    code, out, err = call(
        "submit", written(tmp_path, virtual_bundle()), "--to", repository, "--json"
    )
    (entry,) = json.loads(out)["files"]
    assert (code, entry["status"], entry["code"]) == (1, "refused", "virtual")
    assert "virtual machine" in entry["reason"] and entry["remedy"]
    assert files_in(repository) == []
    assert "next: sdbench verify" in err


def test_a_refused_file_keeps_the_others_from_being_copied(
    good: bytes, repository: Path, tmp_path: Path, call: Called
) -> None:
    files = [written(tmp_path, good), written(tmp_path, b"no zip", "bad.sdbench.zip")]
    code, out, _ = call("submit", *files, "--to", repository)
    assert code == 1 and "unsafe-archive" in out and "Nothing was copied." in out
    assert files_in(repository) == []


def test_another_bundle_of_the_same_run_is_refused(
    good: bytes, repository: Path, tmp_path: Path
) -> None:
    labelled = real_bundle(change=lambda run: run.update(label="fan off"))
    place = repository / TARGET
    place.parent.mkdir(parents=True)
    place.write_bytes(labelled)
    found = judge_file(written(tmp_path, good), repository).candidate
    assert (found.status, found.code) == ("refused", "other-bundle")
    assert found.remedy == f"git -C {repository} rm {TARGET}"


@pytest.mark.parametrize("machine_id", ["../../etc", "m-1", "m-" + "1" * 16 + "\n"])
def test_ids_that_are_no_names_are_refused(
    machine_id: str, repository: Path, tmp_path: Path
) -> None:
    file = written(tmp_path, real_bundle(machine_id))
    found = judge_file(file, repository).candidate
    assert (found.status, found.target) == ("refused", None)
    assert found.code in ("ids", "schema")


def test_a_link_on_the_way_is_not_followed(
    good: bytes, repository: Path, tmp_path: Path, call: Called
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (repository / TARGET).parent.symlink_to(outside)
    code, _, err = call("submit", written(tmp_path, good), "--to", repository)
    assert code == 3 and err.count("\n") == 1
    assert files_in(outside) == []


def test_wrong_images_alone_are_no_obstacle() -> None:
    wrong = Blocker(code="pictures-wrong", sentence="Images are wrong.", remedy="")
    unchecked = Blocker(code="pictures-unchecked", sentence="Not compared.", remedy="")
    assert obstacle(Publishable(ok=False, blockers=[wrong])) is None
    assert obstacle(Publishable(ok=False, blockers=[unchecked, wrong])) == unchecked


def test_wrong_images_are_announced(
    good: bytes, repository: Path, tmp_path: Path, call: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = Blocker(code="pictures-wrong", sentence="Images are wrong.", remedy="")
    accepted = accept(good, "x")
    verified = msgspec.structs.replace(
        accepted.verified, publishable=Publishable(ok=False, blockers=[wrong])
    )
    found = dataclasses.replace(accepted, verified=verified)
    monkeypatch.setattr("sdbench.submissions.submit.accept", lambda data, path: found)
    code, out, _ = call("submit", written(tmp_path, good), "--to", repository)
    assert code == 0 and "shows it as wrong and never ranks it" in out
    assert files_in(repository) == [TARGET]


@pytest.mark.parametrize("name", ["missing.sdbench.zip", "board"])
def test_a_file_that_cannot_be_read(
    name: str, repository: Path, tmp_path: Path, call: Called
) -> None:
    code, _, err = call("submit", tmp_path / name, "--to", repository)
    assert code == 2 and err.count("\n") == 1 and str(tmp_path)[:20] in err


def test_a_folder_that_is_no_results_repository(good: bytes, tmp_path: Path, call: Called) -> None:
    file = written(tmp_path, good)
    code, _, err = call("submit", file, "--to", tmp_path)
    assert code == 2 and "submissions/" in err and "sdbench board init" in err
    code, _, err = call("submit", file, "--to", tmp_path / "missing")
    assert code == 2


def test_git_commands_quote_what_a_shell_would_read(good: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "a board; rm -rf ~"
    (folder / "submissions").mkdir(parents=True)
    found = judge_file(written(tmp_path, good), folder).candidate
    assert all(words.startswith(f"git -C '{folder}' ") for words in git_commands([found], folder))


_WATCHED = """
import sys

def hook(event, arguments):
    if event.startswith(("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn")):
        raise SystemExit(f"seen: {event}")

sys.addaudithook(hook)
"""
_MAIN = "from sdbench.cli import main; sys.exit(main(sys.argv[1:]))"
_CONNECTS = "import socket; socket.create_connection(('127.0.0.1', 9))"


def watched(program: str, *words: object) -> subprocess.CompletedProcess[str]:
    """A process of its own, because what watches it cannot be removed again."""
    command = [sys.executable, "-I", "-c", f"{_WATCHED}{program}", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


def test_submit_opens_no_connection_and_starts_no_program(
    good: bytes, repository: Path, tmp_path: Path
) -> None:
    assert "seen: socket." in watched(_CONNECTS).stderr
    done = watched(_MAIN, "submit", written(tmp_path, good), "--to", repository)
    assert done.returncode == 0, done.stderr
    assert (repository / TARGET).is_file()
