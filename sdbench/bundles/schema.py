"""JSON schemas (draft 2020-12) of what a run leaves on disk, made from the types themselves."""

import json
from typing import Any

import msgspec

from sdbench.bundles.format import MANIFEST, RECORDS_MEMBER, RUN_MEMBER, SUMMARY, Manifest
from sdbench.bundles.summary import Summary
from sdbench.errors import UsageError
from sdbench.records import Record, Run
from sdbench.words import did_you_mean, shortened

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """The members of a bundle that are JSON, by name; ``records.jsonl`` has one record a line."""

    manifest: Manifest = msgspec.field(name=MANIFEST)
    run: Run = msgspec.field(name=RUN_MEMBER)
    records: list[Record] = msgspec.field(name=RECORDS_MEMBER)
    summary: Summary = msgspec.field(name=SUMMARY)


SCHEMAS: dict[str, tuple[Any, str]] = {
    "run": (Run, "run.json of a run folder"),
    "records": (Record, "one line of records.jsonl"),
    "bundle": (Bundle, "the members of a bundle, by name"),
}
"""The type of each schema, and what it describes."""


def schema_of(name: str) -> dict[str, Any]:
    """The schema of that name, as plain data.

    Raises:
        UsageError: there is none.
    """
    if name not in SCHEMAS:
        raise UsageError(
            f"no schema {shortened(name)!r}; {did_you_mean(name, SCHEMAS)}there are "
            f"{', '.join(SCHEMAS)}"
        )
    kind, about = SCHEMAS[name]
    document = _for_everybody(msgspec.json.schema(kind))
    return {"$schema": _DIALECT, "title": f"sdbench: {about}", **document}


def schema_text(name: str) -> str:
    """The schema as a file has it.

    Raises:
        UsageError: there is none of that name.
    """
    return json.dumps(schema_of(name), indent=1, allow_nan=False) + "\n"


def _for_everybody(value: Any) -> Any:
    r"""The same with patterns as ECMAScript has them, where a text ends with ``$``, not ``\Z``."""
    if isinstance(value, dict):
        return {
            key: one.replace("\\Z", "$")
            if key == "pattern" and isinstance(one, str)
            else _for_everybody(one)
            for key, one in value.items()
        }
    return [_for_everybody(one) for one in value] if isinstance(value, list) else value
