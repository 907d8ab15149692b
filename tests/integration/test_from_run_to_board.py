"""From a run to a board and back, as a new user goes: bundle, verify, init, submit, git, build,
compare.
"""

import subprocess
import zipfile
from pathlib import Path

import pytest
from conftest import Sdbench, SharedRun
from real_bundles import real_bundle

OTHER_RUN = "20261123-101010-float32-aaaa"


def git(folder: Path, *words: str) -> None:
    settings = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", folder, *settings, *words], check=True, capture_output=True)


def unpacked(data: bytes, folder: Path) -> Path:
    """A bundle as a run folder."""
    folder.mkdir(parents=True)
    path = folder.parent / "unpacked.zip"
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def board(sdbench: Sdbench) -> Path:
    """A new results repository under git."""
    code, document = sdbench.json("board", "init", "board")
    assert code == 0
    folder = sdbench.folder / "board"
    git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", "x")
    assert len(document["files"]) == 8
    return folder


@pytest.mark.long
def test_a_run_of_one_process_a_case_is_refused_and_has_no_place(
    sdbench: Sdbench, matrix_run: SharedRun, board: Path
) -> None:
    """Its first blocker depends on the machine of the tests: virtual, or too few processes."""
    run = matrix_run.sdbench.folder / matrix_run.document["path"]
    code, bundle = sdbench.json("bundle", run, "--yes", "-o", "own.sdbench.zip")
    assert code == 0 and not bundle["publishable"]["ok"]
    code, verified = sdbench.json("verify", "own.sdbench.zip")
    (file,) = verified["files"]
    assert (code, file["status"]) == (0, "ok"), file
    assert file["publishable"] == bundle["publishable"]

    code, document = sdbench.json("submit", "own.sdbench.zip", "--to", board)
    (candidate,) = document["files"]
    first = bundle["publishable"]["blockers"][0]
    assert (code, candidate["status"]) == (1, "refused")
    assert (candidate["code"], candidate["reason"]) == (first["code"], first["sentence"])
    assert document["commands"] == []
    assert not [*board.rglob("*.sdbench.zip")]

    code, built = sdbench.json("board", "build", "own.sdbench.zip", "-o", "site")
    assert (code, built["bundles"], built["ranked"]) == (0, 1, 0)
    code, placing = sdbench.json("compare", run, "--with", "site")
    assert code == 0 and placing["reason"] and placing["cases"] == []


def test_a_submitted_run_is_on_the_board_and_others_are_compared_with_it(
    sdbench: Sdbench, board: Path
) -> None:
    """The run is one of a GPU in git, recorded as a real machine's: none of these is here."""
    (sdbench.folder / "first.sdbench.zip").write_bytes(real_bundle())
    code, planned = sdbench.json("submit", "first.sdbench.zip", "--to", board, "--dry-run")
    (candidate,) = planned["files"]
    assert (code, candidate["status"]) == (0, "new")
    assert not (board / candidate["target"]).exists()
    code, added = sdbench.json("submit", "first.sdbench.zip", "--to", board)
    assert code == 0 and added["commands"] == planned["commands"]
    for words in added["commands"][:-1]:  # all but the push
        settings = "-c user.name=x -c user.email=x@example.org -c commit.gpgsign=false"
        command = words.replace("git ", f"git {settings} ", 1)
        subprocess.run(["bash", "-c", command], check=True, capture_output=True)
    tracked = subprocess.run(
        ["git", "-C", board, "ls-tree", "-r", "--name-only", "HEAD"], capture_output=True, text=True
    ).stdout.split()
    assert candidate["target"] in tracked

    code, built = sdbench.json("board", "build", board / "submissions", "-o", "site")
    assert code == 0 and built["ranked"] == built["rows"] > 0
    results = sdbench.folder / "results"
    own = unpacked(
        real_bundle(f"m-{'2' * 16}", OTHER_RUN, change=lambda run: run.update(label="own")),
        results / OTHER_RUN,
    )
    code, placing = sdbench.json("compare", own, "--with", "site")
    assert (code, placing["reason"], placing["similar_machines"]) == (0, None, 1)
    assert {case["percentile"] for case in placing["cases"]} == {50.0}, "equal times"

    same = unpacked(real_bundle(), results / "20261122-155927-float32-892f")
    code, alone = sdbench.json("compare", same, "--with", "site")
    assert code == 0 and "no verified run of a similar machine" in alone["reason"]


def test_a_plan_and_doctor_say_what_was_measured(sdbench: Sdbench, board: Path) -> None:
    """Nothing of this machine is on that board, and that is said."""
    (sdbench.folder / "first.sdbench.zip").write_bytes(real_bundle())
    assert sdbench("submit", "first.sdbench.zip", "--to", board).returncode == 0
    assert sdbench("board", "build", board / "submissions", "-o", "site").returncode == 0
    plan = sdbench.config("")
    code, document = sdbench.json("run", plan, "--dry-run", "--with", "site")
    assert code == 0 and document["measured"]["reason"]
    done = sdbench("run", plan, "--dry-run", "--with", "site")
    assert "measured on your chip" in done.stdout
    code, document = sdbench.json("doctor", "--model", "synthetic/tiny", "--with", "site")
    assert code in (0, 1) and document["measured"]["reason"] and document["measured"]["sizes"] == []
    assert sdbench("doctor", "--with", "site").returncode == 2
