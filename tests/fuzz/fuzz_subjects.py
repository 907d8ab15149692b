"""Sound inputs to be changed: run folders, configurations, logs, images, recordings, models."""

import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import board_factories
import msgspec
from factories import UTC, make_picture, make_replicate, make_started
from fuzz_bundles import bundle_subjects
from fuzz_fleets import fleet_subjects
from fuzz_mutations import Subject
from fuzz_pictures import stranger
from fuzz_trees import Tree, read_tree
from measured_runs import ended_as, kept, measured, one_case
from pictured_runs import pictured
from quality_factories import keep_trace, latents_of, smooth_picture
from recordings import RECORDINGS, folder_system
from told_runs import stages, told_run

from sdbench.board.site_data import encode_site
from sdbench.board.table import in_order
from sdbench.records import (
    CrashReport,
    FailureCause,
    Frame,
    InterimAnalysis,
    InterimCase,
    MatmulRate,
    Preflight,
    Record,
    Slot,
    Withdrawn,
)
from sdbench.runs import LoadedRun

MARKER = "outsidemarker"
"""What stands only in files that are not the run's own."""
_DATA = Path(__file__).parents[1] / "data"
_CONFIGS = Path(__file__).parents[2] / "configs"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SHORT = 6000
_CONSOLE = b"""Process:               python3.11 [4711]
Code Type:             X86-64 (Translated)
OS Version:            macOS 14.1 (23B74)
Exception Type:        EXC_CRASH (SIGABRT)
Termination Reason:    Namespace SIGNAL, Code 6 Abort trap: 6
Application Specific Information:
abort() called
failed assertion `x'

Thread 0 Crashed:: Dispatch queue: com.apple.main-thread
0   libsystem_kernel.dylib        \t0x18f0d8724 __pthread_kill + 8
1   libtorch_cpu.dylib            \t0x106b1c4a4 at::mps::run() + 120
2   ???                           \t0x1 0x0 + 1
"""


def all_subjects() -> list[Subject]:
    """Every sound input; takes a second."""
    with tempfile.TemporaryDirectory() as folder:
        return [
            *_runs(Path(folder)),
            *_configs(),
            *_logs(),
            *_pictures(),
            *_recordings(),
            *_models(Path(folder)),
            *_expectations(),
            *_sites(),
            *fleet_subjects(),
            *bundle_subjects(),
        ]


def outside_of(subject: Subject) -> Tree:
    """What lies outside a run and looks like it, for links to lead to."""
    files = {name: data for name, data in subject.tree.items() if isinstance(data, bytes)}
    if "run.json" in files:
        run = json.loads(files["run.json"])
        files["run.json"] = json.dumps({**run, "label": MARKER}).encode()
        records = [json.loads(line) for line in files["records.jsonl"].splitlines()]
        marked = [{**one, "reason": MARKER} if "outcome" in one else one for one in records]
        files["records.jsonl"] = b"".join(json.dumps(one).encode() + b"\n" for one in marked)
    for name in files:
        if name == "ledger.jsonl":
            files[name] = files[name].replace(b'"title":"', f'"title":"{MARKER}'.encode())
        elif name.startswith("telemetry/"):
            files[name] = files[name].replace(b'"pass 1"', f'"{MARKER}"'.encode())
        elif name.endswith(".png"):
            files[name] = stranger()
    return files


# --- runs -----------------------------------------------------------------------------------------


def _runs(folder: Path) -> list[Subject]:
    makers: dict[str, Callable[[Path], tuple[LoadedRun, list[Record]]]] = {
        "told": _told,
        "pictured": _pictured,
        "failed": _failed,
        "arms": _arms,
        "small": _small,
    }
    trees = {}
    for number, (name, make) in enumerate(makers.items()):
        files = folder / name
        loaded, more = make(files)
        run = msgspec.structs.replace(loaded.run, run_id=f"2026010{number}-{name}")
        own = LoadedRun(files, run, loaded.started, loaded.attempts, comparisons=loaded.comparisons)
        root = kept(folder / "results", own)
        with (root / "records.jsonl").open("ab") as file:
            file.writelines(msgspec.json.encode(record) + b"\n" for record in more)
        (root / ".lock").unlink(missing_ok=True)
        trees[name] = read_tree(root) | (read_tree(files) if files.is_dir() else {})
    return [
        Subject(
            "run",
            name,
            tree,
            others={
                f"{other}/{file}": trees[other][file]
                for other in trees
                if other != name
                for file in ("run.json", "records.jsonl")
            },
            digests=tuple(sorted({found for file in tree for found in _DIGEST.findall(file)})),
        )
        for name, tree in trees.items()
    ]


