"""A fleet as separate processes: a scheduler, workers and a client, and ways to hurt them.

Every worker is a machine of its own: it has a name, a state, a cache and a folder for temporary
files of its own (:mod:`fleet_double`). With ``namespaces`` it also has a network of its own.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from sdbench.fleet.certificates import make_certificates
from sdbench.records import Replicate
from sdbench.runs import list_runs, load_run

TESTS = Path(__file__).resolve().parent.parent
PATHS = [str(TESTS / "fleet"), str(TESTS / "unit")]
_BRIDGE, _NETWORK = "sdbench-br", "10.213.7"


@dataclass
class Fleet:
    """The processes of a fleet; all of them end with it."""

    folder: Path
    machines: int = 4
    slot_s: float = 0.4
    cache: Path | None = None
    """A cache with the models; None: each worker has its own."""
    real: bool = False
    namespaces: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    silent_s: float = 2.0
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _clients: int = 0

    def __post_init__(self) -> None:
        self.port = free_port()
        self.host = f"{_NETWORK}.1" if self.namespaces else "127.0.0.1"
        self.certificates = self.folder / "certificates"
        self.results = self.folder / "results"
        self.folder.mkdir(parents=True, exist_ok=True)
        make_certificates(self.certificates)
        if self.namespaces:
            _make_bridge()

    @property
    def address(self) -> str:
        return f"tls://{self.host}:{self.port}"

    def start(self) -> None:
        """The scheduler and all workers."""
        self.start_scheduler()
        for number in range(self.machines):
            self.start_worker(number)

    def start_scheduler(self) -> None:
        certificates = self.certificates
        self._start(
            "scheduler",
            [
                *(sys.executable, "-m", "distributed.cli.dask_scheduler"),
                *("--host", self.host, "--port", str(self.port), "--protocol", "tls"),
                *("--no-dashboard", "--no-show"),
                *("--tls-ca-file", str(certificates / "ca.pem")),
                *("--tls-cert", str(certificates / "scheduler.pem")),
                *("--tls-key", str(certificates / "scheduler-key.pem")),
            ],
            {},
        )

    def start_worker(self, number: int) -> None:
        own = self.folder / f"machine-{number}"
        (own / "tmp").mkdir(parents=True, exist_ok=True)
        command = [
            *(sys.executable, "-m", "sdbench", "fleet", "worker", self.address),
            *("--certificates", str(self.certificates), "--name", f"machine-{number}"),
        ]
        if self.namespaces:
            command = ["ip", "netns", "exec", _make_namespace(number), *command]
        self._start(
            f"worker-{number}",
            command,
            {
                "DASK_DISTRIBUTED__WORKER__PRELOAD": '["fleet_double"]',
                "FLEET_MACHINE": f"machine-{number}",
                "FLEET_SLOT_S": str(self.slot_s),
                "SDBENCH_STATE": str(own / "state"),
                "SDBENCH_CACHE": str(self.cache or own / "cache"),
                "TMPDIR": str(own / "tmp"),
                **({"FLEET_REAL": "1"} if self.real else {}),
                **self.environment,
            },
        )

    def start_client(self, *words: str) -> None:
        """``sdbench fleet WORDS`` with the scheduler's address; the one before has ended."""
        self.run_client(
            *words,
            *("--scheduler", self.address, "--certificates", str(self.certificates)),
            *("-o", str(self.results), "--silent-after", str(self.silent_s)),
            *("--patience", "300"),
            environment={"SDBENCH_STATE": str(self.folder / "client-state")},
        )

    def run_client(self, *words: str, environment: dict[str, str]) -> None:
        """``sdbench fleet WORDS``."""
        self._clients += 1
        command = [sys.executable, "-m", "sdbench", "fleet", *words]
        self._start("client", command, environment)

    def wait_for_client(self, limit_s: float) -> int:
        """Its exit code."""
        return self._processes["client"].wait(limit_s)

    def client_runs(self) -> bool:
        return self._processes["client"].poll() is None

    def kill(self, name: str) -> None:
        """Kill one of the started processes, and nothing else, with -9."""
        self._processes[name].kill()
        self._processes[name].wait()

    def worker_process(self, number: int) -> psutil.Process | None:
        """The process in which a worker's slots run: a child of what was started; None: not now."""
        with contextlib.suppress(psutil.Error):
            supervisor = psutil.Process(self._processes[f"worker-{number}"].pid)
            for child in supervisor.children(recursive=True):
                if "spawn_main" in " ".join(child.cmdline()):
                    return child
        return None

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    @property
    def path(self) -> Path:
        """The fleet's folder."""
        return next(path.parent for path in self.results.glob("*/fleet.json"))

    def recorded(self) -> int:
        """How many replicate lines there are."""
        with contextlib.suppress(StopIteration):
            return sum(self.replicate_lines().values())
        return 0

    def replicate_lines(self) -> Counter[str]:
        """Replicate lines below the fleet folder by run and id, in whatever file."""
        found: Counter[str] = Counter()
        for file in self.path.rglob("records.jsonl"):
            for line in file.read_bytes().splitlines():
                with contextlib.suppress(ValueError):
                    record = json.loads(line)
                    if record["type"] == "replicate":
                        found[f"{record['run_id']} {record['replicate_id']}"] += 1
        return found

    def replicates(self) -> list[Replicate]:
        return [one for path in list_runs(self.path) for one in load_run(path).attempts]

    def planned(self) -> set[str]:
        """What must be recorded, as :meth:`replicate_lines` names it."""
        return {
            f"{run.run_id} {slot.replicate_id}"
            for run in (load_run(path).run for path in list_runs(self.path))
            for slot in run.plan.slots
        }

    def broken_promises(self) -> list[str]:
        """What is wrong: every replicate of the plan is recorded exactly once, as a good one."""
        lines, planned = self.replicate_lines(), self.planned()
        wrong = [f"{name} is recorded {count} times" for name, count in lines.items() if count != 1]
        wrong += [f"{name} is not recorded" for name in sorted(planned - lines.keys())]
        wrong += [f"{name} is not planned" for name in sorted(lines.keys() - planned)]
        wrong += [
            f"{one.replicate_id}: {one.outcome}: {one.reason}"
            for one in self.replicates()
            if one.outcome != "ok"
        ]
        return wrong

    def close(self) -> None:
        """End everything that was started, supervisors with their workers."""
        for process in self._processes.values():
            family = []
            with contextlib.suppress(psutil.Error):
                family = psutil.Process(process.pid).children(recursive=True)
            for child in family:
                with contextlib.suppress(psutil.Error):
                    child.kill()
            process.kill()
            process.wait()
        if self.namespaces:
            for number in range(self.machines):
                _remove_namespace(number)
            subprocess.run(["ip", "link", "del", _BRIDGE], check=False, capture_output=True)

    def _start(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        with open(self.folder / f"{name}.log", "ab") as log:
            self._processes[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(PATHS),
                    "SDBENCH_CACHE": str(self.cache or self.folder / "cache"),
                    **environment,
                },
                start_new_session=True,
            )


