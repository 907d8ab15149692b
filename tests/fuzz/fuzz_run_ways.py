"""Changes to run folders: records, plans, and the files that hold what was made."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

import fuzz_pictures
from fuzz_documents import RECORDS, encoded, words_of
from fuzz_values import DEEP, TEXTS, Typed
from fuzz_ways import Files, Subject, way

# --- records --------------------------------------------------------------------------------------


def _lines(files: Files) -> list[bytes]:
    data = files.get("records.jsonl", b"")
    return data.splitlines() if isinstance(data, bytes) else []


@way("run", times=4)
def _new_records(files: Files, random: Random, subject: Subject) -> None:
    """Whole records of any type, with the ids of a process that the plan has, or nearly."""
    try:
        run = json.loads(files["run.json"])  # type: ignore[arg-type]
        slots = run["plan"]["slots"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return
    if not isinstance(slots, list) or not slots:
        return
    lines = _lines(files)
    made = Typed(random, words_of(run), list(subject.digests))
    for _ in range(random.choice((1, 2, 6))):
        record = made.struct(random.choice([*RECORDS.values()]))
        slot = random.choice(slots)
        if isinstance(slot, dict):
            own = {**slot, "device": run.get("device"), "slot": slot.get("index")}
            own["replicate_id"] = "{case_id}.{arm}.{block}".format_map(
                {"case_id": "", "arm": "", "block": ""} | slot
            )
            own["attempt"] = random.choice((1, 1, 2))
            record |= {k: v for k, v in own.items() if k in record and random.random() < 0.97}
        if isinstance(record.get("device"), dict):
            facts = {random.choice(("name", "recommended_max_bytes", "cuda", "x")): made.text()}
            record["device"] = {"kind": run.get("device"), "facts": facts}
        record["schema"] = random.choice((1, 1, 1, 2, 99, 0))
        lines.insert(random.randrange(len(lines) + 1), encoded(record))
    files["records.jsonl"] = b"\n".join(lines) + b"\n"


@way("run")
def _records_moved(files: Files, random: Random, subject: Subject) -> None:
    """Doubled, shuffled, left out."""
    lines = _lines(files)
    kind = random.randrange(4)
    if kind == 0:
        lines = lines * random.choice((2, 3))
    elif kind == 1:
        random.shuffle(lines)
    elif kind == 2:
        lines = [line for line in lines if random.random() < 0.5]
    else:
        lines = []
    files["records.jsonl"] = b"\n".join(lines) + b"\n"


@way("run")
def _foreign_records(files: Files, random: Random, subject: Subject) -> None:
    """Another run's records after its own."""
    others = [data for name, data in subject.others.items() if name.endswith("records.jsonl")]
    if others:
        files["records.jsonl"] = b"\n".join(_lines(files)) + b"\n" + random.choice(others)


@way("run")
def _odd_lines(files: Files, random: Random, subject: Subject) -> None:
    lines = _lines(files)
    odd = (b"", b"{}", b"null", b"[]", b"\0" * 99, b"\xff\xfe", DEEP.encode(), b'{"type": "x"}')
    for _ in range(random.randrange(1, 9)):
        lines.insert(random.randrange(len(lines) + 1), random.choice(odd))
    ending = random.choice((b"\n", b"", b"\r\n", b'\n{"type": "repl'))
    files["records.jsonl"] = b"\n".join(lines) + ending


@way("run", times=2)
def _pictures_named(files: Files, random: Random, subject: Subject) -> None:
    """Records that name files which are there, whatever is in them."""
    digests = [*subject.digests]
    lines = _lines(files)
    if not digests or not lines:
        return
    for at, line in enumerate(lines):
        for known in digests:
            if known.encode() in line and random.random() < 0.3:
                line = line.replace(known.encode(), random.choice(digests).encode())
        lines[at] = line
    files["records.jsonl"] = b"\n".join(lines) + b"\n"


# --- images, latents, traces, timelines ---------------------------------------------------------


