"""sdbench without torch: the wheel in an environment made from nothing, with the real uv.

Only measuring needs torch. That every module outside the worker can be imported without it, and
that the verbs which read work, cannot be shown in the tests' own environment, which has torch.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sdbench.stacks.uv import find_uv

pytestmark = pytest.mark.long

ROOT = Path(__file__).parent.parent.parent
RUN = ROOT / "results/20261122-155633-default-63bc"
ARMS = ROOT / "results/20261122-155401-torch-1-vs-2-0a65"
HEAVY = {"torch", "diffusers", "transformers", "accelerate", "peft", "triton"}
IMPORT_ALL = """
import importlib, pkgutil, sys, sdbench
found = pkgutil.walk_packages(sdbench.__path__, "sdbench.", onerror=lambda name: None)
names = [m.name for m in found if not m.name.startswith(("sdbench.worker", "sdbench.__main__"))]
for name in names:
    importlib.import_module(name)
print(len(names), "torch" in sys.modules)
"""
PLAN = """
model = "synthetic/tiny"
device = "cpu"
replicates = 1
passes = 1
[[case]]
resolution = "64x64"
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([find_uv(), "build", "--quiet", "--wheel", "-o", folder, ROOT], check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel and what it requires."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([find_uv(), "venv", "--quiet", "--python", sys.executable, folder], check=True)
    subprocess.run([find_uv(), "pip", "install", "--quiet", "--python", folder, wheel], check=True)
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Nothing of the tests' own environment, which has torch."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "VIRTUAL_ENV") and not name.startswith("SDBENCH_")
    }
    folders = {"SDBENCH_CACHE": str(tmp_path / "cache"), "SDBENCH_STATE": str(tmp_path / "state")}
    return {**kept, **folders, "COLUMNS": "200"}


def _call(
    command: list[object], cwd: Path, environment: dict[str, str], text: str | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


def _installed(lines: str) -> set[str]:
    return {re.split(r"[=@ ]", line, maxsplit=1)[0].lower() for line in lines.splitlines()}


def test_environment_has_no_torch(bare: Path) -> None:
    frozen = subprocess.run(
        [find_uv(), "pip", "freeze", "--python", bare], capture_output=True, text=True, check=True
    ).stdout
    installed = _installed(frozen)
    assert "sdbench" in installed and "msgspec" in installed
    assert not installed & HEAVY
    assert not [name for name in installed if name.startswith("nvidia-")]


def test_extra_docs_has_no_torch(wheel: Path, bare: Path) -> None:
    planned = subprocess.run(
        [find_uv(), "pip", "install", "--dry-run", "--python", bare, f"{wheel}[docs]"],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    added = _installed("\n".join(re.findall(r"^ \+ (.*)$", planned, re.MULTILINE)))
    assert "mkdocs-material" in added, planned
    assert not added & HEAVY


def test_every_module_but_the_worker_is_imported(
    bare: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    done = _call([bare / "bin/python", "-I", "-c", IMPORT_ALL], tmp_path, environment)
    assert done.returncode == 0, done.stderr
    count, torch = done.stdout.split()
    assert int(count) > 200 and torch == "False"


READING = {
    "bare": ((), 2, "Typical use"),
    "help": (("--help",), 0, "Typical use"),
    "version": (("--version",), 0, "version"),
    "list": (("list", "--results", RUN.parent), 0, RUN.name),
    "show": (("show", RUN), 0, "512x512"),
    "diagnose": (("diagnose", RUN), 0, "claims"),
    "compare": (("compare", ARMS, "--by", "arm"), 0, "faster"),
    "html": (("report", RUN, "-f", "html", "-o", "-"), 0, "<svg"),
    "md": (("report", RUN, "-f", "md", "-o", "-"), 0, "512x512"),
    "csv": (("report", RUN, "-f", "csv"), 0, "512x512"),
    "json": (("report", RUN, "-f", "json"), 0, RUN.name),
    "junit": (("report", RUN, "-f", "junit"), 0, "<testsuite"),
    "explain picture": (("explain", ROOT / "results/report-page.png"), 0, "1024x900 pixels"),
    "models": (("models",), 0, "synthetic/tiny"),
    "stacks": (("stacks", "list"), 0, "without torch, diffusers, transformers"),
}


@pytest.mark.parametrize("name", READING)
def test_verbs_that_read(
    bare: Path, environment: dict[str, str], tmp_path: Path, name: str
) -> None:
    arguments, code, words = READING[name]
    done = _call([bare / "bin/sdbench", *arguments], tmp_path, environment)
    assert done.returncode == code, done.stderr
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_explain_reads_a_text(bare: Path, environment: dict[str, str], tmp_path: Path) -> None:
    text = "RuntimeError: MPS backend out of memory"
    done = _call([bare / "bin/sdbench", "explain"], tmp_path, environment, text)
    assert done.returncode == 0 and "MPS backend out of memory" in done.stdout


@pytest.mark.parametrize("verb", [("run", "quick"), ("run", "quick", "--dry-run"), ("localise",)])
def test_verbs_that_measure_name_what_is_missing(
    bare: Path, environment: dict[str, str], tmp_path: Path, verb: tuple[str, ...]
) -> None:
    done = _call([bare / "bin/sdbench", *verb], tmp_path, environment)
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert "torch, diffusers, transformers not installed" in line and "sdbench doctor" in line


def test_doctor_names_what_is_missing_and_how_to_get_it(
    bare: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    done = _call([bare / "bin/sdbench", "doctor", "--json"], tmp_path, environment)
    assert done.returncode == 1, done.stderr
    row = {row["id"]: row for row in json.loads(done.stdout)["checks"]}["torch-version"]
    assert (row["status"], row["found"]) == ("fail", "torch is not installed")
    assert row["remedy"].startswith(f"uv pip install --python {bare}") and "torch" in row["remedy"]


def test_doctor_of_uvx_installs_nothing_into_its_cache(
    wheel: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    command = [find_uv(), "tool", "run", "--quiet", "--from", wheel, "sdbench", "doctor", "--json"]
    done = _call([*command], tmp_path, environment)
    assert done.returncode == 1, done.stderr
    row = {row["id"]: row for row in json.loads(done.stdout)["checks"]}["torch-version"]
    assert row["remedy"].startswith("uv venv --python 3.12 .venv-sd && ")


def test_another_environment_is_measured(
    bare: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """No shared run serves this: the parent must be without torch, the worker with it."""
    (tmp_path / "plan.toml").write_text(PLAN)
    run = ("run", "plan.toml", "--stack", sys.executable, "--json")
    done = _call([bare / "bin/sdbench", *run], tmp_path, environment)
    assert done.returncode == 0, done.stderr
    (case,) = json.loads(done.stdout)["cases"]
    assert case["outcome"] == "ok"
