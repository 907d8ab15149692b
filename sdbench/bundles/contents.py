"""What of a run folder goes into a bundle: the members' bytes, without what is private."""

import dataclasses
import json
import os
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sdbench.bundles.format import RECORDS_MEMBER, RUN_MEMBER
from sdbench.bundles.installation import Installation
from sdbench.correctness.artifact_files import Artifacts, most_pixels
from sdbench.files.access import MIB, read_inside
from sdbench.machine.facts import THERMAL_LEVELS
from sdbench.privacy.redact_shared import Kept, shared
from sdbench.records import Record, Run
from sdbench.runs import LoadedRun
from sdbench.runs.timelines import TimelinePoint, read_timeline, thinned

MOST_PICTURE_BYTES = 2_000_000
"""Of all images of a bundle together, so that the default run's takes at most 3 MB; one may be
larger."""
# The marks that stand for private words have brackets, which names may not have.
_NOT_IN_A_NAME = re.compile("[<>]")
_MOST_FILE_BYTES = 32 * MIB
_ENCODE = msgspec.json.Encoder().encode
_NOT_PRINTABLE = re.compile("[^\\x00-\\x7f]")
_PNG_HEAD = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")


@dataclass(frozen=True)
class Contents:
    """Members of a bundle by name, and what was left out of the run's images and timelines."""

    members: dict[str, bytes]
    loaded: LoadedRun
    """The run without what is private; its files are those of the original."""
    large_pictures: int
    damaged_pictures: int
    thinned_readings: int


def without_identity(loaded: LoadedRun, kept: Kept, installation: Installation) -> LoadedRun:
    """The run as it may be given to anybody, and under the installation's random id."""
    (redacted,) = shared([loaded], kept=kept, salt=installation.salt)
    run = redacted.run
    sittings = [
        msgspec.structs.replace(one, boot_id=one.boot_id and installation.boot(one.boot_id))
        for one in run.sittings
    ]
    started = [
        msgspec.structs.replace(one, boot_id=one.boot_id and installation.boot(one.boot_id))
        for one in redacted.started
    ]
    attempts = [
        one
        if one.machine_id is msgspec.UNSET
        else msgspec.structs.replace(one, machine_id=installation.machine(one.machine_id))
        for one in redacted.attempts
    ]
    selftest = run.selftest and msgspec.structs.replace(
        run.selftest, machine_id=installation.machine(run.selftest.machine_id)
    )
    run = msgspec.structs.replace(
        run,
        run_id=_as_name(run.run_id),
        config={**run.config, "name": _as_name(str(run.config["name"]))},
        machine_id=installation.machine(run.machine_id),
        sittings=sittings,
        selftest=selftest,
        devices=[
            msgspec.structs.replace(one, machine_id=installation.machine(one.machine_id))
            for one in run.devices
        ],
    )
    return dataclasses.replace(redacted, run=run, started=started, attempts=attempts)


def _as_name(text: str) -> str:
    return _NOT_IN_A_NAME.sub("", text)


def contents_of(loaded: LoadedRun) -> Contents:
    """The members that come from the run folder, of a run :func:`without_identity`."""
    pictures, large, damaged = _pictures(loaded)
    timelines, thinned_readings = _timelines(loaded)
    members = {
        RUN_MEMBER: _printable(msgspec.json.format(_ENCODE(loaded.run), indent=1)) + b"\n",
        RECORDS_MEMBER: b"".join(_lines(loaded.run, loaded.records())),
        **pictures,
        **timelines,
    }
    return Contents(members, loaded, large, damaged, thinned_readings)


def _lines(run: Run, records: Iterator[Record]) -> Iterator[bytes]:
    """The records as a run folder has them: each names its run."""
    for record in records:
        named = msgspec.structs.replace(record, run_id=run.run_id)
        yield _printable(_ENCODE(named)) + b"\n"


