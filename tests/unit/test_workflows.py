"""The workflows: sound by schema and by zizmor, pinned, without secrets, and run here as far as
they are not for a Mac.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sdbench import __version__
from sdbench.cli import cli

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / ".github/workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))
BIN = Path(sys.executable).parent
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))


def loaded(path: Path) -> dict[Any, Any]:
    document: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return document


def jobs() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """File and name, job, and the whole workflow."""
    for path in WORKFLOWS:
        workflow = loaded(path)
        for name, job in workflow["jobs"].items():
            yield f"{path.stem}/{name}", job, workflow


def is_for_macos_alone(job: dict[str, Any]) -> bool:
    images = [job["runs-on"]]
    if images == ["${{ matrix.image }}"]:
        matrix = job["strategy"]["matrix"]
        images = [*matrix["image"], *(entry["image"] for entry in matrix.get("include", []))]
    return all(image.startswith("macos-") for image in images)


def commands(*, macos: bool) -> list[Any]:
    """The text of every ``run:``, by workflow and step; of jobs for macOS alone, or of others."""
    return [
        pytest.param(step["run"], id=f"{where}/{step.get('name', index)}")
        for where, job, _ in jobs()
        if is_for_macos_alone(job) == macos
        for index, step in enumerate(job["steps"])
        if "run" in step
    ]


def test_there_are_these_workflows() -> None:
    assert [path.stem for path in WORKFLOWS] == ["docs", "linux", "mac", "release"]
    assert {where for where, job, _ in jobs() if is_for_macos_alone(job)} == {"mac/mps"}


def test_the_schema_of_workflows_holds() -> None:
    done = subprocess.run(
        [BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def zizmor(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "zizmor", "--offline", "--no-progress", "--strict-collection", "--pedantic", folder],
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )


def test_zizmor_finds_nothing() -> None:
    done = zizmor(FOLDER)
    assert done.returncode == 0 and "No findings to report" in done.stdout, done.stdout


def test_zizmor_would_find_something(tmp_path: Path) -> None:
    bad = (FOLDER / "linux.yml").read_text(encoding="utf-8")
    bad = re.sub(r"checkout@[0-9a-f]{40}", "checkout@v7", bad)
    folder = tmp_path / ".github/workflows"
    folder.mkdir(parents=True)
    (folder / "linux.yml").write_text(bad, encoding="utf-8")
    done = zizmor(folder)
    assert done.returncode != 0 and "unpinned-uses" in done.stdout


def test_nothing_is_allowed_but_what_a_job_names() -> None:
    for where, job, workflow in jobs():
        assert workflow["permissions"] == {}, where
        assert job["permissions"], where
        wanted = {"contents": "read"}
        if where == "docs/publish":
            wanted = {"pages": "write", "id-token": "write"}
        elif where == "release/publish":
            wanted = {"id-token": "write"}
        assert job["permissions"] == wanted, where


def test_actions_are_pinned_by_commit_and_nothing_is_secret() -> None:
    for path in WORKFLOWS:
        text = path.read_text(encoding="utf-8")
        assert "secrets" not in text, path
        for line in text.splitlines():
            if "uses:" in line:
                assert re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


def test_one_action_has_one_commit() -> None:
    """A step that was forgotten when the others were brought up to date."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in WORKFLOWS)
    pins = set(re.findall(r"uses: ([\w./-]+)@([0-9a-f]{40})", text))
    assert len({action for action, _ in pins}) == len(pins)


