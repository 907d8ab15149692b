"""Command lines that read what somebody gave: each verb, in each of its forms."""

from random import Random

SOUND = "0-sound"
"""The run in the same results folder that is as it should be."""
FRAMES = "frames"
"""Not a verb: ``sdbench.load``, which notebooks call."""

RUN, OTHER, RESULTS, CASE = "{run}", "{other}", "{results}", "{case}"
FILE, FOLDER = "{file}", "{folder}"

_REPORTS = ("md", "row", "json", "csv", "junit", "pytest-benchmark")
_AXES = ("arm", "stack", "machine", "batching", "warmup", "dtype", "resolution")
_RUN_LINES: tuple[tuple[str, ...], ...] = (
    ("list", "-o", RESULTS),
    ("list", "-o", RESULTS, "--json"),
    ("history", "-o", RESULTS),
    ("history", "-o", RESULTS, "--json"),
    ("history", CASE, "-o", RESULTS),
    ("show", RUN),
    ("show", RUN, "--all"),
    ("show", RUN, "--json"),
    *[("show", RUN, CASE)] * 2,
    ("show", RUN, CASE, "--json"),
    *[("diagnose", RUN, "--all")] * 2,
    ("diagnose", RUN, "--json"),
    ("compare", RUN, OTHER),
    ("compare", OTHER, RUN, "--json", "--fail-on", "any"),
    ("compare", RUN, RUN, "--junit", "compared.xml", "--fail-on", "wrong"),
    ("compare", RUN, OTHER, "--bisect"),
    *[("compare", RUN, "--by", axis) for axis in _AXES[:4]],
    *[("report", RUN, "-f", kind, "-o", "-") for kind in _REPORTS],
    ("report", RUN, OTHER, "-f", "md", "-o", "-"),
    ("report", RUN, OTHER, "-f", "csv", "-o", "-"),
    ("report", RUN, "-o", "page.md"),
    ("report", RUN, "--share", "-f", "json", "-o", "-"),
    ("report", RUN, "--share", "-o", "shared.md"),
    ("bundle", RUN, "--yes", "-o", "run.sdbench.zip"),
    ("bundle", RUN, "--yes", "--json", "--include", "prompts,pictures", "-o", "run.sdbench.zip"),
    *[("repro", RUN, CASE, "-o", "repro")] * 2,
    ("repro", RUN, CASE, "-o", "repro", "--json"),
    ("resume", RUN),
    ("explain", f"{RUN}/records.jsonl"),
    ("explain", f"{RUN}/run.json", "--json"),
    (FRAMES, RUN),
    ("show", "latest", "-o", RESULTS),
    ("show", "1-giv", "-o", RESULTS),
    ("show", "0", "-o", f"{RESULTS}/none"),
)
_PAGES: tuple[tuple[str, ...], ...] = (
    ("report", RUN),
    ("report", RUN, "--share", "-o", "shared.html"),
    ("report", RUN, OTHER, "-o", "both.html"),
)
_LINES: dict[str, tuple[tuple[str, ...], ...]] = {
    "config": (
        ("run", FILE, "--dry-run"),
        ("run", FILE, "--dry-run", "--json"),
        ("run", FILE, "--dry-run", "--until-decided", "--only", "warmup=true"),
        (
            "run",
            FILE,
            "--dry-run",
            "--set",
            "gate.limit_s=3",
            "--set",
            "steps=x",
            "--set",
            "arm.x=1",
        ),
    ),
    "log": (("explain", FILE), ("explain", FILE, "--json"), ("explain", "-")),
    "picture": (("explain", FILE), ("explain", FILE, "--json"), ("explain", "-")),
    "recording": (
        ("doctor",),
        ("doctor", "--json"),
        ("explain", FILE),
        ("run", "quick", "--dry-run", "--device", "cpu"),
    ),
    "model": (
        ("run", "quick", "--dry-run", "--device", "cpu", "--model", FOLDER),
        ("doctor", "--model", FOLDER),
        ("explain", FILE),
    ),
    "bundle": (("verify", FILE), ("verify", FILE, "--json"), ("verify", FILE, FILE)),
    "site": (
        ("compare", OTHER, "--with", FOLDER),
        ("compare", OTHER, "--with", FOLDER, "--json"),
        ("doctor", "--model", "synthetic/sd15", "--with", FOLDER),
        ("doctor", "--model", "synthetic/sd15", "--with", FOLDER, "--json"),
    ),
    "fleet": (
        ("fleet", "status", FOLDER),
        ("fleet", "status", FOLDER, "--json"),
        ("fleet", "status", "latest", "-o", RESULTS),
        ("fleet", "stop", FOLDER),
        ("fleet", "resume", FOLDER, "--scheduler", "tcp://127.0.0.1:9", "--insecure"),
        ("fleet", "resume", FOLDER, "--scheduler", "tcp://127.0.0.1:9", "--insecure", "--json"),
        ("list", "-o", RESULTS),
        ("list", "-o", RESULTS, "--json"),
        ("show", FOLDER),
        ("show", "latest", "-o", RESULTS),
        ("resume", FOLDER),
        ("report", FOLDER),
        ("report", FOLDER, "--share", "-o", "shared.md"),
        ("report", FOLDER, "-o", "page.md"),
    ),
    "expectations": (
        ("compare", OTHER, OTHER, "--expect", FILE),
        ("compare", OTHER, OTHER, "--expect", FILE, "--json"),
    ),
}


def lines_for(kind: str, random: Random, most: int) -> list[tuple[str, ...]]:
    """Some command lines for a subject of that kind; one in four of a run's is a page."""
    if kind != "run":
        return random.sample(_LINES[kind], min(2, most, len(_LINES[kind])))
    chosen = random.sample(_RUN_LINES, most)
    return [random.choice(_PAGES) if random.random() < 0.15 else line for line in chosen]


def all_lines(kind: str) -> list[tuple[str, ...]]:
    """Every command line for a subject of that kind."""
    return [*dict.fromkeys(_RUN_LINES + _PAGES if kind == "run" else _LINES[kind])]
