"""Fleets as separate processes: Dask's scheduler, workers of ``sdbench fleet worker``, a client."""

from pathlib import Path

import pytest
from chaos import CONFIG, go_through
from conftest import Sdbench
from fleet_bench import Fleet, namespaces_possible, running, wait_until

from sdbench.models import synthetic
from sdbench.models.catalogue import SYNTHETIC
from sdbench.runs import list_runs, load_run

pytestmark = pytest.mark.cold  # the workers are Dask's to start


@pytest.fixture
def tiny(cache: Path) -> Path:
    """The cache with ``synthetic/tiny``."""
    synthetic.ensure(SYNTHETIC["synthetic/tiny"], cache)
    return cache


def write_config(folder: Path, replicates: int = 1) -> str:
    file = folder / "fleet.toml"
    file.write_text(CONFIG.format(replicates=replicates))
    return str(file)


@pytest.mark.long
def test_every_replicate_is_recorded_once_whatever_happens(tiny: Path, tmp_path: Path) -> None:
    """No shared run serves: a worker, the scheduler and the client are killed on the way.

    One test for both seeds: two at the same time would share the addresses of their namespaces.
    ``tests/fleet/chaos.py`` does the same for as many seeds as wanted.
    """
    for seed in (11, 12):
        (folder := tmp_path / str(seed)).mkdir()
        wrong = go_through(
            folder,
            seed,
            mode="every" if seed % 2 else "split",
            cache=tiny,
            namespaces=namespaces_possible(),
        )
        assert wrong == []


@pytest.mark.long
def test_case_that_kills_its_worker_is_a_crashed_row_and_costs_no_other(
    tiny: Path, tmp_path: Path
) -> None:
    """No shared run serves: the supervisor of the measured process dies with it."""
    with running(
        Fleet(tmp_path, machines=2, cache=tiny, environment={"FLEET_KILLING": "128x128-primed"})
    ) as fleet:
        fleet.start()
        fleet.start_client("run", write_config(tmp_path), "--machines", "2")
        assert fleet.wait_for_client(300) == 1
        (path,) = list_runs(fleet.path)
        loaded = load_run(path)
        outcomes = {entry.replicate_id: entry.outcome for entry in loaded.attempts}
        assert len(loaded.attempts) == len(outcomes) == 4
        crashed = [name for name, outcome in outcomes.items() if outcome == "crashed"]
        assert len(crashed) == 1
        assert crashed[0].startswith("128x128-primed")
        assert "killed twice" in str(loaded.attempts[-1].reason)


@pytest.mark.long
def test_fleet_that_measures_for_real_is_as_an_ordinary_run(
    sdbench: Sdbench, tiny: Path, tmp_path: Path
) -> None:
    """No shared run serves: it must have gone through Dask, images included."""
    with running(Fleet(tmp_path, machines=2, cache=tiny, real=True, silent_s=60)) as fleet:
        fleet.start()
        config = tmp_path / "fleet.toml"
        config.write_text(CONFIG.format(replicates=1).replace("budget_s = 0", "budget_s = 600"))
        fleet.start_client("run", str(config), "--mode", "every", "--machines", "2")
        assert fleet.wait_for_client(600) == 0, fleet.log("client")
        assert fleet.broken_promises() == []
        paths = list_runs(fleet.path)
        assert len(paths) == 2
        for path in paths:
            loaded = load_run(path)
            assert loaded.warnings == []
            assert {entry.replicate_id for entry in loaded.compared} == {
                slot.replicate_id for slot in loaded.run.plan.slots
            }
            images = {
                picture.pixels_sha256
                for entry in loaded.attempts
                for one in entry.passes
                for picture in one.images
            }
            assert images == {file.stem for file in (path / "images").glob("*.png")}
            assert loaded.ceilings
            assert {entry.verdict for entry in loaded.compared} == {"match"}
        verbs: tuple[tuple[str | Path, ...], ...] = (
            ("show", paths[0]),
            ("diagnose", paths[0]),
            ("compare", *paths, "--by", "machine"),
            ("report", paths[0], "-f", "md"),
            ("list", "--results", fleet.path),
            ("bundle", paths[0], "--yes", "-o", tmp_path / "bundle.zip"),
            ("fleet", "status", fleet.path),
        )
        for words in verbs:
            done = sdbench(*words)
            # Tests at the same time may disturb the run, which is not called healthy then.
            disturbed = words[0] == "diagnose" and "Disturbed: other programs" in done.stdout
            assert done.returncode == int(disturbed), done.stdout + done.stderr


def test_worker_waits_for_its_scheduler_and_fleet_stops_when_asked(
    sdbench: Sdbench, tiny: Path, tmp_path: Path
) -> None:
    """No shared run serves: it is stopped from outside, while it measures, and resumed."""
    # However long the command that stops it takes to start, no second slot ends before.
    held = tmp_path / "held"
    held.touch()
    environment = {"FLEET_HELD": str(held)}
    with running(Fleet(tmp_path, machines=1, cache=tiny, environment=environment)) as fleet:
        fleet.start_worker(0)
        fleet.start_scheduler()
        fleet.start_client("run", write_config(tmp_path))
        wait_until(lambda: fleet.recorded() >= 1, 120)
        assert sdbench("fleet", "stop", fleet.path).returncode == 0
        assert fleet.wait_for_client(60) == 0
        assert "stopped by sdbench fleet stop" in fleet.log("client")
        assert fleet.recorded() == 1
        held.unlink()
        fleet.start_client("resume", str(fleet.path))
        assert fleet.wait_for_client(120) == 0
        assert fleet.broken_promises() == []