def test_release_publishes_what_was_built_by_trusted_publishing() -> None:
    release = loaded(FOLDER / "release.yml")
    assert release[True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 reads `on` as true
    publish = release["jobs"]["publish"]
    assert publish["needs"] == "build"
    assert publish["environment"]["name"] == "pypi"
    assert not any("run" in step for step in publish["steps"])
    assert not any("password" in step.get("with", {}) for step in publish["steps"])


def test_only_a_push_publishes_the_documentation() -> None:
    publish = loaded(FOLDER / "docs.yml")["jobs"]["publish"]
    assert publish["if"] == "github.event_name == 'push'"


def test_the_second_mac_blocks_nothing() -> None:
    job = loaded(FOLDER / "mac.yml")["jobs"]["mps"]
    assert job["continue-on-error"] == "${{ matrix.image == 'macos-26' }}"
    for image in ("macos-15", "macos-26"):
        assert (ROOT / f".github/expected-failures/{image}.toml").is_file()


@pytest.mark.parametrize("text", commands(macos=False))
def test_a_step_runs_here(text: str, tmp_path: Path) -> None:
    """The same text in the same shell; of a step that only calls make, that the target exists."""
    called = re.fullmatch(r"make ([a-z-]+)", text.strip())
    if called is not None:
        assert called[1] in TARGETS
        return
    for name in ("sdbench/__init__.py", "CHANGELOG.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    with (tmp_path / "CHANGELOG.md").open("a", encoding="utf-8") as changelog:
        changelog.write(f"## [{__version__}] - 2026-01-01\n")

    def run(tag: str) -> int:
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", text],
            cwd=tmp_path,
            env={**os.environ, "GITHUB_REF_NAME": tag},
        ).returncode

    assert run(f"v{__version__}") == 0
    assert run("v0.0.0") != 0
    shutil.copy(ROOT / "CHANGELOG.md", tmp_path / "CHANGELOG.md")
    unreleased = f"## [{__version__}]" not in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert (run(f"v{__version__}") != 0) == unreleased


@pytest.mark.parametrize("text", commands(macos=True))
def test_a_step_for_macos_is_sound(text: str) -> None:
    """The shell reads it; verbs, options, files and test folders that it names exist."""
    assert subprocess.run(["bash", "-n", "-c", text]).returncode == 0
    for line in text.replace("\\\n", " ").splitlines():
        words = line.split()
        if words[:1] == ["sdbench"]:
            verb = cli.get_command(None, words[1])  # type: ignore[arg-type]
            assert verb is not None, words[1]
            known = {name for parameter in verb.params for name in parameter.opts}
            end = words.index(">") if ">" in words else len(words)
            options = [word for word in words[2:end] if re.match(r"--?[a-z]", word)]
            assert set(options) <= known, (line, set(options) - known)
        for word in words:
            if re.match(r"(tools|configs|tests)/", word):
                assert (ROOT / word).exists(), word


def test_the_judging_step_runs_here(tmp_path: Path) -> None:
    """The last step of the Mac's job, with the same text, on documents made up here."""
    (text,) = [p.values[0] for p in commands(macos=True) if "expected_failures" in str(p.values[0])]
    found = tmp_path / "found"
    found.mkdir()
    summary = tmp_path / "summary.md"

    def run(image: str) -> int:
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", str(text)],
            cwd=ROOT,
            env={
                **os.environ,
                "PATH": f"{BIN}:{os.environ['PATH']}",
                "FOUND": str(found),
                "EXPECTED": f".github/expected-failures/{image}.toml",
                "GITHUB_STEP_SUMMARY": str(summary),
            },
        ).returncode

    assert run("macos-15") == 1, "nothing was written"
    words = summary.read_text(encoding="utf-8")
    assert "**missing**: doctor" in words and "**missing**: selftest" in words
    (found / "doctor.json").write_text('{"checks": [], "deep": {"probes": {"results": []}}}')
    (found / "selftest.json").write_text('{"lines": [], "not_vouched_for": []}')
    (found / "localise.json").write_text('{"ops": []}')
    (found / "unit-tests.xml").write_text("<testsuites/>")
    for name in ("ci", "quick"):
        (found / f"run-{name}.json").write_text('{"findings": []}')
    assert run("macos-15") == 0
    assert "Nothing failed." in summary.read_text(encoding="utf-8")
    wrong = '{"ops": [{"op": "aten::linear", "beyond": 3}]}'
    (found / "localise.json").write_text(wrong)
    assert run("macos-15") == 1
    assert run("macos-26") == 0, "there it is only recorded"
    assert "**not expected**: `localise/aten::linear`" in summary.read_text(encoding="utf-8")
