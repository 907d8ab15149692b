"""A fleet by ssh: sshd processes of the test's own on loopback, each of them a host.

A host has a port, a host key, a home folder, a state, a folder for temporary files and a machine id
of its own; all of them let in the key of a client that is made here, too.
"""

import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh
import psutil
import pytest
from fleet_bench import PATHS, Fleet, free_port, wait_until

REQUIRED = "SDBENCH_TEST_SSHD"
"""With the value ``required`` a missing sshd is a failure, not a skipped test."""
_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {own}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
Subsystem sftp internal-sftp
SetEnv {environment}
"""


def sshd_program() -> str:
    """OpenSSH's server; the test is skipped where there is none."""
    found = shutil.which("sshd", path=os.pathsep.join([os.defpath, "/usr/sbin", "/usr/local/sbin"]))
    if found is not None and os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # root's sshd wants it
    if found is None:
        if os.environ.get(REQUIRED) == "required":
            pytest.fail("no sshd is installed")
        pytest.skip("no sshd is installed")
    return found


@dataclass
class SshFleet(Fleet):
    """Hosts behind sshd, and a client that uses them with ``--hosts``."""

    machines: int = 2
    python: str = ""
    hosts_text: str = ""
    """Other lines of the hosts file."""
    known: bool = True
    ports: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.program = sshd_program()
        self.ports = [free_port() for _ in range(self.machines)]
        self.home = self.folder / "home"
        (self.home / ".ssh").mkdir(parents=True)
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(str(self.home / ".ssh" / "id_ed25519"))
        key.write_public_key(str(self.folder / "authorized_keys"))
        known = []
        for number, port in enumerate(self.ports):
            own = self.own(number)
            for name in ("home", "tmp"):
                (own / name).mkdir(parents=True)
            host_key = asyncssh.generate_private_key("ssh-ed25519")
            host_key.write_private_key(str(own / "host_key"))
            (own / "host_key").chmod(0o600)
            known.append(f"[127.0.0.1]:{port} {host_key.export_public_key().decode()}")
        if self.known:
            (self.home / ".ssh" / "known_hosts").write_text("".join(known))
        self.write_hosts()

    def own(self, number: int) -> Path:
        return self.folder / f"host-{number}"

    @property
    def hosts_file(self) -> Path:
        return self.folder / "hosts.toml"

    def write_hosts(self) -> None:
        """The file of ``--hosts``."""
        lines = [self.hosts_text]
        for number, port in enumerate(self.ports):
            lines += [
                "[[host]]",
                f'name = "host-{number}"',
                'host = "127.0.0.1"',
                f"port = {port}",
                f"python = {json.dumps(self.python or sys.executable)}",
            ]
        self.hosts_file.write_text("\n".join(lines) + "\n")

    def start_host(self, number: int) -> None:
        """Its sshd."""
        own = self.own(number)
        environment = {
            "HOME": str(own / "home"),
            "TMPDIR": str(own / "tmp"),
            "SDBENCH_STATE": str(own / "state"),
            "SDBENCH_CACHE": str(self.cache or own / "cache"),
            "FLEET_MACHINE": f"machine-{number}",
            "FLEET_HOST": str(own),
            "FLEET_SLOT_S": str(self.slot_s),
            "DASK_DISTRIBUTED__WORKER__PRELOAD": "fleet_double",
            "PYTHONPATH": os.pathsep.join(PATHS),
            "OPENBLAS_NUM_THREADS": "1",
            **({"FLEET_REAL": "1"} if self.real else {}),
            **self.environment,
        }
        config = own / "sshd_config"
        config.write_text(
            _CONFIG.format(
                port=self.ports[number],
                own=own,
                folder=self.folder,
                environment=" ".join(f"{name}={value}" for name, value in environment.items()),
            )
        )
        self._start(f"sshd-{number}", [self.program, "-D", "-e", "-f", str(config)], {})
        wait_until(lambda: "listening on" in self.log(f"sshd-{number}"), 30)

    def start(self) -> None:
        """The sshd of every host."""
        for number in range(self.machines):
            self.start_host(number)

    def start_client(self, *words: str) -> None:
        """``sdbench fleet WORDS`` with the hosts; the one before has ended."""
        self.run_client(
            *words,
            *("--hosts", str(self.hosts_file), "-o", str(self.results)),
            *("--silent-after", str(self.silent_s), "--patience", "300"),
            environment={
                "HOME": str(self.home),
                "SDBENCH_STATE": str(self.folder / "client-state"),
            },
        )

    def interrupt_client(self) -> None:
        """Press Ctrl-C."""
        self._processes["client"].send_signal(signal.SIGINT)

    def cut(self, number: int) -> int:
        """Kill what sshd has started for the connections to a host; how many it were."""
        cut = 0
        server = psutil.Process(self._processes[f"sshd-{number}"].pid)
        for child in server.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if child.name().startswith("sshd"):
                    child.send_signal(signal.SIGKILL)
                    cut += 1
        return cut

    def processes_of(self, number: int) -> list[psutil.Process]:
        """Whatever runs on a host: its sshd aside, also what is nobody's child any more."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("FLEET_HOST") == str(self.own(number)):
                    found.append(process)
        return found

    def nothing_runs(self) -> bool:
        """Whether every host is empty."""
        return not any(self.processes_of(number) for number in range(self.machines))

    def worker_process(self, number: int) -> psutil.Process | None:
        for process in self.processes_of(number):
            with contextlib.suppress(psutil.Error):
                if "spawn_main" in " ".join(process.cmdline()):
                    return process
        return None

    def leftovers(self) -> list[str]:
        """What a fleet has left on its hosts."""
        return [
            str(path)
            for number in range(self.machines)
            for path in (self.own(number) / "tmp").glob("sdbench-*")
            if path.is_dir()
        ]

    def close(self) -> None:
        super().close()
        for number in range(self.machines):
            for process in self.processes_of(number):
                with contextlib.suppress(psutil.Error):
                    process.kill()


HOSTILE = 'it\'s "$(touch pwned)" `touch pwned`; touch pwned & #'
"""A name that a shell runs as commands, unless it is quoted."""


def hostile_python(folder: Path) -> Path:
    """This Python, below a folder of a hostile name."""
    python = folder / HOSTILE / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return python


@contextlib.contextmanager
def ssh_fleet(fleet: SshFleet) -> Iterator[SshFleet]:
    """Hosts that are there, and end in any case."""
    try:
        fleet.start()
        yield fleet
    finally:
        fleet.close()
