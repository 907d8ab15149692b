"""Makes a run folder as large as wanted from a real one, and times the verbs that read it.

    python tests/benchmarks/large_run.py REAL_RUN OUT --records 100000 [--cases 20000] [--time]
    python tests/benchmarks/large_run.py REAL_RUN OUT --records 100000 [--cases 20000] --scaling

The records are the real run's own, for the cases and processes of a larger plan: ``--records``
counts lines, a "started" and a "replicate" for each process. ``--time`` then runs ``show``,
``list``, ``history``, ``report``, ``diagnose`` and ``compare`` in processes of their own and prints
seconds and peak memory. ``--scaling`` does so for a run of a quarter of the size, too, and prints
how many times as long each verb takes for four times as much: well above 4 is a quadratic step.
"""

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from sdbench.plan.order import order_slots
from sdbench.records import Case, PlannedCase, Record, Replicate, Slot, Started
from sdbench.runs import load_run
from sdbench.runs.reading import RECORDS_FILE, RUN_FILE

_SIDES = range(64, 8193, 8)
_QUARTER = 4


def main() -> None:
    """Make it, and time it if asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("real", type=Path)
    parser.add_argument("out", type=Path, help="results folder to put the run into")
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--bytes", type=int, default=3000, help="of a replicate's line, at least")
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--scaling", action="store_true")
    options = parser.parse_args()
    user_s: list[dict[str, float]] = []
    for divisor in (_QUARTER, 1) if options.scaling else (1,):
        records, cases = options.records // divisor, options.cases // divisor
        folder = make(options.real, options.out / f"1-{divisor}", records, cases, options.bytes)
        size = (folder / RECORDS_FILE).stat().st_size
        print(f"{folder}: {records:,} records, {cases:,} cases, {size / 1e6:.0f} MB")
        if options.time or options.scaling:
            user_s.append(time_verbs(folder))
    if options.scaling:
        small, large = user_s
        times = {verb: round(large[verb] / small[verb], 1) for verb in large}
        print(json.dumps({f"times_for_{_QUARTER}_times_as_much": times}))


def make(real: Path, out: Path, records: int, cases: int, line_bytes: int) -> Path:
    """A run of so many cases with so many records."""
    loaded = load_run(real)
    run, blocks = loaded.run, max(1, records // 2 // cases)
    planned = [PlannedCase(case=case) for case in itertools.islice(_cases(), cases)]
    slots = order_slots([one.case_id for one in planned], [run.plan.arms[0].name], blocks, 0)
    plan = msgspec.structs.replace(
        run.plan, cases=planned, arms=run.plan.arms[:1], slots=slots[: records // 2]
    )
    config = run.config | {"replicates": min(blocks, 10_000)}
    run = msgspec.structs.replace(run, plan=plan, run_id=f"large-{records}-{cases}", config=config)
    folder = out / run.run_id
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("images", "latents", "telemetry"):
        if (real / name).is_dir():
            shutil.copytree(real / name, folder / name)
    (folder / RUN_FILE).write_bytes(msgspec.json.encode(run))
    with (folder / RECORDS_FILE).open("wb") as file:
        for record in _records(loaded.replicates, plan.slots, line_bytes):
            file.write(msgspec.json.encode(record) + b"\n")
    return folder


def _cases() -> Iterator[Case]:
    for width, height, sliced in itertools.product(_SIDES, _SIDES, (False, True)):
        yield Case(resolution=f"{width}x{height}", attention_slicing=sliced)


def _records(real: list[Replicate], slots: list[Slot], line_bytes: int) -> Iterator[Record]:
    for number, slot in enumerate(slots):
        one = real[number % len(real)]
        names: dict[str, Any] = {
            "replicate_id": slot.replicate_id,
            "case_id": slot.case_id,
            "arm": slot.arm,
            "block": slot.block,
            "slot": slot.index,
            "attempt": 1,
        }
        yield Started(**names, started_utc=one.started_utc, boot_id="0")
        record = msgspec.structs.replace(one, **names)
        missing = line_bytes - len(msgspec.json.encode(record))
        tail = f"{number} " + "a line that a library wrote\n" * (max(0, missing) // 28)
        yield msgspec.structs.replace(record, stderr_tail=tail)


def time_verbs(folder: Path) -> dict[str, float]:
    """Seconds and peak memory of each verb, in a process of its own; returns the user seconds."""
    user_s: dict[str, float] = {}
    results = str(folder.parent)
    page = folder.parent / "page.html"
    for words in (
        ["show", str(folder)],
        ["list", "-o", results],
        ["list", "-o", results],
        ["history", "-o", results],
        ["report", str(folder), "-o", str(page)],
        ["diagnose", str(folder)],
        ["compare", str(folder), "--by", "attention_slicing"],
    ):
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "sdbench", *words], stdout=subprocess.PIPE, text=True
        )
        output = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        took = time.monotonic() - began
        peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        told = {
            "verb": words[0],
            "exit": os.waitstatus_to_exitcode(status),
            "wall_s": round(took, 1),
            "user_s": round(usage.ru_utime, 1),
            "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
            "peak_mb": round(peak / 1e6),
            "printed": len(output),
        }
        print(json.dumps(told), flush=True)
        user_s[words[0]] = usage.ru_utime
    if page.exists():
        print(json.dumps({"page_mb": round(page.stat().st_size / 1e6, 1)}))
    return user_s


if __name__ == "__main__":
    main()
