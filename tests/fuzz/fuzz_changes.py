"""Each place of a document changed once, and a document with everything in it, both by types."""

import copy
import types
import typing
from collections.abc import Iterator
from typing import Any

import msgspec
from fuzz_documents import INSIDE
from fuzz_values import TEXTS

Path = tuple[str | int, ...]
GONE = object()

_OTHERS = (GONE, None, {"zz": [1]}, [{"zz": 1}], "zz\x1b", 2.5, -1, 1 << 70, 1e300, True)


def changes(document: Any, kind: Any, offset: int = 0) -> Iterator[tuple[str, Any, bool]]:
    """Each place once in each way: a name, the document, and whether types alone forbid it."""
    for path, part, needed in typed_places(document, kind, of_lists=1):
        for number, value in enumerate(_OTHERS):
            name = ".".join(map(str, path)) + f"-{number}"
            if value is GONE:
                yield name, changed(document, path, GONE), needed
            else:
                yield name, changed(document, path, value), not fits(value, part)
    if isinstance(document, dict):
        for text in (TEXTS[offset % len(TEXTS)], "zz"):
            yield f"more-{text[:3].encode().hex()}", {**document, text: 1}, False


def typed_places(
    document: Any, kind: Any, before: Path = (), *, of_lists: int | None = None
) -> Iterator[tuple[Path, Any, bool]]:
    """Every place with its type, and whether something must stand there.

    ``of_lists``: only so many entries of each list.
    """
    plain = _plain(kind)
    if isinstance(document, dict):
        fields = {}
        if isinstance(plain, type) and issubclass(plain, msgspec.Struct):
            fields = {one.encode_name: one for one in msgspec.structs.fields(plain)}
        values = typing.get_args(plain)[1] if typing.get_origin(plain) is dict else Any
        for key, value in document.items():
            part = INSIDE.get(key, values) if key not in fields else fields[key].type
            if part == dict[str, Any]:
                part = INSIDE.get(key, part)
            yield (*before, key), part, key in fields and fields[key].required
            yield from typed_places(value, part, (*before, key), of_lists=of_lists)
    elif isinstance(document, list) and document:
        part = typing.get_args(plain)[0] if typing.get_origin(plain) in (list, tuple) else Any
        for at, value in enumerate(document[:of_lists]):
            yield (*before, at), part, False
            yield from typed_places(value, part, (*before, at), of_lists=of_lists)


def _plain(kind: Any) -> Any:
    """Without what may be None; of several types the one with parts."""
    if typing.get_origin(kind) is typing.Annotated:
        return _plain(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        parts = [_plain(part) for part in typing.get_args(kind) if part is not type(None)]
        return next((one for one in parts if hasattr(one, "__struct_config__")), parts[0])
    return kind


def fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except (msgspec.ValidationError, OverflowError):
        return False
    return True


def changed(document: Any, path: Path, value: Any) -> Any:
    """A copy with another value there; what is on no way to it is shared."""
    key, *rest = path
    made = copy.copy(document)
    if rest:
        made[key] = changed(document[key], tuple(rest), value)
    elif value is GONE:
        del made[key]
    else:
        made[key] = value
    return made


def whole(kind: Any) -> Any:
    """A value of a type with everything in it that may be there."""
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        notes = [note for note in kind.__metadata__ if isinstance(note, msgspec.Meta)]
        if any(note.pattern for note in notes):
            return "64x64"
        return whole(typing.get_args(kind)[0])
    if origin is typing.Literal:
        return typing.get_args(kind)[0]
    if origin in (typing.Union, types.UnionType):
        return whole(next(one for one in typing.get_args(kind) if one is not type(None)))
    if origin in (list, tuple):
        return [whole(typing.get_args(kind)[0])]
    if origin is dict:
        return {"facts": {}} if typing.get_args(kind)[1] is Any else {}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        made = {one.encode_name: whole(one.type) for one in msgspec.structs.fields(kind)}
        tag = kind.__struct_config__.tag
        return made if tag is None else {str(kind.__struct_config__.tag_field): tag, **made}
    return {str: "x", bool: True, int: 1, float: 1.0}.get(kind, {})