def _told(files: Path) -> tuple[LoadedRun, list[Record]]:
    return told_run(files, replicates=2), _about_the_run("mps")


def _about_the_run(device: Any, case_id: str = "64x64-15a420") -> list[Record]:
    looked = InterimCase(
        case_id=case_id,
        arm=None,
        base="old",
        new="new",
        ratio=1.1,
        verdict="slower",
        reason=None,
        open=False,
    )
    return [
        Preflight(
            device=device,
            dtype="float32",
            simulated=False,
            outcome="ok",
            verdict="match",
            prompt="a red circle",
            content="right",
            duration_s=1.5,
        ),
        MatmulRate(
            arm="current", dtype="float32", device=device, simulated=False, flops_per_s=1e12
        ),
        InterimAnalysis(blocks=3, by="arm", threshold=0.03, cases=[looked], next_look=None),
    ]


def _pictured(files: Path) -> tuple[LoadedRun, list[Record]]:
    config = one_case(2, matrix={"resolution": ["64x64"], "warmup": [False, True]})
    loaded = pictured(files, lambda slot, index: smooth_picture(slot.index), config=config)
    latents = latents_of()[None]
    trace = keep_trace(files, latents, smooth_picture()[None], latents[0, 0, 0][None])
    attempts = []
    for entry in loaded.attempts:
        (first, *_) = entry.passes
        profile = msgspec.structs.replace(
            first, kind="profile", index=0, trace_sha256=trace, stages=stages()
        )
        attempts.append(msgspec.structs.replace(entry, passes=[*entry.passes, profile]))
    made = LoadedRun(files, loaded.run, [], attempts, comparisons=loaded.comparisons)
    return made, _about_the_run("mps")


def _failed(files: Path) -> tuple[LoadedRun, list[Record]]:
    cause = FailureCause(
        kind="mps-out-of-memory",
        sentence="Memory ran out.",
        remedy="Use less.",
        confidence="high",
        sources=["pytorch/pytorch#1"],
        since="2.0",
    )
    report = CrashReport(
        process="python",
        exception_type="EXC_CRASH",
        signal="SIGABRT",
        message="an assertion",
        frames=[Frame(image="libtorch_cpu.dylib", symbol="at::mps"), Frame(image=None, symbol="x")],
    )

    def fields(slot: Slot) -> dict[str, Any]:
        endings = ("crashed", "oom", "failed", "timeout", "guard", "skipped", "ok")
        outcome = endings[slot.index % len(endings)]
        if outcome == "ok":
            return {"versions": {"torch": "2.1.0"}, "fallback_operators": ["aten::x"]}
        return ended_as(
            outcome,
            cause=cause,
            crash_report=report,
            reason="it ended",
            stderr_tail="Traceback (most recent call last)\nRuntimeError: x\n",
            exception_type="RuntimeError",
            last_phase="pass 1",
        )

    matrix = {"resolution": ["64x64", "128x128"], "dtype": ["float32", "float16"]}
    loaded = measured(config=one_case(2, matrix=matrix), fields=fields, device="mps")
    first = loaded.attempts[0]
    lost = make_started(loaded.run.plan.slots[-1], attempt=2)
    gone = Withdrawn(replicate_id=first.replicate_id, attempt=2, ended_utc=UTC)
    again = msgspec.structs.replace(first, attempt=3, outcome="ok")
    return loaded, [lost, gone, again]


def _arms(files: Path) -> tuple[LoadedRun, list[Record]]:
    arm = [{"name": "old", "env": {"PYTORCH_DEBUG": "1"}}, {"name": "new"}]
    config = one_case(3, arm=arm, until_decided={"by": "arm", "threshold": 0.05})
    return measured(config=config), _about_the_run("cpu", "64x64-44136f")[1:]


def _small(files: Path) -> tuple[LoadedRun, list[Record]]:
    loaded = measured(config=one_case(1))
    unlike = [make_picture(black=True, nan_count=3, minimum=None, maximum=None)]
    slot = loaded.run.plan.slots[0]
    entry = make_replicate(slot, attempt=2, wall_s=3.0)
    entry.passes[0].images[:] = unlike
    return loaded, [entry]


