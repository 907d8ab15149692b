"""Bundles that nobody should accept, made from a good one; each forger repairs what they can.

``FORGERIES`` has them with the code that ``sdbench verify`` refuses them with. A forger has sdbench
at hand: after an edit the summary can be computed again and every hash repaired, with the code
that honest people use.
"""

import dataclasses
import datetime
import io
import json
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from PIL import Image

from sdbench.bundles.format import MANIFEST, RECORDS_MEMBER, RUN_MEMBER, SUMMARY, manifest_of
from sdbench.bundles.installation import Installation
from sdbench.bundles.summary import encoded, examine
from sdbench.bundles.write import bundle_of, sealed
from sdbench.correctness.artifact_files import Artifacts, pixels_digest
from sdbench.privacy.redact_shared import NOTHING_KEPT, Kept
from sdbench.runs import as_believed, run_of_bytes

RESULTS = Path(__file__).parents[2] / "results"
QUICK = RESULTS / "20261122-155156-quick-587b"
"""A run with images and timelines."""
NOBODY = Installation(machine_id=f"m-{'0' * 16}", salt="0" * 64)
Members = dict[str, bytes]
Document = dict[str, Any]
_PAGE = "<!doctype html><title>left out: drawing it takes seconds</title>"


def good_members(run: Path, kept: Kept = NOTHING_KEPT, label: str | None = None) -> Members:
    """The members of a bundle as sdbench writes it, but for the page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sdbench.bundles.write.html_report", lambda *_, **__: _PAGE)
        return bundle_of(run, NOBODY, kept=kept, label=label).members


def hashed(members: Members) -> bytes:
    """The bundle with a manifest that is right."""
    manifest = msgspec.json.encode(manifest_of(members))
    return sealed(members | {MANIFEST: manifest})


def repaired(members: Members) -> bytes:
    """The bundle with a summary that follows from its records, and a manifest that is right."""
    return hashed(summarised(members))


def summarised(members: Members) -> Members:
    """The members with a summary that follows from the records."""
    recorded = run_of_bytes(members[RUN_MEMBER], members[RECORDS_MEMBER], Path("forged"))
    loaded = as_believed(recorded)
    loaded = dataclasses.replace(loaded, path=Path(loaded.run.run_id))
    return members | {SUMMARY: encoded(examine(loaded, Artifacts(members)).document)}


def records_of(members: Members) -> list[Document]:
    """The records as plain data."""
    return [json.loads(line) for line in members[RECORDS_MEMBER].splitlines()]


def with_records(members: Members, records: Iterable[Document]) -> Members:
    """The members with other records."""
    lines = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    return members | {RECORDS_MEMBER: lines}


def edited(members: Members, name: str, change: Callable[[Document], object]) -> Members:
    """The members with a change in a JSON document."""
    document = json.loads(members[name])
    change(document)
    return members | {name: json.dumps(document).encode()}


def edited_records(members: Members, change: Callable[[Document], object]) -> Members:
    """The members with a change in every record."""
    records = records_of(members)
    for record in records:
        change(record)
    return with_records(members, records)


def _processes(members: Members) -> list[Document]:
    return [record for record in records_of(members) if record["type"] == "replicate"]


# --- the archive ----------------------------------------------------------------------------------


def zip_of(members: Mapping[str, bytes], *more: tuple[zipfile.ZipInfo | str, bytes]) -> bytes:
    """A zip file with members that no bundle has."""
    file = io.BytesIO(sealed(dict(members)))
    with warnings.catch_warnings(), zipfile.ZipFile(file, "a") as archive:
        warnings.simplefilter("ignore")  # of a name that is there twice
        for entry, data in more:
            archive.writestr(entry, data, compress_type=zipfile.ZIP_DEFLATED)
    return file.getvalue()


def _of_kind(name: str, mode: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, mode << 16
    return entry


def _renamed(members: Members, name: bytes) -> bytes:
    """A member whose name zipfile would not write; it must have 17 bytes."""
    assert len(name) == 17
    return zip_of(members, ("telemetry/x.jsonl", b"")).replace(b"telemetry/x.jsonl", name)


def _at_central(data: bytes, name: bytes, offset: int, value: bytes) -> bytes:
    """The archive with other bytes in a member's entry of the central directory."""
    at = data.rindex(name) - 46 + offset
    return data[:at] + value + data[at + len(value) :]


