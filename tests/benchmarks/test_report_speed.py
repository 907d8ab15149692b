"""What reports of a run of 200 cases by 8 processes cost: under 3 s in all that is not a page."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from measured_runs import kept, measured, one_case, steady

from sdbench.runs import LoadedRun

MATRIX = {
    "resolution": [f"{64 * i}x64" for i in range(1, 26)],
    "attention_slicing": [False, True],
    "warmup": [False, True],
    "dtype": ["float32", "float16"],
}
FORMATS = ["md", "row", "csv", "json", "junit", "pytest-benchmark"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1600 processes, three passes each; nothing is compared with the CPU."""
    import msgspec

    root = tmp_path_factory.mktemp("results")
    loaded = measured(steady(noise=0.02), config=one_case(8, matrix=MATRIX))
    path = kept(root, LoadedRun(loaded.path, loaded.run, [], []))
    lines = [msgspec.json.encode(entry) + b"\n" for entry in loaded.attempts]
    (path / "records.jsonl").write_bytes(b"".join(lines))
    return root


@pytest.mark.benchmark(group="report", min_rounds=3)
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [False, True], ids=["own", "shared"])
def test_report_of_200_cases(
    benchmark: Callable[..., Any], results: Path, kind: str, share: bool
) -> None:
    """The whole program, most of it importing scipy.stats and reading 1600 records."""
    call(benchmark, "report", "latest", "-f", kind, "--results", results, *["--share"] * share)


@pytest.mark.benchmark(group="report", min_rounds=3)
def test_markdown_with_its_pictures(
    benchmark: Callable[..., Any], results: Path, tmp_path: Path
) -> None:
    """Matplotlib and as many figures as there are."""
    out = tmp_path / "report.md"
    call(benchmark, "report", "latest", "-f", "md", "--results", results, "-o", out)


@pytest.mark.benchmark(group="report", min_rounds=3)
def test_show_of_200_cases(benchmark: Callable[..., Any], results: Path) -> None:
    """One screen."""
    call(benchmark, "show", "latest", "-o", results)


def call(benchmark: Callable[..., Any], *arguments: str | Path) -> None:
    command = [sys.executable, "-m", "sdbench", *map(str, arguments)]

    def run() -> None:
        subprocess.run(command, check=True, capture_output=True)

    benchmark(run)
