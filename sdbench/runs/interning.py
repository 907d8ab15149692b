"""Holds equal parts of many records once: all processes of a run report the same device."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from sdbench.records import Record, Replicate

_ENCODE = msgspec.json.Encoder().encode


class Sharing:
    """Remembers the parts that it has seen; a table that it has seen is not checked again."""

    def __init__(self, device_fault: Callable[[Mapping[str, Any]], str | None]) -> None:
        self._known: dict[Any, Any] = {}
        self._device_fault = device_fault

    def shared(self, record: Record) -> Record:
        """The record, with the parts of earlier ones where they are equal.

        Raises:
            ValueError: the device's table is not what a worker tells.
        """
        if isinstance(record, Replicate):
            self._share_device(record)
            self._share(record, "versions")
            self._share(record.gate, "unavailable")
            if record.telemetry is not None:
                self._share(record.telemetry, "unavailable")
            for entry in record.passes:
                for index, picture in enumerate(entry.images):
                    entry.images[index] = self._known.setdefault(picture, picture)
        return record

    def _share_device(self, record: Replicate) -> None:
        key = "device", _ENCODE(record.device)
        if key not in self._known:
            fault = self._device_fault(record.device)
            if fault is not None:
                raise ValueError(fault)
            self._known[key] = record.device
        msgspec.structs.force_setattr(record, "device", self._known[key])

    def _share(self, owner: msgspec.Struct, name: str) -> None:
        table = getattr(owner, name)
        if table:
            known = self._known.setdefault(_ENCODE(table), table)
            msgspec.structs.force_setattr(owner, name, known)