def _at_both(data: bytes, name: bytes, offset: int, value: bytes) -> bytes:
    """The same, in the member's own header too, where fields begin 2 bytes earlier."""
    at = data.index(name) - 30 + offset - 2
    data = data[:at] + value + data[at + len(value) :]
    return _at_central(data, name, offset, value)


def _between(data: bytes) -> bytes:
    """Bytes that no member has, before the directory, which is told where it is."""
    end = data.rindex(b"PK\x05\x06")
    begin = struct.unpack_from("<L", data, end + 16)[0]
    moved = data[: end + 16] + struct.pack("<L", begin + 4) + data[end + 20 :]
    return moved[:begin] + b"evil" + moved[begin:]


def _whole(members: Members) -> bytes:
    return sealed(members)


_RUN_NAME = RUN_MEMBER.encode()
_LINK, _DEVICE, _FIFO, _FOLDER = 0o120777, 0o020666, 0o010666, 0o040755
_BZIP2, _ENCRYPTED = struct.pack("<H", 12), struct.pack("<H", 1)


# --- what is in it --------------------------------------------------------------------------------


def _with_text(members: Members, name: str, old: bytes, new: bytes) -> Members:
    assert old in members[name]
    return members | {name: members[name].replace(old, new, 1)}


def _first_number(members: Members, text: bytes) -> Members:
    """The first time of the first pass replaced by a text."""
    first = json.dumps(_processes(members)[0]["passes"][0]["duration_s"]).encode()
    return _with_text(members, RECORDS_MEMBER, b'"duration_s":' + first, b'"duration_s":' + text)


def _faster(record: Document, factor: float) -> None:
    for entry in record.get("passes", []):
        entry["duration_s"] /= factor
        for stage in entry["stages"] or []:
            stage["duration_s"] /= factor


def _all_faster(members: Members, factor: float) -> Members:
    """Every clock goes faster: processes, passes, stages and timelines fit each other."""

    def change(record: Document) -> None:
        _faster(record, factor)
        if record["type"] != "replicate":
            return
        record["wall_s"] /= factor
        record["load_s"] /= factor
        began = datetime.datetime.fromisoformat(record["started_utc"])
        ended = began + datetime.timedelta(seconds=record["wall_s"])
        record["ended_utc"] = ended.isoformat(timespec="milliseconds")

    changed = edited_records(members, change)
    for name in [name for name in changed if name.startswith("telemetry/")]:
        points = [json.loads(line) for line in changed[name].splitlines()]
        for point in points:
            point["t"] = points[0]["t"] + (point["t"] - points[0]["t"]) / factor
        changed[name] = b"".join(json.dumps(point).encode() + b"\n" for point in points)
    return changed


def without_records(members: Members, leave_out: Callable[[Document], bool]) -> Members:
    kept = [record for record in records_of(members) if not leave_out(record)]
    return with_records(members, kept)


def process(members: Members, number: int) -> str:
    return str(_processes(members)[number]["replicate_id"])


def _without_process(members: Members, number: int) -> Members:
    """All records of a process left out, its timeline too."""
    name = process(members, number)
    left = without_records(members, lambda record: record.get("replicate_id") == name)
    return {key: data for key, data in left.items() if not key.startswith(f"telemetry/{name}.")}


def of_kind(kind: str, name: str) -> Callable[[Document], bool]:
    return lambda record: record["type"] == kind and record["replicate_id"] == name


def _doubled(members: Members) -> Members:
    records = records_of(members)
    at = next(i for i, record in enumerate(records) if record["type"] == "replicate")
    return with_records(members, [*records[: at + 1], *records[at:]])


def _exchanged_processes(members: Members) -> Members:
    """The first two processes of the records, one in the other's place."""
    records = records_of(members)
    at = [i for i, one in enumerate(records) if one["type"] == "started"][:2]
    first, second = records[at[0] : at[1]], records[at[1] : at[1] + 2]
    rest = records[at[1] + 2 :]
    return with_records(members, [*records[: at[0]], *second, *first, *rest])


