"""Fleets by ssh: sshd processes of the test's own on loopback, two of them as two hosts."""

import os
import pwd
from pathlib import Path

import pytest
from chaos import CONFIG
from chaos_ssh import go_through
from fleet_bench import wait_until
from fleet_sshd import SshFleet, hostile_python, ssh_fleet

from sdbench.models import synthetic
from sdbench.models.catalogue import SYNTHETIC
from sdbench.runs import list_runs, load_run

pytestmark = pytest.mark.cold  # the workers are Dask's to start


@pytest.fixture
def tiny(cache: Path) -> Path:
    """The cache with ``synthetic/tiny``."""
    synthetic.ensure(SYNTHETIC["synthetic/tiny"], cache)
    return cache


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2])
def test_every_replicate_is_recorded_once_whatever_is_cut(
    tiny: Path, tmp_path: Path, seed: int
) -> None:
    """No shared run serves: ssh connections, hosts and client are hurt on the way.

    ``tests/fleet/chaos_ssh.py`` does the same for as many seeds as wanted.
    """
    assert go_through(tmp_path, seed, cache=tiny) == []
    said = (tmp_path / "client.log").read_text()
    assert "the ssh connection was cut" in said


@pytest.mark.long
def test_fleet_that_is_stopped_leaves_nothing_on_its_hosts(tiny: Path, tmp_path: Path) -> None:
    """No shared run serves: it is stopped with Ctrl-C while it measures, and resumed.

    The path of its Python is one that a shell would take apart.
    """
    python = str(hostile_python(tmp_path))
    with ssh_fleet(SshFleet(tmp_path, cache=tiny, slot_s=1.0, python=python)) as fleet:
        config = tmp_path / "fleet.toml"
        config.write_text(CONFIG.format(replicates=4))
        fleet.start_client("run", str(config))
        wait_until(lambda: fleet.recorded() >= 1, 180)
        fleet.interrupt_client()
        assert fleet.wait_for_client(90) == 130, fleet.log("client")
        said = fleet.log("client")
        assert f"--hosts {fleet.hosts_file}" in said.splitlines()[-1]
        assert "Traceback" not in said
        assert fleet.nothing_runs()
        assert fleet.leftovers() == []
        (path,) = list_runs(fleet.path)
        assert 1 <= len(load_run(path).attempts) < 16
        fleet.start_client("resume", str(fleet.path))
        assert fleet.wait_for_client(300) == 0, fleet.log("client")
        assert fleet.broken_promises() == []
        assert not (Path(pwd.getpwuid(os.getuid()).pw_dir) / "pwned").exists()
        assert '"died"' not in (fleet.path / "ledger.jsonl").read_text()
