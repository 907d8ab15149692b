"""A scheduler here and a worker on each host, through Dask's own ssh deployment.

``distributed.deploy.ssh.Worker`` starts and ends the process on a host. It joins its options to a
command line, so all of them are quoted here, or are of characters that need no quotes.
"""

import asyncio
import contextlib
import hashlib
import logging
import re
import shlex
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdbench.errors import UsageError
from sdbench.fleet.certificates import CA_FILE, files_of, make_certificates
from sdbench.fleet.connection import NO_PAGES, Connection, security_of
from sdbench.fleet.host_check import (
    FitHost,
    UnfitHostError,
    connect,
    connect_options,
    load_known_hosts,
    shell_word,
)
from sdbench.fleet.hosts_file import HostsFile
from sdbench.words import shortened

if TYPE_CHECKING:
    from asyncssh import SSHClientConnection, SSHKnownHosts
    from distributed import Scheduler
    from distributed.deploy.ssh import Worker

_NANNY = "sdbench.fleet.serve.nanny_of_host"
_START_S = 120.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 2.0, 60.0
_STEADY_S = 120.0
"""After so long a worker counts as started well, and the pauses begin anew."""
_LOOK_EVERY_S = 1.0
_END_S = 20.0
_CUT = "the ssh connection was cut"
# Read from standard input by the Python there. What an earlier worker of this fleet has left there
# goes, unless that is alive: then it holds the lock.
_MAKE_FOLDER = """
import fcntl, glob, os, shutil, stat, sys, tempfile
prefix = "sdbench-fleet-" + sys.argv[1] + "-"
for old in glob.glob(os.path.join(glob.escape(tempfile.gettempdir()), prefix + "*")):
    try:
        found = os.lstat(old)
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
            with open(os.path.join(old, "lock"), "a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(old, ignore_errors=True)
    except OSError:
        pass
print("\\n" + tempfile.mkdtemp(prefix=prefix))
"""
# It stands between quotes in a command line that Dask makes.
_FOLDER = re.compile(r"/[A-Za-z0-9/._+-]{1,400}")
_PRIVATE = 0o600


@contextlib.asynccontextmanager
async def workers_on(
    hosts: Sequence[FitHost], file: HostsFile, fleet_id: str, say: Callable[[str], None]
) -> AsyncIterator[Connection]:
    """While entered, a scheduler here and a worker on each host, which is started again when it
    ends; afterwards nothing of them is left on the hosts.

    The keys are made for this one time. Yields how to reach the scheduler.

    Raises:
        UnfitHostError: a known_hosts file cannot be read.
        UsageError: the scheduler's port is taken.
    """
    import dask
    from distributed import Scheduler

    known = load_known_hosts(file)
    # What Dask sends to the hosts is its settings here: without the user's own.
    dask.config.refresh(paths=[], env={})
    dask.config.set({"distributed.scheduler.http.routes": []})
    logging.getLogger("asyncssh").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory(prefix="sdbench-fleet-") as folder:
        certificates = Path(folder) / "certificates"
        make_certificates(certificates)
        scheduler = Scheduler(
            host="",
            port=file.port or 0,
            protocol="tls",
            security=security_of(Connection("", certificates)),
            dashboard=False,
            dashboard_address=NO_PAGES,
        )
        try:
            await scheduler
        except (OSError, RuntimeError) as error:
            raise UsageError(f"{file.path}: port: {file.port} cannot be used: {error}") from error
        port = int(scheduler.address.rpartition(":")[2])
        keepers = [
            _Keeper(host, _token(fleet_id, host), known, certificates, scheduler, port, say)
            for host in hosts
        ]
        keeping = [asyncio.create_task(keeper.keep()) for keeper in keepers]
        try:
            yield Connection(f"tls://127.0.0.1:{port}", certificates)
        finally:
            for keeper, task in zip(keepers, keeping, strict=True):
                keeper.ending = True
                task.cancel()
            await asyncio.gather(*keeping, return_exceptions=True)
            await _wait(scheduler.close(reason="the fleet ends"), _END_S)  # ends the workers, too
            await asyncio.gather(*(keeper.end() for keeper in keepers), return_exceptions=True)


