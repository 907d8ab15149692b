"""Workers that die for real, in every way; the run goes on and the row says what happened."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import Sdbench

from sdbench.runs import load_run

# width of the image: (fault, expected outcome, words in the reason)
DEATHS = {
    "72": ("abort", "crashed", "SIGABRT"),
    "80": ("segfault", "crashed", "SIGSEGV"),
    "88": ("kill", "crashed", "SIGKILL"),
    "96": ("raise", "failed", "ValueError in pass 1"),
    "104": ("hang-with-lock", "timeout", "in pass 1"),
    "112": ("eat-memory", "oom", "pass 1"),
    "120": ("exit-silently", "failed", "without any error output"),
    "128": ("close-pipe", "failed", "closed its event pipe"),
    "136": ("flood", "failed", "endless line"),
    "144": ("rubbish", "ok", ""),
    "152": ("chatter", "ok", ""),
    "160": ("ignore-sigterm-and-hang", "timeout", "in pass 1"),
}


def _cases(*widths: str) -> str:
    return "".join(f'[[case]]\nresolution = "{width}x64"\n' for width in widths)


def _with_faults(**faults: str) -> dict[str, str]:
    return {
        "SDBENCH_WORKER_PRELOAD": "sdbench_test_faults",
        "SDBENCH_TEST_FAULTS": json.dumps(faults),
    }


@pytest.mark.parametrize(
    ("start", "widths"),
    [
        ("fork", list(DEATHS)),
        # Deaths that are noticed in another way where the worker is the parent's own child.
        pytest.param("spawn", ["72", "104", "128"], marks=pytest.mark.long),
    ],
)
def test_every_death_is_a_row_and_the_run_goes_on(
    sdbench: Sdbench, start: str, widths: list[str]
) -> None:
    environment = _with_faults(**{width: DEATHS[width][0] for width in widths})
    code, document = sdbench.json(
        *("run", sdbench.config(_cases("64", *widths))),
        *("--set", f"start={start}", "--set", "timeout_s=20"),
        **environment,
    )
    assert code == 1
    rows = {row["case"]["resolution"].split("x")[0]: row for row in document["cases"]}
    assert rows["64"]["outcome"] == "ok"
    loaded = load_run(Path(sdbench.folder / document["path"]))
    by_width = {entry.case_id.split("x")[0]: entry for entry in loaded.replicates}
    for width in widths:
        _, outcome, words = DEATHS[width]
        assert rows[width]["outcome"] == outcome, rows[width]
        assert words in (rows[width]["reason"] or ""), rows[width]
        assert by_width[width].start == start
    assert by_width["72"].signal == "SIGABRT"
    assert "failed assertion" in by_width["72"].stderr_tail
    if start == "fork":
        assert by_width["144"].unreadable_lines == 3 * 5  # in each of five pipeline calls
        assert by_width["152"].stdout_tail.endswith("the last words on stdout\n")
        assert len(by_width["152"].stdout_tail.encode()) <= 64 * 1024
        assert "Segmentation fault" in by_width["80"].stderr_tail
        assert by_width["96"].exception_type == "ValueError"
        shown = sdbench("show", "latest", "--all")
        assert "\x1b[31m" not in shown.stdout and "<b>with</b>" in shown.stdout
        case = sdbench("show", "latest", by_width["96"].case_id)
        assert "\x1b[31m" not in case.stdout
    assert loaded.run.preload == ["sdbench_test_faults"]


@pytest.mark.long
@pytest.mark.cold
def test_spawned_and_forked_workers_make_the_same_pictures_and_die_alike(sdbench: Sdbench) -> None:
    environment = _with_faults(**{"72": "abort"})
    hashes = []
    # (A worker spawned by a cold parent imports the environment: that it dies alike, warm ones
    # show.)
    for start, widths in (("fork", ["64", "72"]), ("spawn", ["64"])):
        options = ("--set", f"start={start}", "--set", "timeout_s=300", "--set", "passes=1")
        _, document = sdbench.json("run", sdbench.config(_cases(*widths)), *options, **environment)
        by_width = {
            entry.case_id.split("x")[0]: entry
            for entry in load_run(Path(sdbench.folder / document["path"])).replicates
        }
        assert [by_width[width].outcome for width in widths] == ["ok", "crashed"][: len(widths)]
        if "72" in widths:
            assert by_width["72"].signal == "SIGABRT"
            assert "failed assertion" in by_width["72"].stderr_tail
        replicate = by_width["64"]
        assert replicate.start == start
        assert (replicate.import_s is None) == (start == "fork")
        hashes.append([p.pixels_sha256 for e in replicate.passes for p in e.images])
    assert hashes[0] == hashes[1]


# (Under load, the first process that a warm parent starts cold was seen to end with status 1.)
@pytest.mark.cold
def test_a_stack_that_dies_while_importing_is_recorded(sdbench: Sdbench) -> None:
    (sdbench.folder / "dies_at_import.py").write_text("import os\nos.abort()\n")
    code, document = sdbench.json(
        *("run", sdbench.config(_cases("64"))),
        SDBENCH_WORKER_PRELOAD="dies_at_import",
        PYTHONPATH=str(sdbench.folder),
    )
    (row,) = document["cases"]
    assert (code, row["outcome"]) == (1, "crashed"), row["reason"]
    assert "SIGABRT in import" in row["reason"]


@pytest.mark.cold_parent
def test_killed_parent_takes_its_workers_along_and_resume_goes_on(sdbench: Sdbench) -> None:
    environment = _with_faults(**{"104": "hang-with-lock"})
    config = sdbench.config(_cases("64", "72", "104"))
    parent = sdbench.start(
        "run", config, "--set", "replicates=2", "--set", "timeout_s=300", **environment
    )
    folder = _wait_for_hang(sdbench, parent)
    before = load_run(folder)
    assert len(sdbench.processes()) >= 2
    parent.kill()
    parent.communicate()
    _wait_until(lambda: not sdbench.processes(), "the workers to follow their parent")

    with (folder / "records.jsonl").open("ab") as file:
        file.write(b'{"type":"replicate","replicate_id":"torn')
    del environment["SDBENCH_TEST_FAULTS"]
    code, document = sdbench.json("resume", folder, **environment)
    assert code == 0 and document["outcomes"] == {"ok": 3}
    after = load_run(folder)
    assert not after.warnings
    assert (folder / "records.jsonl.torn-0").read_bytes().endswith(b"torn")
    finished_before = {entry.replicate_id for entry in before.replicates}
    ids = [entry.replicate_id for entry in after.attempts]
    assert len(ids) == len(set(ids)) == 6, "none twice, none lost"
    assert ids[: len(finished_before)] == [entry.replicate_id for entry in before.replicates]
    assert len(after.run.sittings) == 2


@pytest.mark.cold_parent
def test_ctrl_c_keeps_results_and_exits_130(sdbench: Sdbench) -> None:
    environment = _with_faults(**{"104": "hang-with-lock"})
    parent = sdbench.start(
        *("run", sdbench.config(_cases("64", "104")), "--json", "--set", "timeout_s=300"),
        **environment,
    )
    folder = _wait_for_hang(sdbench, parent)
    parent.send_signal(signal.SIGINT)
    stdout, stderr = parent.communicate(timeout=60)
    assert parent.returncode == 130, stderr
    assert json.loads(stdout)["run_id"] == folder.name
    assert "resume" in stderr
    assert all(entry.outcome == "ok" for entry in load_run(folder).replicates)


def test_two_processes_cannot_work_on_one_run(sdbench: Sdbench) -> None:
    environment = _with_faults(**{"104": "hang-with-lock"})
    parent = sdbench.start(
        "run", sdbench.config(_cases("104")), "--set", "timeout_s=300", **environment
    )
    folder = _wait_for_hang(sdbench, parent)
    done = sdbench("resume", folder, **environment)
    assert done.returncode == 2 and "another sdbench" in done.stderr
    parent.send_signal(signal.SIGINT)
    parent.communicate(timeout=60)


def test_crashed_replicates_are_run_again_only_on_request(sdbench: Sdbench) -> None:
    environment = _with_faults(**{"72": "abort"})
    code, document = sdbench.json("run", sdbench.config(_cases("64", "72")), **environment)
    assert code == 1
    path = document["path"]
    environment["SDBENCH_TEST_FAULTS"] = "{}"
    code, document = sdbench.json("resume", path, **environment)
    assert code == 1 and document["outcomes"] == {"ok": 1, "crashed": 1}
    code, document = sdbench.json("resume", path, "--retry", **environment)
    assert code == 0 and document["outcomes"] == {"ok": 2}
    attempts = load_run(sdbench.folder / path).attempts
    assert [(entry.outcome, entry.attempt) for entry in attempts if "72x" in entry.case_id] == [
        ("crashed", 1),
        ("ok", 2),
    ]


def test_disk_that_is_full_stops_the_run_and_breaks_nothing(sdbench: Sdbench) -> None:
    config = sdbench.config(_cases("64", "72"))
    code, document = sdbench.json("run", config)
    assert code == 0
    folder = sdbench.folder / document["path"]
    records = folder / "records.jsonl"
    lines = records.read_bytes().splitlines(keepends=True)
    ended = [number for number, line in enumerate(lines) if b'"type":"replicate"' in line]
    records.write_bytes(b"".join(lines[: ended[0] + 1]))
    # A limit on the size of files fails a write half-way, as a full disk does.
    largest = max(records.stat().st_size, (folder / "run.json").stat().st_size)
    done = sdbench.limited(largest + 1024, "resume", folder)
    assert done.returncode == 3
    assert "cannot write" in done.stderr and "kept" in done.stderr
    loaded = load_run(folder)
    assert len(loaded.replicates) == 1 and not loaded.warnings
    code, document = sdbench.json("resume", folder)
    assert code == 0 and document["outcomes"] == {"ok": 2}


def test_resume_refuses_a_changed_stack(sdbench: Sdbench) -> None:
    code, document = sdbench.json("run", sdbench.config(_cases("64")))
    assert code == 0
    file = sdbench.folder / document["path"] / "run.json"
    run = json.loads(file.read_text())
    run["stacks"]["current"]["packages"]["torch"] = "1.0.0"
    file.write_text(json.dumps(run))
    done = sdbench("resume", document["path"])
    assert done.returncode == 2 and "--trust" in done.stderr, "its run.json was changed"
    done = sdbench("resume", document["path"], "--trust")
    assert done.returncode == 3
    assert "torch was 1.0.0" in done.stderr
    run["machine_id"] = "0" * 16
    file.write_text(json.dumps(run))
    done = sdbench("resume", document["path"])
    assert done.returncode == 3 and "another machine" in done.stderr


def _wait_for_hang(sdbench: Sdbench, parent: Any) -> Path:
    """Wait until the hanging case's worker is in its first pass; returns the run folder."""

    def found() -> Path | None:
        assert parent.poll() is None, parent.communicate()
        for folder in (sdbench.folder / "results").glob("*/records.jsonl"):
            loaded = load_run(folder.parent)
            if any("104x" in entry.case_id for entry in loaded.in_flight):
                return folder.parent
        return None

    folder = _wait_until(found, "the hanging case to start")
    time.sleep(2)  # from the record to the hang itself
    assert isinstance(folder, Path)
    return folder


def _wait_until(condition: Any, what: str, limit_s: float = 120) -> Any:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        result = condition()
        if result:
            return result
        time.sleep(0.1)
    raise AssertionError(f"waited {limit_s} s for {what}")
