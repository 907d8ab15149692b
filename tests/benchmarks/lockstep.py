"""Two processes make the same passes in turn, until the ratio of their times is known well enough.

Processes that run one after the other see a different machine: here neighbours make a bare loop's
passes wander by a tenth within a minute. A block is one process of each side, loaded at once; their
passes come in turn, in the order ABBA (``turns.py``), while the other side sleeps: its worker waits
for its turn, and whatever watches over that worker is held by SIGSTOP, so that its sampling is paid
for by its own passes alone. A block's ratio is the median over its pairs, the first left out. It
ends when the 95% half-width of the geometric mean over blocks is at most 1%, or after
``--max-blocks``.

What acts from outside the worker alone, as telemetry does, needs no second process: the same one
is watched in one pass and left alone in the next (:func:`compare_watching`), and what differs from
process to process (seen: 4%) cancels too.

Run by itself, this file is one side: a worker as ``sdbench run`` starts it.
"""

import argparse
import contextlib
import json
import math
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from sdbench.models.resolve import find_model
from sdbench.plan.read_config import parse_config
from sdbench.process.environment import worker_environment
from sdbench.process.events import PassEnded
from sdbench.process.executor import Task
from sdbench.process.watch_worker import ProcessExecutor
from sdbench.records import Case

SETTINGS = ("device", "model", "resolution", "dtype", "batching", "steps", "images", "passes")
_MIN_BLOCKS, _MAX_BLOCKS = 5, 40
_HALF_WIDTH = 0.01
_TURN_S = 600.0


@dataclass(frozen=True)
class Side:
    """One of the two: its name in the output, and how its process is started (job appended)."""

    name: str
    argv: list[str]


def sdbench_side(name: str) -> Side:
    """A worker under the real executor, telemetry on."""
    return Side(name, [sys.executable, str(Path(__file__))])


def compare(options: argparse.Namespace, first: Side, second: Side) -> None:
    """Run blocks until the ratio first/second is known, print it as JSON."""

    def block(job: dict[str, Any], folder: Path) -> "_Block":
        ours, theirs = _block(job, (first, second), folder)
        told = [side["telemetry"] for side in (ours, theirs) if side.get("telemetry")]
        return _Block(list(zip(ours["times"], theirs["times"], strict=True)), told)

    _run_blocks(options, (first.name, second.name), block)


def compare_watching(options: argparse.Namespace, side: Side) -> None:
    """As :func:`compare`, of one process: watched over, against its watcher held by SIGSTOP."""

    def block(job: dict[str, Any], folder: Path) -> "_Block":
        (told,) = _block(job | {"passes": 2 * job["passes"]}, (side,), folder)
        times = told["times"]
        pairs = [
            (one, other) if index % 2 == 0 else (other, one)
            for index, (one, other) in enumerate(zip(times[::2], times[1::2], strict=True))
        ]
        return _Block(pairs, [told["telemetry"]])

    _run_blocks(options, (side.name, "held"), block)


@dataclass(frozen=True)
class _Block:
    pairs: list[tuple[float, float]]
    telemetry: list[dict[str, Any]]


def _run_blocks(
    options: argparse.Namespace,
    names: tuple[str, str],
    run_block: Callable[[dict[str, Any], Path], _Block],
) -> None:
    told_to_do = job(options)
    ratios: list[float] = []
    told: list[dict[str, Any]] = []
    while True:
        with tempfile.TemporaryDirectory() as folder:
            block = run_block(told_to_do | {"artifacts": folder}, Path(folder))
        pairs = block.pairs[1:]
        ratios.append(statistics.median(one / other for one, other in pairs))
        told += block.telemetry
        half = _half_width(ratios)
        print(
            f"block {len(ratios)}: ratio {ratios[-1]:.4f} over {len(pairs)} pairs, "
            f"{names[0]} {statistics.median(one for one, _ in pairs):.4f} s, "
            f"{names[1]} {statistics.median(other for _, other in pairs):.4f} s, "
            f"half-width {half:.4f}",
            file=sys.stderr,
            flush=True,
        )
        enough = len(ratios) >= _MIN_BLOCKS and half <= _HALF_WIDTH
        if enough or len(ratios) >= options.max_blocks:
            break
    center = statistics.geometric_mean(ratios)
    document = {
        **{key: getattr(options, key) for key in SETTINGS},
        "ratio_of": "/".join(names),
        "blocks": len(ratios),
        "ratio": center,
        "ci95": [center * math.exp(-half), center * math.exp(half)],
        "half_width": half,
        "telemetry_samples": sum(side["samples"] for side in told),
        "telemetry_slowest_period_s": max((side["period_s"] for side in told), default=None),
    }
    print(json.dumps(document))


