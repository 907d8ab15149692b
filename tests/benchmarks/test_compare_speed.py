"""What a comparison costs: two runs of 200 cases by 8 processes should take under 3 s in all."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from measured_runs import MATRIX_OF_200, changed, kept, measured, one_case, steady

from sdbench.runs import LoadedRun


@pytest.mark.benchmark(group="compare", min_rounds=3)
def test_compare_two_runs_of_200_cases(benchmark: Callable[..., Any], tmp_path: Path) -> None:
    """The whole program: imports, 3200 records, 200 rows on the screen."""
    for name, seed in (("one", 1), ("two", 2)):
        loaded = measured(steady(noise=0.02, seed=seed), config=one_case(8, matrix=MATRIX_OF_200))
        path = kept(tmp_path, changed(LoadedRun(loaded.path, loaded.run, [], []), run_id=name))
        lines = [msgspec.json.encode(entry) + b"\n" for entry in loaded.attempts]
        (path / "records.jsonl").write_bytes(b"".join(lines))
    command = [sys.executable, "-m", "sdbench", "compare", "one", "two", "-o", str(tmp_path)]

    def compare() -> None:
        subprocess.run(command, check=True, capture_output=True)

    benchmark(compare)