class _Keeper:
    """Keeps a worker on one host."""

    def __init__(
        self,
        fit: FitHost,
        token: str,
        known: "SSHKnownHosts",
        certificates: Path,
        scheduler: "Scheduler",
        port: int,
        say: Callable[[str], None],
    ) -> None:
        self._fit, self._host, self._token, self._known = fit, fit.host, token, known
        self._certificates, self._scheduler, self._port = certificates, scheduler, port
        self._say = say
        self._worker: Worker | None = None
        self._folders: list[str] = []
        """What was put there and may still be there."""
        self.ending = False

    async def keep(self) -> None:
        """Have a worker there, until :attr:`ending`."""
        pause_s = _FIRST_PAUSE_S
        while not self.ending:
            began = time.monotonic()
            why = await self._work_once()
            if self.ending:
                return
            if time.monotonic() - began > _STEADY_S:
                pause_s = _FIRST_PAUSE_S
            if self._is_at_work():
                which = "its worker" if why == _CUT else "an earlier worker"
                self._say(f"{self._host.name}: {why}; {which} goes on")
                while self._is_at_work() and not self.ending:
                    await asyncio.sleep(_LOOK_EVERY_S)
                why = "its worker is gone"
            if self.ending:
                return
            self._say(f"{self._host.name}: {why}; connecting again in {pause_s:g} s")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def end(self) -> None:
        """End what is there, and remove what was put there; as far as it can be reached."""
        worker = self._worker
        if worker is not None and worker.proc is not None:
            await _wait(worker.proc.wait_closed(), _END_S)
        await self._close()
        if self._folders:
            await _wait(self._remove_folders(), _END_S)

    async def _work_once(self) -> str:
        """Start a worker and wait until it ends; why it did."""
        import asyncssh

        try:
            worker = await self._start()
            said = await _last_line(worker)
            if worker.proc.exit_status is None:
                return _CUT
            return f"its worker has ended{f': {shortened(said, 200)}' if said else ''}"
        except UnfitHostError as error:
            return str(error)
        except asyncssh.ConnectionLost:
            return _CUT
        except Exception as error:  # whatever Dask or asyncssh says: it is tried again
            return f"no worker there: {shortened(str(error) or type(error).__name__, 200)}"
        finally:
            if not self.ending:
                await self._close()

    async def _start(self) -> "Worker":
        from distributed.deploy.ssh import Worker

        async with await connect(self._host, self._known) as connection:
            # What an earlier worker has left is removed there, unless that worker is alive.
            folder = await self._put_keys(connection)
        address = self._fit.address
        bracketed = f"[{address}]" if ":" in address else address
        worker = self._worker = Worker(
            shlex.quote(f"tls://{bracketed}:{self._port}"),
            self._host.host,
            connect_options(self._host, self._known),
            {"name": self._host.name, "folder": folder},
            worker_class=_NANNY,
            remote_python=shell_word(self._fit.python),
            name=self._host.name,
        )
        try:
            await asyncio.wait_for(worker, _START_S)
        except Exception as error:
            said = "" if worker.proc is None else await _last_line(worker)
            raise UnfitHostError(
                f"its worker did not start: {shortened(said or str(error) or 'no answer', 200)}"
            ) from error
        return worker

    async def _put_keys(self, connection: "SSHClientConnection") -> str:
        """A folder there that only its owner can read, with what a worker needs."""
        import asyncssh

        command = f"{shell_word(self._fit.python)} - {self._token}"
        done = await connection.run(command, input=_MAKE_FOLDER, check=True, timeout=_START_S)
        folder = str(done.stdout or "").strip().rpartition("\n")[2]
        if not _FOLDER.fullmatch(folder):
            raise UnfitHostError(
                f"its folder for temporary files has an unusable name ({folder!r:.100}): set "
                "TMPDIR there"
            )
        self._folders.append(folder)
        attributes = asyncssh.SFTPAttrs(permissions=_PRIVATE)
        async with connection.start_sftp_client() as sftp:
            for path in (self._certificates / CA_FILE, *files_of(self._certificates, "worker")):
                async with sftp.open(f"{folder}/{path.name}", "xb", attributes) as file:
                    await file.write(path.read_bytes())
        return folder

    async def _remove_folders(self) -> None:
        with contextlib.suppress(UnfitHostError):
            async with await connect(self._host, self._known) as connection:
                await _remove(connection, self._folders)

    async def _close(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            with contextlib.suppress(Exception):
                await worker.close()

    def _is_at_work(self) -> bool:
        return self._host.name in self._scheduler.aliases


def _token(fleet_id: str, fit: FitHost) -> str:
    """Names a host of a fleet on that host."""
    return hashlib.sha256(f"{fleet_id}\n{fit.host.name}".encode()).hexdigest()[:16]


async def _last_line(worker: Any) -> str:
    """What the process there said last, once it has ended or the connection is cut."""
    last = ""
    async for line in worker.proc.stderr:
        last = line.strip() or last
    await worker.proc.wait_closed()
    return last


async def _remove(connection: "SSHClientConnection", folders: list[str]) -> None:
    async with connection.start_sftp_client() as sftp:
        for folder in [*folders]:
            await sftp.rmtree(folder, ignore_errors=True)
            folders.remove(folder)


async def _wait(what: Any, limit_s: float) -> None:
    """Wait for something, at most so long, and whatever becomes of it."""
    with contextlib.suppress(Exception):
        await asyncio.wait_for(what, limit_s)
