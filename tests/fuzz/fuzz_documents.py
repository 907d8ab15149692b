"""JSON and TOML documents: the places in them, their types, and how they are written down."""

import json
import re
import types
import typing
from collections.abc import Iterator
from typing import Any

import msgspec

from sdbench.fleet.fleet_file import FleetPlan
from sdbench.fleet.ledger import Event
from sdbench.machine import MachineFacts
from sdbench.machine.recording import RecordedCommand, RecordedFacts
from sdbench.plan.config import Config
from sdbench.records import Record, Run
from sdbench.runs.timelines import TimelinePoint

Place = tuple[Any, Any, Any]
"""A table or list, the key in it, and the type of what stands there (Any: not known)."""

RECORDS = {kind.__struct_config__.tag: kind for kind in typing.get_args(Record)}
EVENTS = {kind.__struct_config__.tag: kind for kind in typing.get_args(Event)}
# What the types leave open, and code behind them relies on.
INSIDE = {"config": Config, "machine_facts": MachineFacts}
_MOST_PLACES = 4000
_DEEP = re.compile(r'"@deep([0-9]+)@"')


def deep(depth: int) -> str:
    """Stands for so many lists in each other, which no encoder would write."""
    return f"@deep{depth}@"


def encoded(document: Any) -> bytes:
    """As JSON, NaN and infinity included."""
    text = json.dumps(document, ensure_ascii=False)
    return _DEEP.sub(_nested, text).encode("utf-8", "surrogatepass")


def _nested(match: re.Match[str]) -> str:
    return "[" * int(match[1]) + "]" * int(match[1])


def kind_of(file: str, document: Any) -> Any:
    """The type of a document, by the name of its file and its tag."""
    if file.endswith("run.json"):
        return Run
    if file.endswith("records.jsonl"):
        return RECORDS.get(document.get("type") if isinstance(document, dict) else None, Any)
    if file.endswith("fleet.json"):
        return FleetPlan
    if file.endswith("ledger.jsonl"):
        return EVENTS.get(document.get("event") if isinstance(document, dict) else None, Any)
    if "telemetry/" in file:
        return TimelinePoint
    if file.endswith("facts.json"):
        return RecordedFacts
    if file.endswith("commands.json"):
        return list[RecordedCommand]
    return Config if file.endswith(".toml") else Any


def places(document: Any, kind: Any) -> list[Place]:
    """Every place in a document; of a very large one the first."""
    found: list[Place] = []
    for place in _places(document, kind):
        found.append(place)
        if len(found) >= _MOST_PLACES:
            break
    return found


def _places(document: Any, kind: Any) -> Iterator[Place]:
    kind = _plain(kind)
    if isinstance(document, dict):
        fields: dict[str, Any] = {}
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            fields = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
        values = typing.get_args(kind)[1] if typing.get_origin(kind) is dict else Any
        for key, value in document.items():
            part = fields.get(key, values)
            if part == dict[str, Any]:
                part = INSIDE.get(key, part)
            yield document, key, part
            yield from _places(value, part)
        # What is not there may be put there.
        for key, part in fields.items():
            if key not in document:
                yield document, key, part
    elif isinstance(document, list):
        part = typing.get_args(kind)[0] if typing.get_origin(kind) in (list, tuple) else Any
        for index, value in enumerate(document):
            yield document, index, part
            yield from _places(value, part)


def _plain(kind: Any) -> Any:
    """Without what may be None, and of several types the one with parts."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        parts = [part for part in typing.get_args(kind) if part is not type(None)]
        kind = next((part for part in parts if not isinstance(part, type)), parts[0])
    return typing.get_args(kind)[0] if typing.get_origin(kind) is typing.Annotated else kind


def words_of(document: Any) -> list[str]:
    """The texts in a document, each once."""
    found: dict[str, None] = {}

    def walk(value: Any) -> None:
        if isinstance(value, str):
            found[value] = None
        elif isinstance(value, dict):
            for one in value.values():
                walk(one)
        elif isinstance(value, list):
            for one in value:
                walk(one)

    walk(document)
    return [*found][:500]


def toml_of(document: dict[str, Any]) -> bytes:
    """As TOML, as far as it can be; what is None is left out."""
    lines = [f"{_key(key)} = {_value(value)}" for key, value in document.items() if _is_said(value)]
    text = _DEEP.sub(_nested, "\n".join(lines)) + "\n"
    return text.encode("utf-8", "replace")


def _is_said(value: Any) -> bool:
    return value is not None


def _key(key: Any) -> str:
    text = str(key)
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else _text(text)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        inner = ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items() if _is_said(v))
        return f"{{ {inner} }}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_value(entry) for entry in value if _is_said(entry))}]"
    return repr(value).replace("e+", "e") if isinstance(value, float) else str(value)
