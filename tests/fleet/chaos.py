"""Hurts a fleet at random moments, and looks whether every replicate was recorded exactly once.

``python tests/fleet/chaos.py --seed 1 --times 18`` with stand-ins for the measured processes,
``--real`` with ``synthetic/tiny``, ``--namespaces`` with a network for each worker. While four
workers measure: one is killed with -9 in mid-slot, one is stopped for a while and goes on, the
scheduler is killed and started again, the client is killed and the fleet is resumed.
"""

import argparse
import contextlib
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path += [str(Path(__file__).parent), str(Path(__file__).parent.parent / "unit")]

from fleet_bench import CONTINUE, STOP, Fleet, running, wait_until

CONFIG = """
name = "chaos"
model = "synthetic/tiny"
device = "cpu"
steps = 2
images = 1
passes = 2
replicates = {replicates}
start = "spawn"
matrix.resolution = ["64x64", "128x128"]
matrix.warmup = [false, true]
guard.min_free_disk_bytes = 0
reference.budget_s = 0
"""
HARMS = ("worker", "pause", "scheduler", "client")


def hurt(fleet: Fleet, harm: str, chance: random.Random, pause_s: float, mode: str) -> str:
    """Do one harm now, and what makes it good where somebody has to; what was done."""
    number = chance.randrange(fleet.machines)
    if harm in ("worker", "pause"):
        wait_until(lambda: fleet.worker_process(number), 120)
        process = fleet.worker_process(number)
        assert process is not None
        if harm == "worker":
            process.kill()
            return f"worker {number} killed"
        process.send_signal(STOP)
        time.sleep(pause_s)
        with contextlib.suppress(Exception):
            process.send_signal(CONTINUE)
        return f"worker {number} stopped for {pause_s:g} s"
    if harm == "scheduler":
        fleet.kill("scheduler")
        time.sleep(chance.uniform(0, 2))
        fleet.start_scheduler()
        return "scheduler killed and started"
    fleet.kill("client")
    time.sleep(chance.uniform(0, 2))
    if list(fleet.results.glob("*/fleet.json")):
        fleet.start_client("resume", str(fleet.path))
        return "client killed, fleet resumed"
    fleet.start_client("run", str(fleet.folder / "chaos.toml"), "--mode", mode, "--machines", "4")
    return "client killed before it had begun"


def go_through(
    folder: Path,
    seed: int,
    *,
    mode: str,
    cache: Path,
    real: bool = False,
    namespaces: bool = False,
    say: Callable[[str], None] = print,
) -> list[str]:
    """One fleet with all harms, in random order at random moments; what is wrong afterwards."""
    chance = random.Random(seed)
    slot_s, pause_s = (5.0, 8.0) if real else (0.6, 4.0)
    replicates = (2 if real else 16) if mode == "split" else (1 if real else 4)
    fleet = Fleet(
        folder, slot_s=slot_s, cache=cache, real=real, namespaces=namespaces, silent_s=2.0
    )
    (folder / "chaos.toml").write_text(CONFIG.format(replicates=replicates))
    with running(fleet):
        fleet.start()
        config = str(folder / "chaos.toml")
        fleet.start_client("run", config, "--mode", mode, "--machines", "4")
        wait_until(lambda: fleet.recorded() >= 1, 300)
        for harm in chance.sample(HARMS, len(HARMS)):
            time.sleep(chance.uniform(0.0, 2.5))
            if not fleet.client_runs():
                say(f"  {harm}: too late, all is done")
                continue
            before = fleet.recorded()
            say(f"  {hurt(fleet, harm, chance, pause_s, mode)}, {before} recorded before")
        code = fleet.wait_for_client(600)
        wrong = fleet.broken_promises()
        say(f"  {len(fleet.planned())} planned, {fleet.recorded()} recorded, exit code {code}")
        if code != 0:
            wrong.append(f"the client ended with {code}: {fleet.log('client')[-1500:]}")
        return wrong


def repeated(description: str | None, through: Callable[..., list[str]], *flags: str) -> int:
    """The command line of both: go through it so many times; 1 if a promise was broken.

    ``through`` takes a folder of its own, the seed, and by name the turn, ``cache``, ``real``,
    ``say`` and each further flag.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--cache", type=Path, help="cache with synthetic/tiny")
    for flag in ("real", *flags):
        parser.add_argument(f"--{flag}", action="store_true")
    wanted = parser.parse_args()
    asked = {flag: getattr(wanted, flag) for flag in ("real", *flags)}
    broken = 0
    with tempfile.TemporaryDirectory(prefix="sdbench-chaos-") as folder:
        cache = wanted.cache or Path(folder) / "cache"
        for turn in range(wanted.times):
            seed = wanted.seed + turn
            print(f"seed {seed}", flush=True)
            own = Path(folder) / f"{seed}"
            own.mkdir()
            began = time.monotonic()
            wrong = through(own, seed, turn=turn, cache=cache, say=_say, **asked)
            print(f"  {time.monotonic() - began:.0f} s, {len(wrong)} wrong", flush=True)
            for line in wrong:
                print(f"  WRONG: {line}", flush=True)
            broken += bool(wrong)
            if wrong:
                shutil.copytree(own, Path(tempfile.gettempdir()) / f"sdbench-chaos-failed-{seed}")
    print(f"{wanted.times} times, {broken} with something wrong", flush=True)
    return int(broken > 0)


def _say(words: str) -> None:
    print(words, flush=True)


def _turn(folder: Path, seed: int, *, turn: int, **options: Any) -> list[str]:
    """One of three turns has every machine do the whole plan."""
    mode = "every" if turn % 3 == 2 else "split"
    _say(f"mode {mode}")
    return go_through(folder, seed, mode=mode, **options)


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(repeated(__doc__, _turn, "namespaces"))