def _exchanged_slots(document: Document) -> None:
    slots = document["plan"]["slots"]
    for name in ("case_id", "arm"):
        slots[0][name], slots[1][name] = slots[1][name], slots[0][name]


def _planned_otherwise(members: Members) -> Members:
    """Two slots exchanged in the plan, and in the records that name their places."""
    changed = edited(members, RUN_MEMBER, _exchanged_slots)
    slots = json.loads(changed[RUN_MEMBER])["plan"]["slots"]
    places = {f"{one['case_id']}.{one['arm']}.{one['block']}": one["index"] for one in slots}

    def change(record: Document) -> None:
        if "slot" in record:
            record["slot"] = places[record["replicate_id"]]

    return _exchanged_processes(edited_records(changed, change))


def _another_file(members: Members) -> Members:
    """One image's file has the content of another one."""
    names = [name for name in members if name.startswith("images/")]
    return members | {names[0]: members[names[1]]}


def _first_image(members: Members) -> str:
    return next(name for name in members if name.startswith("images/"))


def _png_of(side: int) -> bytes:
    """The beginning of a PNG that says it is so large."""
    head = b"IHDR" + struct.pack(">2L5B", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">L", 13) + head + bytes(4)


def _many_blocks(document: Document) -> None:
    """Few slots and many cases, one of them in the last block that a plan can have."""
    planned = document["plan"]["cases"]
    planned += [
        planned[0] | {"case": planned[0]["case"] | {"resolution": f"{8 * side}x8"}}
        for side in range(16, 216)
    ]
    slots = document["plan"]["slots"]
    slots.append(slots[-1] | {"index": len(slots), "block": 9_999})


def _png(pixels: "np.ndarray[Any, Any]") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def image_instead(members: Members, old: str, pixels: "np.ndarray[Any, Any]") -> Members:
    """Another image in the place of the one with this hash, named rightly in all records."""
    new = pixels_digest(pixels)
    changed = {name: data for name, data in members.items() if name != f"images/{old}.png"}
    changed[f"images/{new}.png"] = _png(pixels)
    changed[RECORDS_MEMBER] = changed[RECORDS_MEMBER].replace(old.encode(), new.encode())

    def change(record: Document) -> None:
        for entry in record.get("passes", []):
            for picture in entry["images"]:
                if picture["pixels_sha256"] == new:
                    picture["mean"] = float(pixels.mean()) / 255

    return edited_records(changed, change)


def _another_image(members: Members, *, keep_numbers: bool) -> Members:
    """Noise in place of an image, named rightly in all records; its verdict stays."""
    # An image of a process, in the order in which records name them.
    old = next(
        picture["pixels_sha256"]
        for record in _processes(members)
        for picture in record["passes"][0]["images"]
        if f"images/{picture['pixels_sha256']}.png" in members
    )
    with Image.open(io.BytesIO(members[f"images/{old}.png"])) as image:
        pixels = np.asarray(image.convert("RGB"))
    noise = np.random.default_rng(1).integers(0, 256, pixels.shape, np.uint8)
    new = pixels_digest(noise)
    changed = image_instead(members, old, noise)

    def change(record: Document) -> None:
        for image in record.get("images", []):
            if image["pixels_sha256"] == new and not keep_numbers:
                image |= {"picture": None, "psnr_db": None, "ssim": None}
                image["reference_pixels_sha256"] = None

    return edited_records(changed, change)


def _closer(record: Document) -> None:
    for image in record.get("images", []):
        if image.get("psnr_db") is not None:
            image["psnr_db"] += 3.0


def _acquitted(record: Document) -> None:
    """Every image is called a match, and its process too."""
    if record["type"] == "compared":
        record["verdict"], record["reason"], record["margin"] = "match", None, 0.5


def _of_mps(document: Document) -> None:
    document["device"] = "mps"


def _device_of_mps(record: Document) -> None:
    if record["type"] == "replicate":
        record["device"]["kind"] = "mps"
    elif "device" in record:
        record["device"] = "mps"


