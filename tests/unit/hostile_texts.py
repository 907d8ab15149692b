"""Hostile values put into every place of a record that can hold one, whatever fields it has."""

import copy
from collections.abc import Iterator
from typing import Any

import msgspec

TEXTS = [
    "2; __import__('os').system('id')",
    'x"; import os; os.system("id") #/y',
    "evil/model\nimport os; os.system('id')\n#",
    '"""\nimport os\n"""',
    "x\\",
    "{0}{steps}{__class__}",
    "`\n\n# A heading of theirs\n\n![x](https://example.org/x.png) <script>alert(1)</script>",
    "]]> --> </textarea><svg onload=alert(1)> @everyone #1 | x | y",
    "=cmd|' /C calc'!A0",
    "+1\t-1\r@x",
    "\x1b]0;x\x07 \u202egnp \u2028import os \x85",
    "DiffusionPipeline",
    "StableDiffusionPipeline.from_pretrained('evil/x'),",
]
NUMBERS = [-1, 0, 10**18, 1e300, -0.5]
_KEY = 'x"; import os #\n`|<b>'

Place = tuple[str | int, ...]


def hostile_variants(record: msgspec.Struct) -> Iterator[tuple[Place, Any, Any]]:
    """Place, value put there, and the record with it; only what ``run.json`` could hold.

    Every text, number and None is replaced, every list and dict gets another entry. What the types
    refuse is no variant, since it is refused when the record is read.
    """
    document = msgspec.to_builtins(record)
    for place, values in _places(document, ()):
        for value in values:
            try:
                changed = msgspec.convert(_with(document, place, value), type(record))
            except (msgspec.ValidationError, ValueError):
                continue
            yield place, value, changed


def _places(value: Any, at: Place) -> Iterator[tuple[Place, list[Any]]]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _places(one, (*at, key))
        yield (*at, _KEY), TEXTS[:2]
    elif isinstance(value, list):
        for index, one in enumerate(value[:2]):
            yield from _places(one, (*at, index))
        yield (*at, len(value)), TEXTS[:3]
    else:
        yield at, [*TEXTS, *NUMBERS]


def _with(document: Any, place: Place, value: Any) -> Any:
    changed = copy.deepcopy(document)
    target = changed
    *path, last = place
    for step in path:
        target = target[step]
    if isinstance(target, list) and last == len(target):
        target.append(value)
    else:
        target[last] = value
    return changed
