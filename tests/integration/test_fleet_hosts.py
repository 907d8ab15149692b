"""What is said of hosts before a fleet begins: real ssh, no worker, nothing measured."""

import asyncio
import json
import os
import pwd
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncssh
import pytest
from conftest import Sdbench
from fleet_sshd import SshFleet, hostile_python, ssh_fleet

from sdbench import __version__
from sdbench.errors import UsageError
from sdbench.fleet.host_check import FitHost
from sdbench.fleet.host_setup import Environment
from sdbench.fleet.hosts_file import read_hosts
from sdbench.fleet.ready_hosts import ready_hosts


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshFleet]:
    """Two hosts for all tests of this module."""
    with ssh_fleet(SshFleet(tmp_path_factory.mktemp("hosts"))) as fleet:
        yield fleet


@pytest.fixture
def home(fleet: SshFleet, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The client's home folder, and no agent with keys of its own."""
    monkeypatch.setenv("HOME", str(fleet.home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return fleet.home


def ready(
    text: str, folder: Path, *, needs_torch: bool = False, agreed: bool = True
) -> tuple[list[FitHost], list[str]]:
    """The hosts of a file that are fit, and what was said."""
    said: list[str] = []

    def agree(absent: Sequence[Environment]) -> None:
        said.extend(f"{one.host.name} {one.stack} {one.disk_bytes}" for one in absent)
        if not agreed:
            raise UsageError("not started")

    file = folder / "these.toml"
    file.write_text(text)
    work = ready_hosts(read_hosts(file), needs_torch=needs_torch, agree=agree, say=said.append)
    # In a thread: where a test of this process has opened a browser, Playwright's loop runs in the
    # main thread, and a second one cannot.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result(), said


def host(fleet: SshFleet, **keys: str | int) -> str:
    """A table of the hosts file."""
    lines = {"name": "studio", "host": "127.0.0.1", "port": fleet.ports[0], **keys}
    words = {name: f"'{one}'" if isinstance(one, str) else one for name, one in lines.items()}
    return "[[host]]\n" + "".join(f"{name} = {one}\n" for name, one in words.items())


def test_host_that_has_everything_is_said_to(fleet: SshFleet, home: Path, tmp_path: Path) -> None:
    fit, (said,) = ready(host(fleet, python=sys.executable), tmp_path, needs_torch=True)
    assert [(one.host.name, one.address) for one in fit] == [("studio", "127.0.0.1")]
    for words in ("studio: reached as", "host key known", f"sdbench {__version__}", "torch 2"):
        assert words in said


def test_nothing_of_a_path_is_run_by_the_shell_there(
    fleet: SshFleet, home: Path, tmp_path: Path
) -> None:
    text = "[[host]]\nhost = '127.0.0.1'\nname = 'studio'\n"
    text += f"port = {fleet.ports[0]}\npython = {json.dumps(str(hostile_python(tmp_path)))}\n"
    fit, said = ready(text, tmp_path)
    assert len(fit) == 1, said
    assert not (Path(pwd.getpwuid(os.getuid()).pw_dir) / "pwned").exists()
    assert not [*fleet.folder.rglob("pwned")]
    assert not [*tmp_path.rglob("pwned")]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"port": 1}, "nothing answers on its ssh port"),
        ({"host": "no-such-host.invalid"}, "its name is not known here"),
        ({"python": "/nowhere/python"}, "/nowhere/python does not run there"),
        ({"python": "/bin/ls"}, "/bin/ls does not run there"),
        ({"address": "no-such-host.invalid"}, "does not reach this machine at no-such-host"),
    ],
)
def test_what_keeps_a_host_from_taking_part_is_one_line(
    fleet: SshFleet, home: Path, tmp_path: Path, keys: dict[str, str | int], words: str
) -> None:
    fit, said = ready(host(fleet, **{"python": sys.executable, **keys}), tmp_path)
    assert fit == []
    (line,) = said
    assert line.startswith("studio is left out: ")
    assert words in line
    assert "\n" not in line