def with_version(name: str, version: str) -> Callable[[Members], bytes]:
    def change(document: Document) -> None:
        for stack in document["stacks"].values():
            stack["packages"][name] = version

    def forged(members: Members) -> bytes:
        changed = edited(members, RUN_MEMBER, change)
        return repaired(edited_records(changed, lambda one: _set_version(one, name, version)))

    return forged


def _set_version(record: Document, name: str, version: str) -> None:
    if record["type"] == "replicate":
        record["versions"][name] = version


def _set(*path: str | int, to: Any) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        inner: Any = document
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = to

    return change


def _claim(*path: str | int, to: Any) -> Callable[[Members], bytes]:
    """A summary that says something else, with hashes repaired."""
    return lambda members: hashed(edited(members, SUMMARY, _set(*path, to=to)))


def _in_run(*path: str | int, to: Any) -> Callable[[Members], bytes]:
    return lambda members: hashed(edited(members, RUN_MEMBER, _set(*path, to=to)))


def in_every(kind: str, name: str, change: Callable[[Any], Any]) -> Callable[[Members], bytes]:
    """A field of every record of a kind, with summary and hashes repaired."""

    def one(record: Document) -> None:
        if record["type"] == kind:
            record[name] = change(record[name])

    return lambda members: repaired(edited_records(members, one))


def _in_run_repaired(*path: str | int, to: Any) -> Callable[[Members], bytes]:
    return lambda members: repaired(edited(members, RUN_MEMBER, _set(*path, to=to)))


def _with_fact(name: str, value: object) -> Callable[[Document], None]:
    """A fact of the machine, in both places of a run."""

    def change(document: Document) -> None:
        document["machine"][name] = document["machine_facts"]["identity"][name] = value

    return change


def _of_chip(chip: str) -> Callable[[Members], bytes]:
    return lambda members: repaired(edited(members, RUN_MEMBER, _with_fact("chip", chip)))


def _of_many_gpu_cores(document: Document) -> None:
    for name, value in (("system", "Darwin"), ("chip", "Apple M4"), ("gpu_cores", 400)):
        _with_fact(name, value)(document)


def _at_once(record: Document) -> None:
    """Every process began when the run did."""
    if record["type"] == "replicate":
        began = datetime.datetime.fromisoformat("2026-11-22T15:51:57.000+00:00")
        ended = began + datetime.timedelta(seconds=record["wall_s"])
        record["started_utc"] = began.isoformat(timespec="milliseconds")
        record["ended_utc"] = ended.isoformat(timespec="milliseconds")


class Forgery(NamedTuple):
    """What is done to a good bundle, the code it is refused with, and how it is made."""

    what: str
    code: str
    forge: Callable[[Members], bytes]