@contextlib.contextmanager
def running(fleet: Fleet) -> Iterator[Fleet]:
    """A fleet whose processes end in any case."""
    try:
        yield fleet
    finally:
        fleet.close()


def namespaces_possible() -> bool:
    """Whether this machine lets us make networks."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        return False
    made = subprocess.run(["ip", "netns", "add", "sdbench-try"], check=False, capture_output=True)
    subprocess.run(["ip", "netns", "del", "sdbench-try"], check=False, capture_output=True)
    return made.returncode == 0


def _make_bridge() -> None:
    subprocess.run(["ip", "link", "del", _BRIDGE], check=False, capture_output=True)
    for words in (
        ("link", "add", _BRIDGE, "type", "bridge"),
        ("addr", "add", f"{_NETWORK}.1/24", "dev", _BRIDGE),
        ("link", "set", _BRIDGE, "up"),
    ):
        subprocess.run(["ip", *words], check=True)


def _make_namespace(number: int) -> str:
    name, inner, outer = f"sdbench-{number}", f"sdb{number}i", f"sdb{number}o"
    if Path(f"/run/netns/{name}").exists():
        return name
    for words in (
        ("netns", "add", name),
        ("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", name),
        ("link", "set", outer, "master", _BRIDGE, "up"),
        ("-n", name, "addr", "add", f"{_NETWORK}.{number + 10}/24", "dev", inner),
        ("-n", name, "link", "set", inner, "up"),
        ("-n", name, "link", "set", "lo", "up"),
    ):
        subprocess.run(["ip", *words], check=True)
    return name


def _remove_namespace(number: int) -> None:
    subprocess.run(["ip", "netns", "del", f"sdbench-{number}"], check=False, capture_output=True)


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def wait_until(holds: "object", limit_s: float) -> None:
    """Wait until a function says yes.

    Raises:
        TimeoutError: it did not in time.
    """
    assert callable(holds)
    until = time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(0.1)


STOP, CONTINUE = signal.SIGSTOP, signal.SIGCONT
