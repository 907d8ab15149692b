"""Makes a board of many bundles from real ones with varied machines, and times ``board build``.

    python tests/benchmarks/large_board.py BUNDLES OUT [--count 10000] [--cases 30] [--bytes 100000]
    python tests/benchmarks/large_board.py BUNDLES OUT --time [--browser]

BUNDLES is a folder of real bundles. Their rows are the templates: machine, versions, model and
times vary. What is timed is the building and not the verification, whose rate ``board build``
prints by itself: the bundles of OUT/submissions are files of random bytes, and OUT/site knows
their rows as verified before, by the SHA-256 of each. ``--time`` builds three times in processes
of their own: from the files (all are read), again (nothing has changed), and with one real bundle
more, which is verified. It prints seconds and peak memory. ``--browser`` opens the site in the
machine's Chromium and prints when the first rows are seen and when all data are read.
"""

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from sdbench.board.inputs import bundle_bytes, find_inputs, read_bundle
from sdbench.board.rows import ClaimSeen, FaultSeen, Row, Submission
from sdbench.board.site_data import write_data
from sdbench.board.table import in_order
from sdbench.diagnosis.claims import claims_asked
from sdbench.diagnosis.result import ClaimVerdict

_CHIPS = [
    (
        f"Apple M{generation}{kind}",
        cores * factor,
        memories,
        1.0 / (factor * (0.7 + 0.3 * generation)),
    )
    for generation, cores in ((1, 8), (2, 10), (3, 10), (4, 10))
    for kind, factor, memories in (
        ("", 1, (8, 16, 24)),
        (" Pro", 2, (16, 32, 36)),
        (" Max", 4, (32, 64, 128)),
        (" Ultra", 8, (64, 128, 192)),
    )
]
_SYSTEMS = ["macOS 13.6", "macOS 14.5", "macOS 14.7", "macOS 15.1", "macOS 15.6", "macOS 26.1"]
_TORCHES = ["1.13.1", "2.1.2", "2.5.1", "2.7.0", "2.9.1", "2.13.0"]
_DIFFUSERS = ["0.31.0", "0.35.1", "0.42.1"]
_MODELS = [
    *("builtin/shapes", "synthetic/sd15", "synthetic/sdxl"),
    *("stable-diffusion-v1-5/stable-diffusion-v1-5", "stabilityai/stable-diffusion-xl-base-1.0"),
    *("stabilityai/sd-turbo", "black-forest-labs/FLUX.1-schnell", "segmind/tiny-sd"),
]
_BLOCKERS = [[], [], [], [], ["on-battery"], ["other-load"], ["few-processes"], ["throttled"]]


