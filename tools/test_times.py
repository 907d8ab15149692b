"""Where the time of the tests goes: `make test-times`.

Sets up an environment from nothing, runs what `make test` runs, and prints how long each part took,
the most expensive tests and fixtures, and the sum of each kind of cost: starting workers, importing
torch, loading models, making images, waiting.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_SHOWN = 40
_PASSES = ("prime", "pass ", "profile")
_REFERENCES = ("image ", "noise floor")


def seconds_of(*command: str, **variables: str) -> float:
    """How long a command takes, which has to succeed."""
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, check=False)
    if done.returncode != 0:
        print(f"(exit code {done.returncode}: {' '.join(command)})", file=sys.stderr)
    return time.monotonic() - began


def costs(log: Path) -> dict[str, float]:
    """Seconds by kind, summed over all processes, from what ``tests/warm/phase_log.py`` noted."""
    entries: dict[int, list[tuple[float, str, object]]] = defaultdict(list)
    for line in log.read_text().splitlines():
        t, pid, word, detail = json.loads(line)
        entries[pid].append((t, word, detail))
    total: dict[str, float] = defaultdict(float)
    for of_process in entries.values():
        of_process.sort(key=lambda entry: entry[0])
        command_line = any(w == "start" and str(d).startswith("-m") for _, w, d in of_process)
        for (t, word, detail), following in zip(of_process, [*of_process[1:], None], strict=True):
            if isinstance(detail, float):
                total["importing the environment" if word == "import" else word] += detail
            if following is None:
                continue
            lasted = following[0] - t
            if word == "start":
                total["the command line" if command_line else "starting workers"] += lasted
            elif word == "phase" and following[1] == "end":
                total["phases that did not end: hung, killed, stopped"] += lasted
            elif word == "phase":
                total[_kind(str(detail))] += lasted
    return total


def _kind(phase: str) -> str:
    if phase.startswith(_PASSES):
        return "passes"
    if phase.startswith(_REFERENCES):
        return "references and noise floors"
    return {
        "load": "loading models",
        "operators": "operators one by one",
        "matrix products": "matrix products",
        "import": "importing the environment, preloads and waiting for them",
        "device": "opening devices",
    }.get(phase, "ends of workers")


def print_table(title: str, rows: list[tuple[float, str]]) -> None:
    """Seconds and what for, most first."""
    print(f"\n{title}")
    for seconds, name in rows:
        print(f"{seconds:8.1f}  {name}")


def main() -> None:
    """Run everything and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-setup", action="store_true", help="leave out the set-up from nothing")
    parser.add_argument("-o", "--output", type=Path, help="keep the tests' seconds as JSON")
    options = parser.parse_args()
    parts: list[tuple[float, str]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if not options.no_setup:
            venv = f"{folder}/venv"
            parts.append((seconds_of("make", f"VENV={venv}", f"{venv}/.test"), "set-up"))
        for target in ("lint", "types"):
            parts.append((seconds_of("make", target), target))
        times, log = folder / "times.json", folder / "phases"
        log.touch()
        watched = {"SDBENCH_TEST_TIMES": str(times), "SDBENCH_TEST_PHASES": str(log)}
        for target in ("tests-together", "tests-alone", "tests-standin"):
            parts.append((seconds_of("make", target, **watched), target))
        tests: dict[str, dict[str, float]] = json.loads(times.read_text())
        print_table("what `make test` does, in seconds", parts)
        by_folder: dict[str, float] = defaultdict(float)
        for name, phases in tests.items():
            by_folder["/".join(name.split("::")[0].split("/")[:2])] += sum(phases.values())
        rows = sorted(((s, n) for n, s in by_folder.items()), reverse=True)
        print_table("tests of a folder, one after the other", rows)
        ranked = sorted(
            (
                (s, f"{when:8} {name}")
                for name, phases in tests.items()
                for when, s in phases.items()
            ),
            reverse=True,
        )
        print_table(f"the {_SHOWN} most expensive tests and fixtures", ranked[:_SHOWN])
        kinds = sorted(((s, n) for n, s in costs(log).items()), reverse=True)
        print_table("what the started processes did, summed over all of them", kinds)
    if options.output:
        options.output.write_text(json.dumps({"parts": parts, "tests": tests, "kinds": kinds}))


if __name__ == "__main__":
    main()
