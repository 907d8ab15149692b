"""Every text of a record that anybody may have written, found by its type: new fields are too."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from sdbench.runs.secrets import SECRET, is_secret_name

_S = TypeVar("_S")
# Fields that map names of environment variables, in whatever case, to their values.
_VARIABLES = ("env", "environment")


def map_texts(
    value: _S, change: Callable[[str], str], change_key: Callable[[str], str] = lambda key: key
) -> _S:
    """The same with every text in it changed that is not one of a fixed set.

    Values of variables whose name says that they are secret become ``<secret>``.
    """
    return _mapped(value, change, change_key)  # type: ignore[no-any-return]


def _mapped(
    value: Any,
    change: Callable[[str], str],
    change_key: Callable[[str], str],
    *,
    variables: bool = False,
) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {
            change_key(key): SECRET
            if isinstance(one, str) and _is_secret(key, variables)
            else _mapped(one, change, change_key, variables=key in _VARIABLES)
            for key, one in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_mapped(one, change, change_key) for one in value]
    if not isinstance(value, msgspec.Struct):
        return value
    texts = {
        name: _mapped(getattr(value, name), change, change_key, variables=name in _VARIABLES)
        for name in _free_fields(type(value))
    }
    return msgspec.structs.replace(value, **texts)


def _is_secret(key: str, variable: bool) -> bool:
    """Facts have keys in small letters, which may well hold the word "token"."""
    return (variable or key == key.upper()) and is_secret_name(key)


@functools.cache
def _free_fields(record: type[msgspec.Struct]) -> tuple[str, ...]:
    """Names of the fields that may hold such a text."""
    reported = inspect.type_info(record)
    assert isinstance(reported, inspect.StructType)
    return tuple(entry.name for entry in reported.fields if _is_free(entry.type))


def _is_free(reported: inspect.Type) -> bool:
    """Whether a value of that type may hold a text that is not one of a fixed set."""
    if isinstance(reported, inspect.StrType):
        return reported.pattern is None
    if isinstance(reported, (inspect.AnyType, inspect.DictType, inspect.StructType)):
        return True
    if isinstance(reported, inspect.UnionType):
        return any(_is_free(one) for one in reported.types)
    if isinstance(reported, inspect.CollectionType):
        return _is_free(reported.item_type)
    return isinstance(reported, inspect.TupleType) and any(
        _is_free(one) for one in reported.item_types
    )
