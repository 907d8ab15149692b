"""What every record has, and the version of the schema."""

import msgspec

SCHEMA_VERSION = 1


class Recorded(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag_field="type"):
    """What every line of ``records.jsonl`` has.

    ``run_id`` is in the file only: :meth:`~sdbench.runs.RunFolder.append` writes it, and whoever
    reads it takes only records that name the run they lie with, or, of an older sdbench, none.
    """

    schema: int = SCHEMA_VERSION
    run_id: str | msgspec.UnsetType = msgspec.UNSET