def test_python_without_sdbench_gets_the_command_that_installs_it(
    fleet: SshFleet, home: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare" / "bin" / "python"
    bare.parent.mkdir(parents=True)
    bare.write_text(f'#!/bin/sh\nPYTHONPATH= exec "{sys.executable}" -I -S "$@"\n')
    bare.chmod(0o755)
    _, (said,) = ready(host(fleet, python=str(bare)), tmp_path)
    assert "no sdbench in Python 3" in said
    assert f"ssh -p {fleet.ports[0]} 127.0.0.1" in said
    assert f"{bare} -m pip install" in said
    assert f"sdbench[fleet]=={__version__}" in said


def test_host_key_that_is_not_known_or_another_one_is_never_accepted(
    fleet: SshFleet, home: Path, tmp_path: Path
) -> None:
    """Also where the user's own settings of ssh ask for it."""
    (tmp_path / "none").write_text("")
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    (tmp_path / "other").write_text(f"[127.0.0.1]:{fleet.ports[0]} {other}")
    settings = home / ".ssh" / "config"
    settings.write_text("Host *\n  StrictHostKeyChecking no\n  UserKnownHostsFile none\n")
    try:
        for name in ("none", "other"):
            text = f"known_hosts = '{name}'\n" + host(fleet, python=sys.executable)
            fit, (said,) = ready(text, tmp_path)
            assert fit == []
            assert "its host key is not in known_hosts, or is another one" in said
            assert said.endswith(f"ssh -p {fleet.ports[0]} 127.0.0.1")
    finally:
        settings.unlink()


def test_host_that_lets_nobody_in_names_the_next_command(
    fleet: SshFleet, home: Path, tmp_path: Path
) -> None:
    _, (said,) = ready(host(fleet, python=sys.executable, user="nobody-of-this-name"), tmp_path)
    assert "permission denied" in said
    assert f"ssh-copy-id -p {fleet.ports[0]} nobody-of-this-name@127.0.0.1" in said


def test_environment_is_installed_by_uv_once_and_only_if_somebody_agrees(
    fleet: SshFleet, home: Path, tmp_path: Path
) -> None:
    """A stand-in for uv: it makes a Python that has everything, and notes what it was asked."""
    there = fleet.own(0) / "home"
    uv = there / ".local" / "bin" / "uv"
    uv.parent.mkdir(parents=True)
    uv.write_text(
        f"""#!/bin/sh
printf '%s\\n' "$*" >> "$HOME/asked"
[ "$1" = venv ] || exit 0
for folder; do :; done
mkdir -p "$folder/bin"
printf '#!/bin/sh\\nexec "{sys.executable}" "$@"\\n' > "$folder/bin/python"
chmod +x "$folder/bin/python"
"""
    )
    uv.chmod(0o755)
    text = host(fleet, stack="torch-2.13")
    with pytest.raises(UsageError, match="not started"):
        ready(text, tmp_path, agreed=False)
    assert not (there / "asked").exists()
    fit, said = ready(text, tmp_path, needs_torch=True)
    assert "studio torch-2.13 5800000000.0" in said
    assert len(fit) == 1, said
    folder = there / ".cache" / "sdbench-fleet"
    assert [path.name for path in folder.iterdir()] == [f"torch-2.13-{__version__}"]
    asked = (there / "asked").read_text()
    assert "venv --quiet --python 3.11" in asked
    assert f"sdbench[fleet]=={__version__}" in asked
    fit, said = ready(text, tmp_path)
    assert len(fit) == len(said) == 1
    assert (there / "asked").read_text() == asked


@pytest.mark.cold  # no torch is needed
def test_command_ends_with_3_where_no_host_can_take_part_and_with_2_for_a_wrong_file(
    fleet: SshFleet, sdbench: Sdbench, tmp_path: Path
) -> None:
    """A whole command, because exit codes are its own."""
    hosts = tmp_path / "hosts.toml"
    hosts.write_text(host(fleet, port=1))
    done = sdbench("fleet", "run", "quick", "--hosts", hosts, "-o", tmp_path / "results")
    assert done.returncode == 3
    assert "none of 1 host can take part; next: ssh -p 1 127.0.0.1" in done.stderr
    assert not (tmp_path / "results").exists() or not os.listdir(tmp_path / "results")
    hosts.write_text(host(fleet, user="a b"))
    done = sdbench("fleet", "run", "quick", "--hosts", hosts)
    assert done.returncode == 2
    assert "hosts.toml: host[1].user: 'a b': expected a user name" in done.stderr
