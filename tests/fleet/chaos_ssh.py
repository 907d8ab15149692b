"""Hurts a fleet by ssh at random moments, and looks whether every replicate is recorded once.

``python tests/fleet/chaos_ssh.py --seed 1 --times 6`` with stand-ins for the measured processes,
``--real`` with ``synthetic/tiny``. Two hosts are two sshd processes on loopback. On the way
the connections to one are cut, and its worker goes on; those to one are cut, and everything there
is killed; the client is killed, everything on both hosts has to end by itself, and the fleet is
resumed.
"""

import contextlib
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path += [str(Path(__file__).parent), str(Path(__file__).parent.parent / "unit")]

import psutil
from chaos import CONFIG, repeated
from fleet_bench import wait_until
from fleet_sshd import SshFleet, ssh_fleet

HARMS = ("cut", "cut-and-kill", "client")


def hurt(
    fleet: SshFleet, harm: str, chance: random.Random, *, killed: bool
) -> tuple[str, list[str]]:
    """Do one harm now; what was done, and what is wrong after it.

    Where everything on a host was ``killed``, nobody is left there who removes anything: the next
    worker does.
    """
    number = chance.randrange(fleet.machines)
    if harm != "client":
        wait_until(lambda: fleet.worker_process(number), 180)
        there = fleet.processes_of(number)
        cut = fleet.cut(number)
        if harm == "cut":
            return f"{cut} processes of sshd killed, host {number}", []
        for process in there:
            with contextlib.suppress(psutil.Error):
                process.kill()
        return f"{cut} processes of sshd and {len(there)} more killed, host {number}", []
    fleet.kill("client")
    wrong = []
    began = time.monotonic()
    try:
        wait_until(fleet.nothing_runs, 120)
    except TimeoutError:
        wrong.append("120 s after its client a host still has a worker")
    if (left := fleet.leftovers()) and not killed:
        wrong.append(f"after the client was killed there is still {', '.join(left)}")
    fleet.start_client("resume", str(fleet.path))
    return f"client killed, hosts empty after {time.monotonic() - began:.0f} s, resumed", wrong


def go_through(
    folder: Path,
    seed: int,
    *,
    cache: Path,
    real: bool = False,
    say: Callable[[str], None] = print,
) -> list[str]:
    """One fleet with all harms, in random order at random moments; what is wrong afterwards."""
    chance = random.Random(seed)
    with ssh_fleet(SshFleet(folder, slot_s=0.6, cache=cache, real=real)) as fleet:
        config = folder / "chaos.toml"
        config.write_text(CONFIG.format(replicates=4 if real else 16))
        fleet.start_client("run", str(config), "--machines", "2")
        wait_until(lambda: fleet.recorded() >= 1, 300)
        wrong: list[str] = []
        killed = False
        for harm in chance.sample(HARMS, len(HARMS)):
            time.sleep(chance.uniform(0.0, 2.5))
            if not fleet.client_runs():
                say(f"  {harm}: too late, all is done")
                continue
            before = fleet.recorded()
            done, found = hurt(fleet, harm, chance, killed=killed)
            killed = killed or harm == "cut-and-kill"
            say(f"  {done}, {before} recorded before")
            wrong += found
        code = fleet.wait_for_client(600)
        wait_until(fleet.nothing_runs, 60)
        wrong += fleet.broken_promises()
        wrong += [f"left on a host: {path}" for path in fleet.leftovers()]
        say(f"  {len(fleet.planned())} planned, {fleet.recorded()} recorded, exit code {code}")
        if code != 0:
            wrong.append(f"the client ended with {code}: {fleet.log('client')[-1500:]}")
        if "Traceback" in fleet.log("client"):
            wrong.append(f"a traceback: {fleet.log('client')[-3000:]}")
        return wrong


def _turn(folder: Path, seed: int, *, turn: int, **options: Any) -> list[str]:
    return go_through(folder, seed, **options)


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(repeated(__doc__, _turn))
