"""Every place of every document changed once, in each of a few ways: no draw decides what is tried.

A batch is many small inputs for one reader (``fuzz_direct.py``). What is impossible in them is said
here by the names of fields and their units, not by the limits in the code that reads: a limit that
is lost there must be noticed.
"""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import fuzz_batch_files
import fuzz_batch_texts
import fuzz_fleets
from fuzz_changes import GONE, Path, changed, changes, fits, typed_places, whole
from fuzz_direct import NAMES, OVERRIDES
from fuzz_documents import RECORDS, encoded, toml_of
from fuzz_trees import Odd, Tree
from fuzz_values import DEEP, TEXTS
from fuzz_ways import Subject

from sdbench.machine.recording import RecordedCommand, RecordedFacts
from sdbench.plan.config import Config
from sdbench.records import Run

_DIGEST = "0" * 64


@dataclass(frozen=True)
class Batch:
    """Inputs of one kind: ``tree`` holds the files of all, ``names`` what is read of it.

    ``impossible`` names those that must be refused, ``sound`` those that must not.
    """

    kind: str
    name: str
    tree: Tree
    names: Sequence[str]
    impossible: frozenset[str] = frozenset()
    sound: frozenset[str] = frozenset()
    says: Mapping[str, str] = field(default_factory=dict)
    """A word that must stand in the refusal."""

    def __str__(self) -> str:
        return f"{self.kind}-{self.name}"


@dataclass
class _Batches:
    """Collects the inputs of a batch."""

    kind: str
    name: str
    tree: dict[str, bytes | Odd] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    impossible: set[str] = field(default_factory=set)
    sound: set[str] = field(default_factory=set)
    says: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, files: Tree, expected: bool | None) -> None:
        """``expected``: whether it must be accepted; None where both are right."""
        self.names.append(name)
        self.tree |= files
        if expected is not None:
            (self.sound if expected else self.impossible).add(name)

    def done(self) -> Batch:
        """The batch."""
        return Batch(
            self.kind,
            self.name,
            self.tree,
            self.names,
            frozenset(self.impossible),
            frozenset(self.sound),
            self.says,
        )


def all_batches(subjects: Iterable[Subject], every: int = 1) -> Iterator[Batch]:
    """All batches. ``every``: of the single changes one in so many, those of each field in turn."""
    sound = {(one.kind, one.name): one for one in subjects}
    run = sound["run", "small"].tree
    yield _records(run, every)
    yield _runs(run, every)
    yield _configs(every)
    yield _expectations()
    yield _recordings(sound["recording", "m4-macos15"].tree, every)
    files_of_runs = fuzz_batch_files.groups(run, sound["run", "pictured"].tree)
    fleets = fuzz_fleets.groups(sound["fleet", "split"].tree, every)
    for kind, name, files in itertools.chain(files_of_runs, fuzz_batch_texts.groups(), fleets):
        batch = _Batches(kind, name)
        for one in files:
            batch.add(one.name, one.files, one.expected)
            if one.says:
                batch.says[one.name] = one.says
        yield batch.done()


# --- records --------------------------------------------------------------------------------------

_BOUNDED = {
    *("attempt", "blocks", "index", "inf_count", "latents_nonfinite_count", "nan_count", "slot"),
    *("next_look", "samples", "unreadable_lines", "block", "begin_t", "flops_per_s"),
    *("duration_s", "import_s", "load_s", "period_s", "projected_s", "slow_period_s", "waited_s"),
    *("denoising", "measured_pass", "text_encoder", "vae_decode", "wall_s"),
    *("bytes_on_disk", "compressor_peak_bytes", "driver_bytes", "footprint_bytes", "hold_bytes"),
    *("footprint_peak_bytes", "gpu_memory_peak_bytes", "min_available_bytes", "peak_bytes"),
    *("pass_peak_footprint_bytes", "peak_footprint_bytes", "peak_memory_bytes", "pss_bytes"),
    *("recommended_max_bytes", "swap_start_bytes", "uss_bytes"),
}
"""Numbers that are never negative, and of which nothing has more than it can."""
_NO_SIZES = ("0x64", "64x64\n", "64", "123456x1")
_CHANGES = {"swap_delta_bytes", "swap_in_bytes", "swap_out_bytes"}
"""Numbers that may be negative, and not of any size."""