def main() -> None:
    """Make it, or time it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundles", type=Path, help="folder of real bundles")
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=10_000, help="bundles")
    parser.add_argument("--cases", type=int, default=30, help="of a bundle")
    parser.add_argument("--machines", type=int, default=2500)
    parser.add_argument("--bytes", type=int, default=100_000, help="of a bundle's file")
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--browser", action="store_true")
    options = parser.parse_args()
    if not (options.time or options.browser):
        make(options)
    if options.time:
        time_builds(options.bundles, options.out)
    if options.browser:
        time_browser(options.out / "site")


def make(options: argparse.Namespace) -> None:
    """Files of random bytes, and a site that knows their rows as verified."""
    templates = [
        row
        for source in find_inputs([options.bundles])
        for row in read_bundle(bundle_bytes(source), str(source.path)).rows
    ]
    chance = random.Random(23)
    submissions = options.out / "submissions"
    submissions.mkdir(parents=True)
    rows: list[Row] = []
    machines = [_machine(chance, number) for number in range(options.machines)]
    for number in range(options.count):
        data = chance.randbytes(options.bytes)
        folder = submissions / f"{number // 500:03}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number:05}.sdbench.zip").write_bytes(data)
        rows += _rows(chance, templates, machines, data, number, options.cases)
    (options.out / "site").mkdir()
    write_data(options.out / "site", in_order(rows), [], {})
    print(f"{options.count:,} bundles, {len(rows):,} rows, {len(machines):,} machines")


def _machine(chance: random.Random, number: int) -> dict[str, object]:
    chip, cores, memories, speed = chance.choice(_CHIPS)
    return {
        "machine_id": f"m-{number:016x}",
        "chip": chip,
        "gpu_cores": cores,
        "memory_bytes": chance.choice(memories) << 30,
        "speed": speed * chance.lognormvariate(0, 0.05),
    }


def _rows(
    chance: random.Random,
    templates: list[Row],
    machines: list[dict[str, object]],
    data: bytes,
    number: int,
    cases: int,
) -> Iterator[Row]:
    """The rows of a bundle: every case once, times those of its machine."""
    machine = dict(chance.choice(machines))
    speed = machine.pop("speed")
    assert isinstance(speed, float)
    digest = hashlib.sha256(data).hexdigest()
    model = chance.choice(_MODELS)
    base = chance.choice(templates).submission
    run: Submission = msgspec.structs.replace(
        base,
        **machine,
        bundle_sha256=digest,
        measured_sha256=digest[::-1],
        run_id=f"run-{number:05}",
        created_utc=f"2026-{chance.randint(1, 11):02}-{chance.randint(1, 28):02}T12:00:00Z",
        system=chance.choice(_SYSTEMS),
        device="mps",
        virtual=False,
        blockers=chance.choice(_BLOCKERS),
        model=model,
        model_sha256=hashlib.sha256(model.encode()).hexdigest(),
        claims=_claims(chance),
        faults=[FaultSeen("black-output", "error", ["baddbmm-nan"], 2)]
        if chance.random() < 0.05
        else [],
    )
    torch, diffusers = chance.choice(_TORCHES), chance.choice(_DIFFUSERS)
    for at in range(cases):
        row = templates[at % len(templates)]
        factor = speed * chance.lognormvariate(0, 0.03) * (1 + at // len(templates))
        seconds = 4 * (row.seconds_per_image or 1.0) * factor
        yield msgspec.structs.replace(
            row,
            submission=run,
            torch=torch,
            diffusers=diffusers,
            case_id=f"{row.case_id}-{at // len(templates)}",
            seconds_per_image=seconds,
            ci95=(seconds * 0.97, seconds * 1.03),
            n=3,
            peak_memory_bytes=int((row.peak_memory_bytes or 4e9) * chance.uniform(0.95, 1.05)),
            image="wrong" if chance.random() < 0.02 else "right",
        )


def _claims(chance: random.Random) -> list[ClaimSeen]:
    """As many as a run on a Mac has."""
    verdicts: list[ClaimVerdict] = ["confirmed", "refuted", "inconclusive"]
    return [ClaimSeen(id, "current", chance.choice(verdicts)) for id in claims_asked()]


def time_builds(bundles: Path, out: Path) -> None:
    """Three builds in processes of their own; each prints one line of JSON."""
    added = out / "submissions" / "one-more.sdbench.zip"
    added.unlink(missing_ok=True)
    environment = os.environ | {"SDBENCH_CACHE": str(out / "cache")}
    shutil.rmtree(out / "cache", ignore_errors=True)
    for name in ("pages.json", "board.parquet"):
        (out / "site" / "data" / name).unlink(missing_ok=True)
    for what in ("all read, all pages", "nothing new", "one more"):
        if what == "one more":
            smallest = min(bundles.glob("*.sdbench.zip"), key=lambda path: path.stat().st_size)
            shutil.copy(smallest, added)
            time.sleep(2.5)  # so that it does not count as being written just now
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.perf_counter()
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "sdbench",
                "board",
                "build",
                out / "submissions",
                "-o",
                out / "site",
                "--json",
            ],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        wall = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            sys.exit(done.stderr)
        document = json.loads(done.stdout)
        names = ("bundles", "rows", "ranked", "new", "pages", "pages_written", "verification")
        print(
            json.dumps(
                {
                    "what": what,
                    "wall_s": round(wall, 2),
                    "cpu_s": round(
                        after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2
                    ),
                    "peak_bytes": after.ru_maxrss * 1024,
                    "load_1min": round(os.getloadavg()[0], 1),
                }
                | {name: document[name] for name in names}
            ),
            flush=True,
        )


def time_browser(site: Path) -> None:
    """When the first rows of the table are there, and when all data are read."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "browser"))
    from chromium import running

    pieces = json.loads((site / "data" / "board.json").read_text())["pieces"]
    with running() as browser:
        for number in range(5):
            page = browser.new_page()
            started = time.perf_counter()
            page.goto((site / "index.html").resolve().as_uri(), wait_until="commit")
            page.wait_for_selector("tbody tr")
            first = time.perf_counter() - started
            page.wait_for_selector("html[data-shown]")
            usable = time.perf_counter() - started
            painted = page.evaluate(
                "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
            )
            page.wait_for_selector(f'html[data-shown="{pieces}"]', timeout=60_000)
            everything = time.perf_counter() - started
            started = time.perf_counter()
            page.locator('th[data-key="seconds"] button').click()
            page.wait_for_selector("th[aria-sort]")
            sorted_s = time.perf_counter() - started
            started = time.perf_counter()
            page.get_by_label("Search").fill("m4 max sdxl sliced")
            page.wait_for_url("**#*q=*")
            print(
                json.dumps(
                    {
                        "opened": number + 1,
                        "first_rows_s": round(first, 3),
                        "first_contentful_paint_s": painted and round(painted / 1000, 3),
                        "filters_work_s": round(usable, 3),
                        "all_data_s": round(everything, 3),
                        "sorted_s": round(sorted_s, 3),
                        "searched_s": round(time.perf_counter() - started, 3),
                        "load_1min": round(os.getloadavg()[0], 1),
                    }
                ),
                flush=True,
            )
            page.close()


if __name__ == "__main__":
    main()
