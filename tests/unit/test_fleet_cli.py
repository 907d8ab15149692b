"""``sdbench fleet``: which machines are meant, and what is asked before anything is installed."""

from pathlib import Path

import pytest
from factories import make_config

from sdbench.cli.fleet_hosts import _agree
from sdbench.cli.fleet_session import way_to
from sdbench.errors import UsageError
from sdbench.fleet.host_setup import Environment, _install_script
from sdbench.fleet.hosts_file import Host

ABSENT = [
    Environment(Host("studio", "a", stack="torch-2.13"), "torch-2.13", "macos-arm64", "uv", 0.9e9),
    Environment(Host("box", "b", stack="torch-2.5"), "torch-2.5", "linux-x86_64", "uv", 5.6e9),
]


def test_machines_are_those_of_a_scheduler_or_of_a_file_and_never_of_both(tmp_path: Path) -> None:
    config, file = make_config(), tmp_path / "hosts.toml"
    with pytest.raises(UsageError, match=r"which machines.*--scheduler ADDRESS.*--hosts FILE"):
        way_to(None, None, None, False, config, yes=False)
    for scheduler, certificates, insecure in (
        ("tls://a:1", None, False),
        (None, tmp_path, False),
        (None, None, True),
    ):
        with pytest.raises(UsageError, match="--hosts makes its own scheduler and keys"):
            way_to(scheduler, file, certificates, insecure, config, yes=False)
    with pytest.raises(UsageError, match="no such file"):
        way_to(None, file, None, False, config, yes=False)


def test_size_is_said_and_nothing_is_installed_unasked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    words = "studio: torch-2.13, about 0.9 GB of disk; box: torch-2.5, about 5.6 GB of disk"
    with pytest.raises(UsageError, match="nobody can be asked here") as raised:
        _agree(ABSENT, yes=False)
    assert raised.value.missing_option == "--yes"
    assert words in str(raised.value)
    assert words in capsys.readouterr().err.replace("\n", " ")
    _agree(ABSENT, yes=True)


@pytest.mark.parametrize("environment", ABSENT, ids=lambda one: one.host.name)
def test_lock_of_the_hosts_own_platform_is_in_what_is_run_there(environment: Environment) -> None:
    script = _install_script(environment)
    assert f"# {environment.stack} on {environment.platform}" in script
    assert script.count("END_OF_LOCK") == 2
    assert "@LOCK@" not in script
