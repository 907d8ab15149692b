"""Holds equal parts of many records once: all processes of a run report the same device."""

from typing import Any, TypeVar

import msgspec

from sdbench.schema import Record, Replicate

T = TypeVar("T")
_ENCODE = msgspec.json.Encoder().encode
_TABLES = ("versions", "device")


class Sharing:
    """Remembers the parts that it has seen."""

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}

    def shared(self, record: Record) -> Record:
        """The record, with the parts of earlier ones where they are equal."""
        if isinstance(record, Replicate):
            for name in _TABLES:
                self._share(record, name)
            self._share(record.gate, "unavailable")
            if record.telemetry is not None:
                self._share(record.telemetry, "unavailable")
            for entry in record.passes:
                for index, picture in enumerate(entry.images):
                    entry.images[index] = self._known.setdefault(picture, picture)
        return record

    def _share(self, owner: msgspec.Struct, name: str) -> None:
        table = getattr(owner, name)
        if table:
            known = self._known.setdefault(_ENCODE(table), table)
            msgspec.structs.force_setattr(owner, name, known)