def option_parser(description: str | None) -> argparse.ArgumentParser:
    """The options of a case and of the blocks."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda", "mps"])
    parser.add_argument("--model", default="synthetic/tiny")
    parser.add_argument("--resolution", default="256x256")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--batching", default="loop", choices=["loop", "batch"])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--passes", type=int, default=17)
    parser.add_argument("--max-blocks", type=int, default=_MAX_BLOCKS)
    return parser


def job(options: argparse.Namespace) -> dict[str, Any]:
    """What a worker is told to do."""
    config = parse_config(
        {"steps": options.steps, "images": options.images, "passes": options.passes}, "lockstep"
    )
    case = Case(resolution=options.resolution, dtype=options.dtype, batching=options.batching)
    return {
        "device": options.device,
        "model_path": find_model(options.model).prepare().path,
        "scheduler": config.scheduler,
        "steps": config.steps,
        "guidance_scale": config.guidance_scale,
        "seed": config.seed,
        "images": config.images,
        "prompts": list(config.prompts),
        "passes": config.passes,
        "profile": False,
        "count_flops": False,
        "case": msgspec.to_builtins(case) | {"width": case.width, "height": case.height},
    }


def _block(job: dict[str, Any], sides: "tuple[Side, ...]", folder: Path) -> "list[dict[str, Any]]":
    """What each side tells at its end, after a process of each has made its passes in turn.

    One side alone is watched in passes 1, 4, 5, 8, … and left alone in the others.
    """
    address = folder / "turns"
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as started:
        listener.bind(str(address))
        listener.listen(2)
        listener.settimeout(_TURN_S)
        processes = [
            started.enter_context(_running(side, job, str(address), number))
            for number, side in zip("12", sides, strict=False)
        ]
        lines: dict[str, socket.socket] = {}
        while len(lines) < len(sides):
            line = started.enter_context(contextlib.closing(listener.accept()[0]))
            line.settimeout(_TURN_S)
            lines[line.recv(1).decode()] = line
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        for index in range(job["passes"]):
            if len(sides) == 1:
                turns = [(0, index % 4 in (0, 3))]
            else:
                turns = [(0, True), (1, True)][:: 1 if index % 4 in (0, 3) else -1]
            for number, watched in turns:
                if not _give_turn(lines[str(number + 1)], processes[number], watched):
                    raise SystemExit(f"{sides[number].name} died")
        for process in processes:
            process.send_signal(signal.SIGCONT)
        return [_last_words(process) for process in processes]


def _give_turn(line: socket.socket, process: "subprocess.Popen[str]", watched: bool) -> bool:
    """Let one side make one pass, and hold its watcher again; whether it did."""
    if watched:
        process.send_signal(signal.SIGCONT)
    line.sendall(b"g")
    ended = line.recv(1) == b"e"
    process.send_signal(signal.SIGSTOP)
    return ended


@contextlib.contextmanager
def _running(
    side: Side, job: dict[str, Any], address: str, number: str
) -> Iterator["subprocess.Popen[str]"]:
    environment = worker_environment({"SDBENCH_TURNS": address, "SDBENCH_TURNS_NAME": number})
    here = str(Path(__file__).absolute().parent)
    environment["PYTHONPATH"] = os.pathsep.join(
        part for part in (here, environment.get("PYTHONPATH")) if part
    )
    process = subprocess.Popen(
        [*side.argv, json.dumps(job)], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _last_words(process: "subprocess.Popen[str]") -> dict[str, Any]:
    stdout, _ = process.communicate(timeout=_TURN_S)
    told: dict[str, Any] = json.loads(stdout.splitlines()[-1])
    return told


def _half_width(ratios: list[float]) -> float:
    """Half-width of the 95% t interval of the mean log ratio."""
    if len(ratios) < 2:
        return math.inf
    from scipy.special import stdtrit

    logs = [math.log(ratio) for ratio in ratios]
    error = statistics.stdev(logs) / math.sqrt(len(logs))
    return float(stdtrit(len(logs) - 1, 0.975)) * error


def _be_a_side() -> None:
    """Run one worker as ``sdbench run`` does; tell its passes' times and what telemetry saw."""
    job = json.loads(sys.argv[1])
    environment = worker_environment({"SDBENCH_WORKER_PRELOAD": "turns"})
    task = Task("lockstep", sys.executable, environment, job, "spawn", 3600)
    executor = ProcessExecutor()
    report = executor.run(task, lambda event, sample: None)
    executor.close()
    if report.exit_code != 0:
        sys.exit(report.stderr_tail)
    times = [event.duration_s for event in report.events if isinstance(event, PassEnded)]
    print(json.dumps({"times": times, "telemetry": msgspec.to_builtins(report.telemetry)}))


if __name__ == "__main__":
    _be_a_side()