# --- everything else ------------------------------------------------------------------------------


def _configs() -> list[Subject]:
    own = {
        "steps-only": b'model = "synthetic/tiny"\ndevice = "cpu"\nsteps = 3\n',
        "tables": (
            b'name = "t"\nmodel = "synthetic/tiny"\ndevice = "cpu"\nimages = 2\nreplicates = 2\n'
            b'prompts = ["a", ""]\n[[case]]\nresolution = "64x64"\n[[case]]\nresolution = "64x64"\n'
            b'dtype = "float16"\n[[exclude]]\ndtype = "float16"\n[[arm]]\nname = "a"\n[[arm]]\n'
            b'name = "b"\n[arm.env]\nX = "1"\n[gate]\n[guard]\nmin_free_disk_bytes = 0\n'
            b'[pressure]\nhold_bytes = [0, "10%"]\n[reference]\nbudget_s = 0\n[until_decided]\n'
        ),
    }
    shipped = {path.stem: path.read_bytes() for path in sorted(_CONFIGS.glob("*.toml"))}
    return [
        Subject("config", name, {"mine.toml": data}, others=own)
        for name, data in (own | shipped).items()
    ]


def _logs() -> list[Subject]:
    texts = {
        path.stem: path.read_bytes()[:_SHORT]
        for path in sorted((_DATA / "mps-stderr").glob("*.txt"))
        if path.stem != "source"
    }
    posted = json.loads((_DATA / "explain" / "texts.json").read_text())
    texts |= {f"posted-{n}": one["text"].encode()[:_SHORT] for n, one in enumerate(posted)}
    few = dict([*texts.items()][::9])
    logs = [Subject("log", name, {"a.log": data}, others=few) for name, data in texts.items()]
    (report,) = (_DATA / "crash-reports").glob("*.ips")
    data = report.read_bytes()
    crashes = {"report": {"a.ips": data}, "console": {"a.log": _CONSOLE}}
    often = [Subject("log", name, tree, others=few) for name, tree in crashes.items()]
    return [*logs, *often * (len(logs) // 5)]


def _pictures() -> list[Subject]:
    return [Subject("picture", "plain", {"a.png": stranger()}, others={"b": b"RIFF0000WEBP" * 9})]


def _recordings() -> list[Subject]:
    folders = [path for path in sorted((_DATA / "machines").iterdir()) if path.is_dir()]
    trees = {path.name: read_tree(path) for path in folders}
    others = {f"{name}/{file}": data for name, tree in trees.items() for file, data in tree.items()}
    for folder in sorted(RECORDINGS.iterdir()):
        if folder.is_dir():
            said = msgspec.json.encode(folder_system(folder.name)._commands)
            trees[folder.name] = {"commands.json": said, "facts.json": b'{"system": "Darwin"}'}
    return [Subject("recording", name, tree, others=others) for name, tree in trees.items()]


def _models(folder: Path) -> list[Subject]:
    from sdbench.models import synthetic
    from sdbench.models.catalogue import SYNTHETIC

    made = synthetic.ensure(SYNTHETIC["synthetic/tiny"], folder / "cache")
    return [Subject("model", "tiny", read_tree(made))]


def _sites() -> list[Subject]:
    """The data of a board: machines like the one that doctor looks at, and others."""
    fields: list[dict[str, Any]] = [
        {"chip": "Apple M4"},
        {"chip": "Apple M4", "memory_bytes": 24 << 30},
        {"device": "cuda"},
    ]
    runs = [board_factories.submission(number, **one) for number, one in enumerate(fields)]
    rows = [board_factories.row(run, seconds_per_image=time) for run in runs for time in (8.0, 9.0)]
    board, submissions, pieces = encode_site(in_order(rows), [], {})
    documents = {"board": board, "submissions": submissions, "cases-0000": pieces[0]}
    tree = {f"data/{name}.json": msgspec.json.encode(one) for name, one in documents.items()}
    return [Subject("site", "small", tree)]


def _expectations() -> list[Subject]:
    toml = b'"64x64-44136f" = "crashed"\n"128x128-b9c09c" = "ok"\n'
    return [
        Subject("expectations", "toml", {"expect.toml": toml}),
        Subject("expectations", "json", {"expect.json": b'{"64x64-44136f": "incorrect"}'}),
    ]
