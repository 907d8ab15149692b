"""What sdbench itself costs: start-up, planning, a record on disk, a tick of the sampler."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from factories import make_run

from sdbench.machine import open_memory_probe
from sdbench.plan.order import make_plan
from sdbench.plan.read_config import load_config
from sdbench.process.sampler import Sampler
from sdbench.records import Started
from sdbench.runs import RunFolder

Benchmark = Callable[..., Any]


@pytest.mark.benchmark(group="start-up")
@pytest.mark.parametrize(
    "arguments",
    [("-c", "import click"), ("-m", "sdbench", "--help"), ("-m", "sdbench", "--version")],
    ids=["import click", "sdbench --help", "sdbench --version"],
)
def test_start_up(benchmark: Benchmark, arguments: tuple[str, ...]) -> None:
    """`sdbench --help` should stay within 1.5 times `import click`."""

    def start() -> None:
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)

    benchmark(start)


@pytest.mark.benchmark(group="plan")
def test_plan_of_the_full_product(benchmark: Benchmark) -> None:
    """Reading the largest shipped configuration and ordering 1000 blocks' worth of slots."""
    benchmark(lambda: make_plan(load_config("full", ["replicates=100"]), "mps"))


@pytest.mark.benchmark(group="store")
def test_append_a_durable_record(benchmark: Benchmark, tmp_path: Path) -> None:
    """Mostly the disk's own fsync."""

    folder = RunFolder.create(tmp_path, make_run())
    record = Started(
        replicate_id="a",
        case_id="a",
        arm="a",
        block=0,
        slot=0,
        attempt=1,
        started_utc="2026-01-01T00:00:00Z",
        boot_id=None,
    )
    benchmark(lambda: folder.append(record))
    folder.close()


@pytest.mark.benchmark(group="sampler")
def test_sampler_tick(benchmark: Benchmark) -> None:
    """At 20 a second a tick may cost 250 µs: half a percent of a core."""
    probe = open_memory_probe()
    sampler = Sampler(probe, os.getpid())
    benchmark(sampler.take)
    probe.close()