def _printable(document: bytes) -> bytes:
    """JSON in which what a terminal could obey is escaped, as all that is not ASCII."""
    if document.isascii() and b"\x7f" not in document:
        return document
    escaped = _NOT_PRINTABLE.sub(lambda found: json.dumps(found[0])[1:-1], document.decode())
    return escaped.replace("\x7f", "\\u007f").encode()


# --- images ---------------------------------------------------------------------------------------


def _pictures(loaded: LoadedRun) -> tuple[dict[str, bytes], int, int]:
    """Images by member name, up to a limit; how many it left out, and how many are damaged."""
    artifacts = Artifacts(loaded.files, most_pixels(loaded.run.plan))
    found: dict[str, bytes] = {}
    large = damaged = 0
    room = MOST_PICTURE_BYTES
    for digest in _by_importance(loaded):
        data = _image_file(loaded.files, digest)
        if data is None:
            continue
        bare = _without_metadata(data)
        if bare is None or artifacts.pixels(digest) is None:
            damaged += 1
        elif found and len(bare) > room:  # without any image nobody can check one
            large += 1
        else:
            found[f"images/{digest}.png"] = bare
            room -= len(bare)
    return found, large, damaged


def _by_importance(loaded: LoadedRun) -> list[str]:
    """Hashes of images: the first of each case, the rest, then the CPU's."""
    first: dict[tuple[str, str], list[str]] = {}
    rest: list[str] = []
    for entry in loaded.replicates:
        for one in entry.passes:
            hashes = [picture.pixels_sha256 for picture in one.images]
            rest += hashes
            first.setdefault((entry.case_id, entry.arm), hashes[:1])
    compared = [
        image.reference_pixels_sha256
        for record in loaded.compared
        for image in record.images
        if image.reference_pixels_sha256 is not None
    ]
    checks = [check.pixels_sha256 for check in loaded.checks if check.pixels_sha256]
    ordered = [*(one for own in first.values() for one in own), *checks, *rest, *compared]
    return [*dict.fromkeys(ordered)]


def _image_file(folder: Path, digest: str) -> bytes | None:
    try:
        return read_inside(folder, "images", f"{digest}.png", most_bytes=_MOST_FILE_BYTES)
    except OSError:
        return None


def _without_metadata(data: bytes) -> bytes | None:
    """A PNG with the chunks that are its pixels and no others; None where it is none."""
    if not data.startswith(_PNG_HEAD):
        return None
    kept, at = [_PNG_HEAD], len(_PNG_HEAD)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, end = data[at + 4 : at + 8], at + 12 + length
        if end > len(data):
            return None
        if kind in _PNG_CHUNKS:
            kept.append(data[at:end])
        if kind == b"IEND":
            return b"".join(kept)
        at = end
    return None


# --- timelines ------------------------------------------------------------------------------------


def _timelines(loaded: LoadedRun) -> tuple[dict[str, bytes], int]:
    """Timelines by member name, thinned; how many readings that left out."""
    found: dict[str, bytes] = {}
    left_out = 0
    for entry in loaded.attempts:
        points = read_timeline(loaded.files, loaded.timeline_name(entry))
        if not points:
            continue
        samples = [point for point in points if point.phase is None]
        chosen = thinned(samples)
        left_out += len(samples) - len(chosen)
        kept = {id(point) for point in chosen}
        lines = [_line(point) for point in points if point.phase is not None or id(point) in kept]
        found[f"telemetry/{entry.replicate_id}.{entry.attempt}.jsonl"] = b"".join(lines)
    return found, left_out


def _line(point: TimelinePoint) -> bytes:
    """A reading without what it does not have; levels are a fixed set of words."""
    fields = {
        name: value
        for name, value in msgspec.structs.asdict(point).items()
        if value is not None and (name != "thermal" or value in THERMAL_LEVELS)
    }
    return _ENCODE(fields) + b"\n"


def count_files(folder: Path, names: Sequence[str]) -> int:
    """How many files the folders of a run have together."""
    count = 0
    for name in names:
        try:
            count += sum(1 for entry in os.scandir(folder / name) if entry.is_file())
        except OSError:
            continue
    return count