def _out_of_range(document: Any, kind: Any) -> Iterator[tuple[str, Any]]:
    """What the unit in a name forbids, whatever its type lets pass."""
    for path, part, _ in typed_places(document, kind, of_lists=1):
        name, before = path[-1], _at(document, path)
        if isinstance(before, bool) or not isinstance(before, int | float | str):
            continue
        values: tuple[Any, ...] = ()
        if name in _BOUNDED:
            values = (-1, 1e300) if fits(0.5, part) else (-1, 1 << 63)
        elif name in _CHANGES:
            values = (-(1 << 62), 1 << 62)
        elif name == "resolution":
            values = _NO_SIZES
        for value in values:
            yield (
                f"{'.'.join(map(str, path))}-{value!r:.8}".strip(),
                changed(document, path, value),
            )


def _at(document: Any, path: Path) -> Any:
    for key in path:
        document = document[key]
    return document


_LINES = 20


def _records(run: Tree, every: int) -> Batch:
    """Records with one change: each line is read, or said to be unreadable."""
    batch = _Batches("run", "records")
    number = itertools.count()

    def add(lines: Sequence[bytes], expected: bool | None) -> None:
        """Some lines in each run, all of which are sound or none."""
        for at in range(0, len(lines), _LINES):
            some = lines[at : at + _LINES]
            name = f"r{next(number)}-{len(some)}"
            files = {"run.json": run["run.json"], "records.jsonl": b"\n".join(some) + b"\n"}
            batch.add(name, {f"{name}/{file}": data for file, data in files.items()}, expected)

    for kind in RECORDS.values():
        record = whole(kind)
        add([encoded(record)], True)
        add([encoded(made) for _, made in _out_of_range(record, kind)], False)
        singles = [*_singles(record, kind, every)]
        add([encoded(made) for made, may_be in singles if not may_be], False)
        add([encoded(made) for made, may_be in singles if may_be], None)
    replicate, compared = whole(RECORDS["replicate"]), whole(RECORDS["compared"])
    bad: tuple[Any, ...] = (-1, 1 << 62, True, "x", 0.5)
    facts: list[Any] = [{"x_bytes": value} for value in bad] + [{"x": [1]}, {"x": {}}, [1]]
    add([encoded({**replicate, "device": {"facts": one}}) for one in facts], False)
    add([encoded({**replicate, "device": {"facts": {"x_bytes": 5, "y": None}}})], True)
    keys = ("step", "rel_l2", "allowed_rel_l2")
    add([encoded(changed(compared, ("divergence", 0, key), [])) for key in keys], False)
    add([b"{}", b"null", b"[1]", b"\xff", b'{"type": "x"}', DEEP.encode(), b'{"a": ' * 2000], False)
    large: dict[str, bytes | Odd] = {
        "lines": b"\n" * 1_000_002,
        "long-1": Odd("sparse", size=5 << 30),
    }
    for name, data in large.items():
        both: Tree = {f"{name}/run.json": run["run.json"], f"{name}/records.jsonl": data}
        batch.add(name, both, name == "lines")
    return batch.done()


def _singles(document: Any, kind: Any, every: int) -> Iterator[tuple[Any, bool]]:
    """Documents with one change, and whether their types let it pass."""
    for number, (_, made, forbidden) in enumerate(changes(document, kind)):
        # Each place has ten changes: where ``every`` has no part in common with it, all are met.
        if number % every == 0:
            yield made, not forbidden


# --- plans ----------------------------------------------------------------------------------------

_ALWAYS = (
    *("name", "model", "device", "steps", "guidance_scale", "scheduler", "seed", "images"),
    *("passes", "replicates", "prompts"),
)
"""Settings that every ``run.json`` has."""
_LOOSE = ("machine", "machine_facts", "environment")
"""Parts of ``run.json`` whose fields may be of other types than ours."""