FORGERIES = [
    # Archives that are not read.
    Forgery(
        "a path that leaves the bundle",
        "unsafe-archive",
        lambda m: zip_of(m, ("images/../../.bashrc", b"")),
    ),
    Forgery("an absolute path", "unsafe-archive", lambda m: zip_of(m, ("/etc/cron.d/evil", b""))),
    Forgery("a drive letter", "unsafe-archive", lambda m: zip_of(m, ("C:/evil.json", b""))),
    Forgery("a backslash", "unsafe-archive", lambda m: _renamed(m, b"..\\..\\evil.x.json")),
    Forgery("a NUL in a name", "unsafe-archive", lambda m: _renamed(m, b"run.json\0-x.jsonl")),
    Forgery(
        "full-width letters that look like run.json",
        "unsafe-archive",
        lambda m: zip_of(m, ("ｒｕｎ.json", b"{}")),
    ),
    Forgery(
        "names that differ in case only",
        "unsafe-archive",
        lambda m: zip_of(m, ("telemetry/a.jsonl", b""), ("telemetry/A.jsonl", b"")),
    ),
    Forgery("a member with another name", "unsafe-archive", lambda m: zip_of(m, ("run.sh", b""))),
    Forgery(
        "a link",
        "unsafe-archive",
        lambda m: zip_of(m, (_of_kind("telemetry/x.jsonl", _LINK), b"/etc/passwd")),
    ),
    Forgery(
        "a device file",
        "unsafe-archive",
        lambda m: zip_of(m, (_of_kind("telemetry/x.jsonl", _DEVICE), b"")),
    ),
    Forgery(
        "a FIFO",
        "unsafe-archive",
        lambda m: zip_of(m, (_of_kind("telemetry/x.jsonl", _FIFO), b"")),
    ),
    Forgery(
        "a folder", "unsafe-archive", lambda m: zip_of(m, (_of_kind("telemetry/", _FOLDER), b""))
    ),
    Forgery(
        "a bomb: 15 MB of nothing",
        "unsafe-archive",
        lambda m: zip_of(m, ("telemetry/x.jsonl", bytes(15_000_000))),
    ),
    Forgery(
        "a member that says it has 2 GB",
        "unsafe-archive",
        lambda m: _at_both(_whole(m), _RUN_NAME, 24, struct.pack("<L", 1 << 31)),
    ),
    Forgery(
        "a member that unpacks to more than it says",
        "unsafe-archive",
        lambda m: _at_both(_whole(m), _RUN_NAME, 24, struct.pack("<L", 100)),
    ),
    Forgery(
        "members that overlap",
        "unsafe-archive",
        lambda m: _at_central(_whole(m), _RUN_NAME, 42, struct.pack("<L", 0)),
    ),
    Forgery("a member twice", "unsafe-archive", lambda m: zip_of(m, (RUN_MEMBER, b"{}"))),
    Forgery("bytes before the archive", "unsafe-archive", lambda m: b"#!/bin/sh\n" + _whole(m)),
    Forgery("bytes behind the archive", "unsafe-archive", lambda m: _whole(m) + b"evil"),
    Forgery("bytes between the members", "unsafe-archive", lambda m: _between(_whole(m))),
    Forgery("the end cut off", "unsafe-archive", lambda m: _whole(m)[:-100]),
    Forgery(
        "a header that has another name than the directory",
        "unsafe-archive",
        lambda m: _whole(m).replace(_RUN_NAME, b"RUN.json", 1),
    ),
    Forgery(
        "ZIP64",
        "unsafe-archive",
        lambda m: _at_central(_whole(m), _RUN_NAME, 20, b"\xff\xff\xff\xff"),
    ),
    Forgery("encrypted", "unsafe-archive", lambda m: _at_both(_whole(m), _RUN_NAME, 8, _ENCRYPTED)),
    Forgery(
        "compressed in another way",
        "unsafe-archive",
        lambda m: _at_both(_whole(m), _RUN_NAME, 10, _BZIP2),
    ),
    Forgery(
        "a wrong checksum",
        "unsafe-archive",
        lambda m: _at_both(_whole(m), _RUN_NAME, 16, b"\0\0\0\0"),
    ),
    Forgery(
        "an image of 60,000 x 60,000 pixels",
        "unsafe-archive",
        lambda m: hashed(m | {_first_image(m): _png_of(60_000)}),
    ),
    Forgery("no archive", "unsafe-archive", lambda _: b"<!doctype html>"),
    # Hashes and schemas.
    Forgery(
        "an edited summary",
        "hash",
        lambda m: sealed(edited(m, SUMMARY, _set("run", "cases", 0, "latency_s", to=None))),
    ),
    Forgery(
        "a byte of the records",
        "hash",
        lambda m: sealed(_with_text(m, RECORDS_MEMBER, b'"block":0', b'"block":1')),
    ),
    Forgery(
        "a member that the manifest lacks",
        "hash",
        lambda m: zip_of(m, ("telemetry/x.jsonl", b"")),
    ),
    Forgery(
        "a member that only the manifest has",
        "hash",
        lambda m: sealed({name: data for name, data in m.items() if "report" not in name}),
    ),
    Forgery(
        "a future format", "schema", lambda m: sealed(edited(m, MANIFEST, _set("format", to=2)))
    ),
    Forgery("a future schema of the run", "schema", _in_run("schema", to=99)),
    Forgery(
        "a future schema of records",
        "schema",
        lambda m: hashed(edited_records(m, _set("schema", to=99))),
    ),
    Forgery(
        "JSON nested 100,000 deep",
        "schema",
        lambda m: hashed(m | {SUMMARY: b'{"run":' + b"[" * 100_000}),
    ),
    Forgery(
        "bytes that are not UTF-8",
        "schema",
        lambda m: hashed(_with_text(m, RUN_MEMBER, b"builtin", b"built\xff\xfe")),
    ),
    Forgery(
        "a number of 10,000 digits",
        "schema",
        lambda m: hashed(_first_number(m, b"1" * 10_000)),
    ),
    Forgery(
        "a key twice, with two values",
        "schema",
        lambda m: hashed(_with_text(m, SUMMARY, b'{"schema":1', b'{"schema":1,"schema":1')),
    ),
    Forgery(
        "no summary",
        "schema",
        lambda m: hashed({name: data for name, data in m.items() if name != SUMMARY}),
    ),
    Forgery("a negative time", "schema", lambda m: hashed(_first_number(m, b"-1.0"))),
    Forgery("NaN as a time", "not-finite", lambda m: hashed(_first_number(m, b"NaN"))),
    Forgery("infinity as a time", "not-finite", lambda m: hashed(_first_number(m, b"1e999"))),
    Forgery(
        "NaN in the summary",
        "not-finite",
        _claim("run", "cases", 0, "first_pass_s", to=float("nan")),
    ),
    # Figures that do not follow from the records; hashes are repaired.
    Forgery(
        "a faster median",
        "figures-differ",
        _claim("run", "cases", 0, "latency_s", "median", to=0.5),
    ),
    Forgery("less memory", "figures-differ", _claim("run", "cases", 0, "peak_memory_bytes", to=1)),
    Forgery(
        "another verdict about images",
        "figures-differ",
        _claim("run", "cases", 0, "correct", to="broken"),
    ),
    Forgery(
        "another recommendation",
        "figures-differ",
        _claim("diagnosis", "recommendation", "goals", to=[]),
    ),
    Forgery("a claim of its own", "figures-differ", _claim("run", "award", to="fastest Mac")),
    Forgery(
        "edited records, the old summary",
        "figures-differ",
        lambda m: hashed(edited_records(m, lambda record: _faster(record, 1.01))),
    ),
    # Raw records edited; summary and hashes are repaired.
    Forgery(
        "a process's end left out",
        "record-missing",
        lambda m: repaired(without_records(m, of_kind("replicate", process(m, 3)))),
    ),
    Forgery(
        "a process's start left out",
        "record-missing",
        lambda m: repaired(without_records(m, of_kind("started", process(m, 3)))),
    ),
    Forgery(
        "a process left out altogether",
        "record-missing",
        lambda m: repaired(_without_process(m, 3)),
    ),
    Forgery(
        "a comparison with the CPU left out",
        "record-missing",
        lambda m: repaired(without_records(m, of_kind("compared", process(m, 3)))),
    ),
    Forgery(
        "a slow first pass left out",
        "record-missing",
        in_every("replicate", "passes", lambda passes: passes[1:]),
    ),
    Forgery(
        "an image left out of a comparison",
        "record-missing",
        in_every("compared", "images", lambda images: images[1:]),
    ),
    Forgery("a process twice", "record-duplicate", lambda m: repaired(_doubled(m))),
    Forgery(
        "an image's file replaced",
        "picture-differs",
        lambda m: hashed(_another_file(m)),
    ),
    Forgery(
        "an image that no record names",
        "picture-differs",
        lambda m: hashed(m | {f"images/{'0' * 64}.png": b""}),
    ),
    Forgery(
        "noise in place of an image, records adapted",
        "picture-differs",
        lambda m: repaired(_another_image(m, keep_numbers=True)),
    ),
    Forgery(
        "the same, distances left out, still called a match",
        "picture-differs",
        lambda m: repaired(_another_image(m, keep_numbers=False)),
    ),
    Forgery(
        "a margin that is not that of the images",
        "picture-differs",
        in_every("compared", "margin", lambda margin: margin / 2 if margin else -1.0),
    ),
    Forgery(
        "images closer to the CPU's than they are",
        "picture-differs",
        lambda m: repaired(edited_records(m, _closer)),
    ),
    Forgery(
        "a process that ran out of turn",
        "order",
        lambda m: repaired(_exchanged_processes(m)),
    ),
    Forgery(
        "a plan that does not fit the seed", "order", lambda m: repaired(_planned_otherwise(m))
    ),
    Forgery(
        "a plan of so many blocks that nobody can make it",
        "order",
        lambda m: repaired(edited(m, RUN_MEMBER, _many_blocks)),
    ),
    Forgery(
        "another seed",
        "order",
        lambda m: repaired(edited(m, RUN_MEMBER, _set("config", "seed", to=7))),
    ),
    Forgery(
        "times only: every pass twice as fast",
        "implausible",
        lambda m: repaired(edited_records(m, lambda record: _faster(record, 2.0))),
    ),
    Forgery(
        "passes longer than their process",
        "implausible",
        lambda m: repaired(edited_records(m, lambda record: _faster(record, 0.1))),
    ),
    Forgery(
        "wall times that differ from the clock's",
        "implausible",
        in_every("replicate", "wall_s", lambda wall_s: 2 * wall_s + 5),
    ),
    Forgery(
        "a rate that the device cannot have, all clocks adapted",
        "implausible",
        lambda m: repaired(_all_faster(m, 300.0)),
    ),
    Forgery(
        "less memory than the passes took",
        "implausible",
        in_every("replicate", "peak_memory_bytes", lambda peak: peak // 2),
    ),
    Forgery(
        "less memory than the timeline has",
        "implausible",
        in_every(
            "replicate",
            "telemetry",
            lambda read: read | {"peak_footprint_bytes": read["peak_footprint_bytes"] // 2},
        ),
    ),
    Forgery(
        "simulated records passed as real",
        "implausible",
        in_every("replicate", "simulated", lambda _: True),
    ),
    Forgery(
        "a simulated machine passed as real",
        "implausible",
        lambda m: repaired(edited(m, RUN_MEMBER, _set("machine_facts", "simulated", to=True))),
    ),
    Forgery(
        "the stand-in device passed as real",
        "implausible",
        lambda m: repaired(edited(m, RUN_MEMBER, _set("preload", to=["sdbench_standin"]))),
    ),
    Forgery(
        "Metal on Linux",
        "implausible",
        lambda m: repaired(edited_records(edited(m, RUN_MEMBER, _of_mps), _device_of_mps)),
    ),
    Forgery(
        "another chip than the facts have",
        "implausible",
        lambda m: repaired(edited(m, RUN_MEMBER, _set("machine", "chip", to="Apple M4 Max"))),
    ),
    Forgery("a chip that no such machine has", "implausible", _of_chip("Apple M4 Max")),
    Forgery(
        "more cores than a machine has",
        "implausible",
        lambda m: repaired(edited(m, RUN_MEMBER, _with_fact("cores_logical", 10**9))),
    ),
    Forgery(
        "more GPU cores than the chip has",
        "implausible",
        lambda m: repaired(edited(m, RUN_MEMBER, _of_many_gpu_cores)),
    ),
    Forgery(
        "processes that ran at the same time",
        "implausible",
        lambda m: repaired(edited_records(m, _at_once)),
    ),
    Forgery(
        "a run created after its processes",
        "implausible",
        _in_run_repaired("created_utc", to="2099-01-01T00:00:00+00:00"),
    ),
    Forgery("a date that is none", "schema", _in_run_repaired("created_utc", to="yesterday")),
    Forgery(
        "a machine id that sdbench never made",
        "schema",
        _in_run_repaired("machine_id", to="../../x"),
    ),
    Forgery("a label of 100,000 letters", "schema", _in_run_repaired("label", to="x" * 100_000)),
    Forgery("a torch that never existed", "implausible", with_version("torch", "2.7.9")),
    Forgery("a diffusers that never existed", "implausible", with_version("diffusers", "0.24.9")),
]