@way("run", times=3)
def _odd_artifact(files: Files, random: Random, subject: Subject) -> None:
    """An image, latents, a trace or a timeline that is another than its name says, or none."""
    found = [name for name in files if "/" in name]
    if not found:
        return
    name = random.choice(found)
    if name.endswith(".png"):
        makers: list[Callable[[], bytes]] = [
            *(fuzz_pictures.stranger, fuzz_pictures.stranger),
            *(lambda: fuzz_pictures.odd_png(random), lambda: fuzz_pictures.picture(random)),
        ]
        files[name] = random.choice(makers)()
    elif name.endswith(".npy"):
        files[name] = fuzz_pictures.odd_npy(random)
    elif name.endswith(".safetensors"):
        files[name] = fuzz_pictures.odd_safetensors(random)
    else:
        files[name] = b"".join(
            encoded(
                {
                    "t": random.choice((0, 1e12, -5, 1e308, random.random() * 100)),
                    "phase": random.choice((None, "load", *TEXTS)),
                    "footprint_bytes": random.choice((None, 0, 1 << 62, 10**9, -3)),
                    "pressure": random.choice((None, "warn", "extreme")),
                }
            )
            + b"\n"
            for _ in range(random.choice((2, 40, 3000)))
        )
        if random.random() < 0.3:
            lines = files[name]
            assert isinstance(lines, bytes)
            files[name] = lines.replace(b'"load"', b'"lo\xffad"') + b'{"t": 1, "phase": "\xff"}\n'


@way("run", times=2)
def _true_artifact(files: Files, random: Random, subject: Subject) -> None:
    """An unusual image, latents or trace under its right name, and named so in the records."""
    found = [name for name in files if name.endswith((".png", ".npy", ".safetensors"))]
    if not found:
        return
    name = random.choice(found)
    folder, _, file = name.rpartition("/")
    before, dot, ending = file.rpartition(".")
    digest, data = fuzz_pictures.true_artifact(random, dot + ending)
    del files[name]
    files[f"{folder}/{digest}.{ending}"] = data
    records = files.get("records.jsonl")
    if isinstance(records, bytes):
        files["records.jsonl"] = records.replace(before.encode(), digest.encode())


_PLANS: tuple[Callable[[dict[str, Any], Any], Any], ...] = (
    lambda run, value: run.update(schema=0),
    lambda run, value: run.update(schema=99, sdbench=value),
    lambda run, value: run.update(run_id=value),
    lambda run, value: run.update(stacks={}),
    lambda run, value: run.update(machine_facts={"identity": value}),
    lambda run, value: run["machine"].update({"memory_bytes": value, "chip": value}),
    lambda run, value: run["machine"].update({str(value): [value]}),
    lambda run, value: run["config"].pop(("name", "images", "prompts")[len(value) % 3]),
    lambda run, value: run["config"].update({str(value): 1}),
    lambda run, value: run["config"].update(allow_pickle=value),
    lambda run, value: run["plan"].update(cases=run["plan"]["cases"] * 2),
    lambda run, value: run["plan"].update(arms=run["plan"]["arms"] * 2),
    lambda run, value: run["plan"].update(cases=[]),
    lambda run, value: run["plan"].update(slots=[]),
    lambda run, value: run["plan"]["arms"][0].update(name=value),
    lambda run, value: run["plan"]["arms"][0].update(stack=value),
    lambda run, value: run["plan"]["slots"][0].update(arm=value),
    lambda run, value: run["plan"]["cases"][0].update(skip_reason=value, flags=[value]),
)


@way("run", times=2)
def _plan_changed(files: Files, random: Random, subject: Subject) -> None:
    """Parts of ``run.json`` that do not fit together any more."""
    try:
        run = json.loads(files["run.json"])  # type: ignore[arg-type]
        random.choice(_PLANS)(run, random.choice(TEXTS))
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, RecursionError):
        return
    files["run.json"] = encoded(run)
