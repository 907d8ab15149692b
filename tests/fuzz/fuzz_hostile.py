"""Runs in which every text that a stranger may choose is hostile, for every verb that shows one."""

import json
from collections.abc import Iterator
from typing import Any

from fuzz_changes import typed_places
from fuzz_documents import RECORDS, encoded
from fuzz_trees import Odd
from fuzz_values import CANARY, SECRET
from fuzz_ways import Subject

from sdbench.records import Run

HOSTILE = (
    f"\x1b[31m\u202ex\x00 {CANARY}",
    f"x\u2028y\x85\r\n</system-out><{CANARY} a='1'>]]>",
    f"\"'`| [x](https://{CANARY}.example) <{CANARY} onload=x()>",
    f"\"\"\"\n{CANARY}()\n''' \\",
    f"=cmd|{CANARY}\ufffe {SECRET}",
    f"x\n# {CANARY}\n{CANARY}()\n```\n<script>{CANARY}</script>",
)
"""Short: a long one may be cut before what matters. Each turns the direction of what follows."""
_TIES = {
    *("case_id", "arm", "replicate_id", "run_id", "stack", "base", "new", "resolution", "by"),
    *("scheduler", "device", "start", "start_method", "phase", "axis", "type", "pipeline_class"),
}
"""What holds a run together, or is one of a few known words: another text makes it no run."""


def hostile(subject: Subject, number: int) -> dict[str, bytes | Odd]:
    """The run's files; ``number`` says which text stands where."""
    files = dict(subject.tree)
    run = json.loads(files["run.json"])  # type: ignore[arg-type]
    _put(run, Run, number)
    files["run.json"] = encoded(run)
    lines = []
    for at, line in enumerate(files["records.jsonl"].splitlines()):  # type: ignore[union-attr]
        record = json.loads(line)
        _put(record, RECORDS[record["type"]], number + at)
        lines.append(encoded(record) + b"\n")
    files["records.jsonl"] = b"".join(lines)
    return files


def _put(document: Any, kind: Any, number: int) -> None:
    for at, (table, key) in enumerate(_texts(document, kind)):
        table[key] = HOSTILE[(number + at) % len(HOSTILE)] + "\u202e"


def _texts(document: Any, kind: Any) -> Iterator[tuple[Any, Any]]:
    """Texts that may be any, and are no names of files."""
    for path, part, _ in [*typed_places(document, kind)]:
        names = [one for one in path if isinstance(one, str)]
        tied = not _TIES.isdisjoint(names[-1:]) or names[-1].endswith(("_utc", "sha256"))
        inside = names[:1] == ["config"] and names[1:] not in (["prompts"], ["description"])
        arm_name = names == ["plan", "arms", "name"]
        table = document
        for one in path[:-1]:
            table = table[one]
        free = part in (str, str | None, Any) and isinstance(table[path[-1]], str)
        if free and not (tied or inside or arm_name):
            yield table, path[-1]