def _runs(tree: Tree, every: int) -> Batch:
    batch = _Batches("run", "plans")
    run = json.loads(tree["run.json"])  # type: ignore[arg-type]
    number = itertools.count()

    def add(document: Any, expected: bool | None) -> None:
        name = f"p{next(number)}"
        data = document if isinstance(document, bytes | Odd) else encoded(document)
        batch.add(name, {f"{name}/run.json": data}, expected)

    add(run, True)
    add({**run, "zz": 1}, None)
    for at, (name, made, forbidden) in enumerate(changes(run, Run)):
        parts = name.split(".")
        in_config = parts[0] == "config" and len(parts) > 1
        loose = parts[0] in _LOOSE or (in_config and parts[1].startswith(("arm", "allow")))
        if at % every == 0:
            may_be_null = in_config and name.endswith(("-0", "-1"))
            add(made, False if forbidden and not loose and not may_be_null else None)
    for key in _ALWAYS:
        add(changed(run, ("config", key), GONE), False)
        add(changed(run, ("config", key), None), False)
    for made in _impossible_plans(run):
        add(made, False)
    for data in (b"", b"[]", b"null", b"{}", b"\xff", DEEP.encode(), b'{"plan": ' + DEEP.encode()):
        add(data, False)
    for odd in ("folder", "fifo", "socket"):
        add(Odd(odd), False)
    add(Odd("link", "run.json"), False)
    batch.says[batch.names[-1]] = "not a regular file"
    add(Odd("link", "/dev/zero"), False)
    add(Odd("sparse", size=5 << 30), False)
    return batch.done()


