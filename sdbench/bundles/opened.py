"""What is in the members of a bundle, decoded strictly: every line counts, or the bundle is
refused."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from sdbench.bundles.format import (
    FORMAT,
    MANIFEST,
    RECORDS_MEMBER,
    RUN_MEMBER,
    SUMMARY,
    Manifest,
)
from sdbench.bundles.refusal import RefusedError
from sdbench.errors import StoreError
from sdbench.files.access import TOO_DEEP
from sdbench.records import SCHEMA_VERSION, Record, Replicate
from sdbench.runs import LoadedRun, as_believed, run_of_bytes
from sdbench.runs.timelines import TimelinePoint
from sdbench.words import shortened

_RECORD = msgspec.json.Decoder(Record)
_POINT = msgspec.json.Decoder(TimelinePoint)


@dataclass(frozen=True)
class Opened:
    """A bundle whose hashes are right and whose members are what they should be."""

    recorded: LoadedRun
    loaded: LoadedRun
    """The same without figures that rest on an instrument that failed its selftest."""
    records: list[Record]
    """In the order of the file."""
    summary: dict[str, Any]
    members: Mapping[str, bytes]
    lines_left_out: int
    """Lines of the run's records file that the bundle does not have, as it says itself."""


def timeline_of(
    members: Mapping[str, bytes], loaded: LoadedRun, entry: Replicate
) -> list[TimelinePoint]:
    """The timeline of a process; none where there is no such member.

    Raises:
        RefusedError: a line is not one of a timeline.
    """
    name = f"telemetry/{loaded.timeline_name(entry)}"
    data = members.get(name)
    return [] if data is None else [*_decoded_lines(data, name, _POINT)]


def opened(members: Mapping[str, bytes]) -> Opened:
    """Check hashes and decode.

    Raises:
        RefusedError: hash, schema, not-finite, record-duplicate.
    """
    manifest = _checked_manifest(members)
    _refuse_newer(_document(members[RUN_MEMBER], RUN_MEMBER), RUN_MEMBER)
    summary = _document(members[SUMMARY], SUMMARY)
    try:
        recorded = run_of_bytes(members[RUN_MEMBER], members[RECORDS_MEMBER], Path())
    except StoreError as error:
        raise RefusedError("schema", str(error)) from None
    recorded = dataclasses.replace(recorded, path=Path(recorded.run.run_id))
    if recorded.unreadable:
        for _ in _decoded_lines(members[RECORDS_MEMBER], RECORDS_MEMBER, _RECORD):
            pass  # it raises what is wrong
    if recorded.unreadable or recorded.left_out:
        raise RefusedError("schema", _first_warning(recorded))
    if recorded.schema > SCHEMA_VERSION:
        raise _newer(RECORDS_MEMBER, recorded.schema)
    records = list(recorded.records())
    return Opened(
        recorded, as_believed(recorded), records, summary, members, manifest.lines_left_out
    )


def _checked_manifest(members: Mapping[str, bytes]) -> Manifest:
    document = _document(members[MANIFEST], MANIFEST)
    known = document.get("format")
    if isinstance(known, int) and known > FORMAT:
        raise RefusedError("schema", f"{MANIFEST}: format {known}, and this sdbench knows {FORMAT}")
    try:
        manifest = msgspec.convert(document, Manifest)
    except msgspec.ValidationError as error:
        raise RefusedError("schema", f"{MANIFEST}: {error}") from None
    if manifest.format != FORMAT:
        raise RefusedError("schema", f"{MANIFEST}: format {manifest.format}, expected {FORMAT}")
    there = members.keys() - {MANIFEST}
    for name in sorted(manifest.members.keys() - there):
        raise RefusedError("hash", f"{shortened(name)} is in {MANIFEST} and not in the bundle")
    for name in sorted(there - manifest.members.keys()):
        raise RefusedError("hash", f"{name} is in the bundle and not in {MANIFEST}")
    for name, sealed in manifest.members.items():
        data = members[name]
        if len(data) != sealed.bytes or hashlib.sha256(data).hexdigest() != sealed.sha256:
            raise RefusedError("hash", f"{name} is not what {MANIFEST} says: it was changed")
    return manifest


def _first_warning(loaded: LoadedRun) -> str:
    return next(iter(loaded.warnings), f"{RECORDS_MEMBER}: records of another run")


def _refuse_newer(document: Mapping[str, Any], name: str) -> None:
    schema = document.get("schema", 1)
    if isinstance(schema, int) and schema > SCHEMA_VERSION:
        raise _newer(name, schema)


def _newer(name: str, schema: int) -> RefusedError:
    words = f"{name}: schema {shortened(str(schema))}, and this sdbench knows {SCHEMA_VERSION}"
    return RefusedError("schema", f"{words}; verify it with a newer sdbench")


def _document(data: bytes, name: str) -> dict[str, Any]:
    """A JSON object, without NaN, without a key that is there twice, not deeply nested."""
    document = _strictly(data, name)
    if not isinstance(document, dict):
        raise RefusedError("schema", f"{name}: expected a JSON object")
    return document


def _decoded_lines(data: bytes, name: str, decoder: msgspec.json.Decoder[Any]) -> Iterator[Any]:
    if data and not data.endswith(b"\n"):
        raise RefusedError("schema", f"{name}: its last line is cut")
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        where = f"{name} line {number}"
        try:
            yield decoder.decode(line)
        except RecursionError:
            raise RefusedError("schema", f"{where}: {TOO_DEEP}") from None
        except (msgspec.MsgspecError, ValueError) as error:
            _strictly(line, where)
            raise RefusedError("schema", f"{where}: {error}") from None


def _strictly(data: bytes, name: str) -> Any:
    """Decode JSON, and say what is wrong with it.

    Raises:
        RefusedError: it has NaN or infinity, a key twice, or is no JSON.
    """

    def not_finite(text: str) -> NoReturn:
        raise RefusedError("not-finite", f"{name}: {shortened(text)} is no finite number")

    def finite(text: str) -> float:
        number = float(text)
        return number if math.isfinite(number) else not_finite(text)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise RefusedError("schema", f"{name}: a key is there twice in one object")
        return found

    try:
        return json.loads(
            data.decode("utf-8"),
            parse_constant=not_finite,
            parse_float=finite,
            object_pairs_hook=once,
        )
    except RecursionError:
        raise RefusedError("schema", f"{name}: {TOO_DEEP}") from None
    except UnicodeDecodeError:
        raise RefusedError("schema", f"{name}: not UTF-8") from None
    except ValueError as error:
        raise RefusedError(
            "schema", f"{name}: no JSON that is read: {shortened(str(error))}"
        ) from None
