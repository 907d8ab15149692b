"""Two processes make the same passes in turn, until the ratio of their times is known well enough.

Processes that run one after the other see a different machine: here neighbours make a bare loop's
passes wander by a tenth within a minute. A block is one process of each side, loaded at once; their
passes come in turn, in the order ABBA (``turns.py``), while the other side sleeps: its worker waits
for its turn, and whatever watches over that worker is held by SIGSTOP, so that its sampling is paid
for by its own passes alone. A block's ratio is the median over its pairs, the first left out. It
ends when the 95% half-width of the geometric mean over blocks is at most 1%, or after
``--max-blocks``.

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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from sdbench.config import parse_config
from sdbench.models.resolve import find_model
from sdbench.runner.environment import worker_environment
from sdbench.runner.events import PassEnded
from sdbench.runner.executor import Task
from sdbench.runner.process import ProcessExecutor
from sdbench.schema import Case

_SETTINGS = ("device", "model", "resolution", "dtype", "batching", "steps", "images", "passes")
_MIN_BLOCKS, _MAX_BLOCKS = 5, 40
_HALF_WIDTH = 0.01
_TURN_S = 600.0


@dataclass(frozen=True)
class Side:
    """One of the two: its name in the output, and how its process is started (job appended)."""

    name: str
    argv: list[str]


def sdbench_side(name: str, *, telemetry: bool) -> Side:
    """A worker under the real executor."""
    switch = "--telemetry" if telemetry else "--no-telemetry"
    return Side(name, [sys.executable, str(Path(__file__)), switch])


def compare(description: str | None, first: Side, second: Side) -> None:
    """Read the command line, run blocks until the ratio first/second is known, print it as JSON."""
    options = _options(description)
    job = _job(options)
    ratios: list[float] = []
    told: list[dict[str, Any]] = []
    while True:
        with tempfile.TemporaryDirectory() as folder:
            ours, theirs = _block(job | {"artifacts": folder}, (first, second), Path(folder))
        pairs = list(zip(ours["times"][1:], theirs["times"][1:], strict=True))
        ratios.append(statistics.median(one / other for one, other in pairs))
        told += [side["telemetry"] for side in (ours, theirs) if side.get("telemetry")]
        half = _half_width(ratios)
        print(
            f"block {len(ratios)}: ratio {ratios[-1]:.4f} over {len(pairs)} pairs, "
            f"{first.name} {statistics.median(one for one, _ in pairs):.4f} s, "
            f"{second.name} {statistics.median(other for _, other in pairs):.4f} s, "
            f"half-width {half:.4f}",
            file=sys.stderr,
            flush=True,
        )
        enough = len(ratios) >= _MIN_BLOCKS and half <= _HALF_WIDTH
        if enough or len(ratios) >= options.max_blocks:
            break
    center = statistics.geometric_mean(ratios)
    document = {
        **{key: getattr(options, key) for key in _SETTINGS},
        "ratio_of": f"{first.name}/{second.name}",
        "blocks": len(ratios),
        "ratio": center,
        "ci95": [center * math.exp(-half), center * math.exp(half)],
        "half_width": half,
        "telemetry_samples": sum(side["samples"] for side in told),
        "telemetry_slowest_period_s": max((side["period_s"] for side in told), default=None),
    }
    print(json.dumps(document))


def _options(description: str | None) -> argparse.Namespace:
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
    return parser.parse_args()


def _job(options: argparse.Namespace) -> dict[str, Any]:
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
        "case": msgspec.to_builtins(case) | {"width": case.width, "height": case.height},
    }


def _block(
    job: dict[str, Any], sides: tuple[Side, Side], folder: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What each side tells at its end, after a process of each has made its passes in turn."""
    address = folder / "turns"
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as started:
        listener.bind(str(address))
        listener.listen(2)
        listener.settimeout(_TURN_S)
        first, second = (
            started.enter_context(_running(side, job, str(address), number))
            for number, side in zip("12", sides, strict=True)
        )
        lines: dict[str, socket.socket] = {}
        while len(lines) < 2:
            line = started.enter_context(contextlib.closing(listener.accept()[0]))
            line.settimeout(_TURN_S)
            lines[line.recv(1).decode()] = line
        for process in (first, second):
            process.send_signal(signal.SIGSTOP)
        for index in range(job["passes"]):
            order = ("1", "2") if index % 4 in (0, 3) else ("2", "1")
            for number in order:
                if not _give_turn(lines[number], first if number == "1" else second):
                    raise SystemExit(f"{sides[int(number) - 1].name} died")
        for process in (first, second):
            process.send_signal(signal.SIGCONT)
        return _last_words(first), _last_words(second)


def _give_turn(line: socket.socket, process: "subprocess.Popen[str]") -> bool:
    """Let one side make one pass, and hold it again; whether it did."""
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
    here = str(Path(__file__).parent)
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
    telemetry, job = sys.argv[1] == "--telemetry", json.loads(sys.argv[2])
    environment = worker_environment({"SDBENCH_WORKER_PRELOAD": "turns"})
    task = Task("lockstep", sys.executable, environment, job, "spawn", 3600, telemetry)
    executor = ProcessExecutor()
    report = executor.run(task, lambda event, sample: None)
    executor.close()
    if report.exit_code != 0:
        sys.exit(report.stderr_tail)
    times = [event.duration_s for event in report.events if isinstance(event, PassEnded)]
    print(json.dumps({"times": times, "telemetry": msgspec.to_builtins(report.telemetry)}))


if __name__ == "__main__":
    _be_a_side()
