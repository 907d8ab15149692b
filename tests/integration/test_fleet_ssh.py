"""Fleets by ssh: sshd processes of the test's own on loopback, two of them as two hosts."""

import contextlib
import random
import re
import time
from pathlib import Path

import psutil
import pytest
from chaos import CONFIG
from fleet_bench import wait_until
from fleet_sshd import SshFleet, ssh_fleet

from sdbench.fleet.fleet_file import ask_to_stop
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


def gone(fleet: SshFleet) -> bool:
    """Whether nothing of a fleet runs on its hosts."""
    return not any(fleet.processes_of(number) for number in range(fleet.machines))


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2])
def test_connection_that_is_cut_costs_no_replicate(tiny: Path, tmp_path: Path, seed: int) -> None:
    """No shared run serves: the ssh connections of its hosts are cut on the way.

    One host's worker goes on, the other one's is killed with it and has to be started again.
    """
    chance = random.Random(seed)
    with ssh_fleet(SshFleet(tmp_path, cache=tiny, slot_s=0.6)) as fleet:
        fleet.start_client("run", write_config(tmp_path, 12), "--machines", "2")
        wait_until(lambda: fleet.recorded() >= 2, 180)
        time.sleep(chance.uniform(0, 1))
        alive, killed = chance.sample(range(2), 2)
        assert fleet.cut(alive) > 0
        time.sleep(chance.uniform(0, 1))
        dying = fleet.processes_of(killed)
        assert fleet.cut(killed) > 0
        for process in dying:
            with contextlib.suppress(psutil.Error):
                process.kill()
        assert fleet.wait_for_client(300) == 0, fleet.log("client")
        assert fleet.broken_promises() == []
        assert len(fleet.planned()) == 48
        said = fleet.log("client")
        assert f"host-{alive}: the ssh connection was cut; its worker goes on" in said
        assert f"host-{killed}: the ssh connection was cut" in said
        assert re.search(rf"host-{killed}: .*; connecting again in 2 s", said)
        wait_until(lambda: gone(fleet), 60)
        assert fleet.leftovers() == []


@pytest.mark.long
def test_hosts_end_by_themselves_when_the_client_is_killed_and_resume_goes_on(
    tiny: Path, tmp_path: Path
) -> None:
    """No shared run serves: the process with the scheduler is killed with -9."""
    with ssh_fleet(SshFleet(tmp_path, cache=tiny, slot_s=0.6)) as fleet:
        fleet.start_client("run", write_config(tmp_path, 4), "--mode", "every", "--machines", "2")
        wait_until(lambda: fleet.recorded() >= 2, 180)
        fleet.kill("client")
        wait_until(lambda: gone(fleet), 90)
        assert fleet.leftovers() == []
        fleet.start_client("resume", str(fleet.path))
        assert fleet.wait_for_client(300) == 0, fleet.log("client")
        assert fleet.broken_promises() == []
        assert len(fleet.planned()) == 32
        wait_until(lambda: gone(fleet), 60)
        assert fleet.leftovers() == []


@pytest.mark.long
@pytest.mark.parametrize("way", ["ctrl-c", "stop"])
def test_fleet_that_is_stopped_leaves_nothing_on_its_hosts(
    tiny: Path, tmp_path: Path, way: str
) -> None:
    """No shared run serves: it is stopped while it measures."""
    with ssh_fleet(SshFleet(tmp_path, cache=tiny, slot_s=1.0)) as fleet:
        fleet.start_client("run", write_config(tmp_path, 4))
        wait_until(lambda: fleet.recorded() >= 1, 180)
        if way == "stop":
            ask_to_stop(fleet.path)
        else:
            fleet.interrupt_client()
        assert fleet.wait_for_client(90) == (130 if way == "ctrl-c" else 0), fleet.log("client")
        said = fleet.log("client")
        assert f"--hosts {fleet.hosts_file}" in said.splitlines()[-1]
        assert "Traceback" not in said
        assert gone(fleet)
        assert fleet.leftovers() == []
        (path,) = list_runs(fleet.path)
        assert 1 <= len(load_run(path).attempts) < 16
        fleet.start_client("resume", str(fleet.path))
        assert fleet.wait_for_client(300) == 0, fleet.log("client")
        assert fleet.broken_promises() == []
        assert '"died"' not in (fleet.path / "ledger.jsonl").read_text()