def _impossible_plans(run: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Documents of the right types whose parts do not fit together."""

    def put(value: Any, *path: str | int) -> dict[str, Any]:
        made: dict[str, Any] = changed(run, path, value)
        return made

    plan, arm, slot = run["plan"], run["plan"]["arms"][0], run["plan"]["slots"][0]
    yield put(0, "schema")
    for run_id in ("", "a b", "../x", "a" * 300, "x\n"):
        yield put(run_id, "run_id")
        yield put(run_id, "plan", "arms", 0, "name")
    for key in ("cases", "arms"):
        yield put([], "plan", key)
        yield put(plan[key] * 2, "plan", key)
    yield put([{**arm, "name": f"a{n}"} for n in range(1001)] + [arm], "plan", "arms")
    yield put("zz", "plan", "arms", 0, "stack")
    yield put([*plan["slots"], {**slot, "case_id": "zz"}], "plan", "slots")
    yield put([*plan["slots"], {**slot, "arm": "zz"}], "plan", "slots")
    # Without slots, which would not belong to a case of another size.
    bare = put([], "plan", "slots")
    for size in _NO_SIZES:
        yield changed(bare, ("plan", "cases", 0, "case", "resolution"), size)
    amounts: tuple[Any, ...] = (0, -1, 1 << 63, True, "x", 1.5, [])
    for value in amounts:
        yield put({**run["machine"], "memory_bytes": value}, "machine")
    yield put({**run["machine"], "zz": []}, "machine")
    yield put({**run["machine"], "zz": {}}, "machine")
    yield put({**run["machine_facts"], "memory": "x"}, "machine_facts")
    yield put({**run["machine_facts"], "zz": [1]}, "machine_facts")
    yield put("yes", "config", "allow_pickle")
    for config in _IMPOSSIBLE_CONFIGS:
        inner = {key: value for key, value in config.items() if key not in ("arm", "zz")}
        if inner:
            yield put({**run["config"], "case": None, "matrix": None, **inner}, "config")


# --- configurations, expectations, recordings -----------------------------------------------------

_CONFIG: dict[str, Any] = {
    "name": "t",
    "description": "d",
    "model": "synthetic/tiny",
    "device": "cpu",
    "steps": 3,
    "guidance_scale": 1.5,
    "scheduler": "ddim",
    "seed": 1,
    "images": 1,
    "passes": 1,
    "replicates": 2,
    "timeout_s": 9.5,
    "max_minutes": 5,
    "max_cases": 9,
    "max_processes": 9,
    "start": "spawn",
    "prompts": ["a"],
    "exclude": [{"dtype": "float16"}],
    "until_decided": {"by": "arm", "threshold": 0.05, "max_processes": 21},
    "matrix": {"resolution": ["64x64"], "warmup": [True], "dtype": ["float32", "float16"]},
    "arm": [{"name": "a", "stack": "current", "env": {"X": "1"}}],
    "gate": {"wait_for": ["load"], "max_wait_s": 5.0},
    "guard": {"max_swap_growth_bytes": "auto", "min_free_disk_bytes": 5},
    "pressure": {"hold_bytes": ["10%", 5]},
    "reference": {"budget_s": 5},
}
_IMPOSSIBLE_CONFIGS: tuple[dict[str, Any], ...] = (
    *({"arm": [{"name": "a", "env": {name: "1"}}]} for name in ("", "A=B", "=", "A\0")),
    {"arm": [{"name": "a", "env": {"A": "\0"}}]},
    *({"arm": [{"name": a}, {"name": b}]} for a, b in (("a", "A"), ("a", "a"), ("a", "b/c"))),
    {"arm": [{"name": "a", "hold_bytes": 5}]},
    *({"arm": []}, {"prompts": []}, {"zz": 1}, {"name": "a b"}, {"name": "../x"}),
    *({"case": []}, {"exclude": [{}]}, {"case": [{}], "matrix": _CONFIG["matrix"]}),
    *({"exclude": [{"resolution": text}]} for text in ("64", "63x64", "64x9999999", "x", "")),
    *({"case": [{"resolution": text}]} for text in ("100x100", "8200x64", "64*64", "512", "a")),
    {"matrix": {"resolution": ["64x64", "64x64"]}},
    {"matrix": {"resolution": []}},
    {"matrix": {"resolution": ["64x63"]}},
    {"matrix": {"resolution": ["64x64"], "dtype": []}},
    *({"pressure": {"hold_bytes": [level]}} for level in ("x", "101%", "-1%", -1, float("nan"))),
    *({"until_decided": {"threshold": value}} for value in (0, -1, 2, float("nan"))),
    *({key: value} for key in ("steps", "images", "passes") for value in (0, -1, 10**9)),
    *({"replicates": 0}, {"max_cases": -1}, {"max_processes": 0}, {"max_minutes": -1}),
    *({key: value} for key in ("guidance_scale", "timeout_s") for value in (-1.0, float("nan"))),
    *({"timeout_s": float("inf")}, {"seed": -1}, {"gate": {"max_wait_s": -1.0}}),
    *({"guard": {key: float("nan")}} for key in ("max_swapped_out_bytes", "min_free_disk_bytes")),
)


def _configs(every: int) -> Batch:
    batch = _Batches("config", "keys")
    number = itertools.count()

    def add(document: dict[str, Any] | bytes, expected: bool | None) -> None:
        name = f"c{next(number)}.toml"
        data = document if isinstance(document, bytes) else toml_of(document)
        batch.add(name, {name: data}, expected)

    cases = {key: value for key, value in _CONFIG.items() if key != "matrix"}
    cases["case"] = [{"resolution": "64x64", "offload": "none", "attention": "default"}]
    for document in (_CONFIG, cases):
        add(document, True)
        for at, (name, made, forbidden) in enumerate(changes(document, Config)):
            # TOML has no null: it is the same as a key that is not there.
            if at % every == 0 and not name.endswith("-1"):
                add(made, False if forbidden else None)
    free = {key: value for key, value in _CONFIG.items() if key not in ("matrix", "exclude")}
    for other in _IMPOSSIBLE_CONFIGS:
        add({**free, **other}, False)
    dots = b"a." * 50_000 + b"a = 1"
    sound = toml_of(_CONFIG)
    for says, start in (("BOM", b"\xef\xbb\xbf"), ("UTF-16", b"\xff\xfe"), ("UTF-16", b"\xfe\xff")):
        batch.says[f"c{next(number)}.toml"] = says
        batch.add([*batch.says][-1], {[*batch.says][-1]: start + sound}, False)
    batch.says["gone.toml"] = "no such file"
    broken = (b"x", b"a = \xff", dots, sound * 2)
    for data in (*broken, b"x = " + DEEP.encode(), b"x = " + b"9" * 5000, b"steps = 3\0"):
        add(data, False)
    for at in range(len(NAMES)):
        batch.add(f"word-{at}", {}, at == 0)
    batch.says["word-1"] = "no such configuration"
    for at in range(len(OVERRIDES)):
        # "name=[" is no TOML, so it is a text, which is no name.
        batch.add(f"set-{at}", {}, at < 3)
    for name, odd in {
        "gone.toml": None,
        "folder.toml": Odd("folder"),
        "fifo.toml": Odd("fifo"),
        "link.toml": Odd("link", "/nowhere/at/all"),
        "circle.toml": Odd("link", "circle.toml"),
        "zero.toml": Odd("link", "/dev/zero"),
        "large.toml": Odd("sparse", size=5 << 30),
    }.items():
        batch.add(name, {} if odd is None else {name: odd}, False)
    return batch.done()


def _expectations() -> Batch:
    batch = _Batches("expectations", "words")
    sound = {"64x64-44136f": "crashed", "b": "incorrect"}
    for suffix, write in (("toml", toml_of), ("json", encoded)):
        batch.add(f"sound.{suffix}", {f"sound.{suffix}": write(sound)}, True)
        batch.add(f"none.{suffix}", {f"none.{suffix}": write({})}, True)
        values: tuple[Any, ...] = ("x", "", 1, True, ["ok"], {"a": "ok"}, TEXTS[-3])
        for at, value in enumerate(values):
            name = f"i{at}.{suffix}"
            batch.add(name, {name: write({**sound, "c": value})}, False)
        for at, data in enumerate(
            (b"\xff", b"\0", b"x", b"[", DEEP.encode(), b"x = " + DEEP.encode(), b"[1]", b'"a')
        ):
            name = f"b{at}.{suffix}"
            batch.add(name, {name: data}, False)
        for at, odd in enumerate(
            (Odd("folder"), Odd("fifo"), Odd("link", "/dev/zero"), Odd("sparse", size=5 << 30))
        ):
            name = f"o{at}.{suffix}"
            batch.add(name, {name: odd}, False)
        batch.add(f"gone.{suffix}", {}, False)
    return batch.done()


def _recordings(tree: Tree, every: int) -> Batch:
    batch = _Batches("recording", "answers")
    kinds = {"facts.json": RecordedFacts, "commands.json": list[RecordedCommand]}
    number = itertools.count()

    def add(files: dict[str, bytes | Odd], expected: bool | None) -> None:
        name = f"m{next(number)}"
        batch.add(name, {f"{name}/{file}": data for file, data in files.items()}, expected)

    add({**tree}, True)
    for file, kind in kinds.items():
        document = json.loads(tree[file])  # type: ignore[arg-type]
        for at, (_, made, forbidden) in enumerate(changes(document, kind)):
            if at % (5 * every) == 0:
                add({**tree, file: encoded(made)}, False if forbidden else None)
        for odd in (b"", b"x", b"\xff", DEEP.encode(), Odd("folder"), Odd("sparse", size=5 << 30)):
            add({**tree, file: odd}, False)
        add({name: data for name, data in tree.items() if name != file}, None)
    add({"x": b""}, False)
    add({**tree, "facts.json": b'{"system": "\xff"}'}, False)
    add({**tree, "commands.json": b'[{"argv": ["\xff"]}]'}, False)
    add({"facts.json": b'{"system": 5}'}, False)
    batch.says[batch.names[-1]] = "facts.json: system"
    return batch.done()
