"""Reads a configuration: TOML to settings, with one line for what is wrong in it."""

import functools
import os
import re
import typing
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import msgspec

from sdbench.errors import ConfigError
from sdbench.files.toml import TomlError, parse_toml, read_toml
from sdbench.plan.config import (
    Config,
    Matrix,
    Pressure,
)
from sdbench.records import Arm
from sdbench.words import did_you_mean, shortened

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RESOLUTION = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")
_LONGEST_SHOWN = 200
# The VAE halves a side three times; what is beyond the limits makes no image or fits no memory.
_MULTIPLE, _LEAST, _MOST = 8, 64, 8192
_SHARE = re.compile(r"([0-9]{1,2})%")
# More leaves the system itself nothing; the guard would end every case.
_LARGEST_SHARE = 90
# key: (lowest, highest); None is no limit
_RANGES: dict[str, tuple[float, float | None]] = {
    "steps": (1, 1000),
    "guidance_scale": (0, 100),
    "strength": (0.01, 1),
    "seed": (0, 2**63 - 1),
    "images": (1, 64),
    "passes": (1, 10_000),
    "sustain_minutes": (0, 24 * 60),
    "replicates": (1, 10_000),
    "timeout_s": (1, None),
    "max_minutes": (0, None),
    "max_cases": (1, 100_000),
    "max_processes": (1, 1_000_000),
    "gate.max_wait_s": (0, None),
    "guard.max_swap_growth_bytes": (0, None),
    "guard.max_swapped_out_bytes": (0, None),
    "guard.min_available_bytes": (0, None),
    "guard.min_free_disk_bytes": (0, None),
    "reference.budget_s": (0, None),
}


# Of them a case may have its own.
_NUMBERS = ("steps", "guidance_scale")


def shipped_configs() -> dict[str, Path]:
    """Name to file of the configurations that come with sdbench."""
    return {path.stem: path for path in sorted(configs_folder().glob("*.toml"))}


def configs_folder() -> Path:
    """The files that come with sdbench in addition to its code: in the package, or next to it in a
    checkout."""
    packaged = Path(str(resources.files("sdbench"))) / "configs"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "configs"


def load_config(name_or_path: str, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration by shipped name or by path, with ``key=value`` overrides on top.

    Raises:
        ConfigError: the file cannot be read or a key is not as it should be.
    """
    shipped = shipped_configs()
    looks_like_path = name_or_path.endswith(".toml") or "/" in name_or_path
    if name_or_path in shipped and not looks_like_path:
        path, source = shipped[name_or_path], name_or_path
    else:
        path, source = Path(name_or_path), shortened(name_or_path, _LONGEST_SHOWN)
        if not looks_like_path and not os.path.lexists(path):
            raise ConfigError(
                source,
                "",
                f"no such configuration; {did_you_mean(name_or_path, shipped)}there are "
                f"{', '.join(shipped)}, or a path",
            )
    document = _read(path, source)
    if "name" not in document:
        document["name"] = path.stem if _NAME.fullmatch(path.stem) else "custom"
    for override in overrides:
        _apply_override(document, override)
    return parse_config(document, source)


def parse_config(document: dict[str, Any], source: str) -> Config:
    """Check a decoded TOML document and turn it into a Config.

    Raises:
        ConfigError: a key is unknown or its value is not as expected.
    """
    _reject_unknown_keys(document, Config, source, "")
    try:
        config = msgspec.convert(document, Config)
    except msgspec.ValidationError as error:
        raise _plain_error(error, source) from None
    _check_values(config, source)
    return config


def _read(path: Path, source: str) -> dict[str, Any]:
    try:
        return read_toml(path)
    except FileNotFoundError:
        raise ConfigError(source, "", "no such file") from None
    except TomlError as error:
        raise ConfigError(source, "", str(error)) from None


def _apply_override(document: dict[str, Any], override: str) -> None:
    """Apply one ``key=value`` (dotted keys reach into tables; the value is TOML, or a string)."""
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError("--set", override, "expected key=value")
    try:
        value = parse_toml(f"value = {text}")["value"]
    except TomlError:
        value = text
    *tables, leaf = key.strip().split(".")
    target = document
    for table in tables:
        target = target.setdefault(table, {})
        if not isinstance(target, dict):
            raise ConfigError("--set", key, "the part before the last dot is not a table")
    target[leaf] = value


def _reject_unknown_keys(document: Any, struct: Any, source: str, prefix: str) -> None:
    """Walk the document along its type, so that an unknown key gets a helpful message."""
    if not isinstance(document, dict):
        return
    known = _keys_of(struct)
    for key, value in document.items():
        if key not in known:
            hint = did_you_mean(key, known)
            raise ConfigError(
                source, prefix + key, f"unknown key; {hint}expected one of {', '.join(known)}"
            )
        for nested in known[key]:
            entries = value if isinstance(value, list) else [value]
            for index, entry in enumerate(entries):
                place = f"{prefix}{key}[{index}]." if isinstance(value, list) else f"{prefix}{key}."
                _reject_unknown_keys(entry, nested, source, place)


@functools.cache
def _keys_of(struct: Any) -> dict[str, list[Any]]:
    """The keys of a table, with the Struct classes in each; ``list`` asks for every run."""
    return {field.name: _structs_in(field.type) for field in msgspec.structs.fields(struct)}


def _structs_in(annotation: Any) -> list[Any]:
    """The Struct classes inside an annotation such as ``list[Selection] | None``."""
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return [annotation]
    return [found for part in typing.get_args(annotation) for found in _structs_in(part)]


def _plain_error(error: msgspec.ValidationError, source: str) -> ConfigError:
    """msgspec says ``Expected `int`, got `str` - at `$.steps```; say it as file, key, expected."""
    message, _, path = str(error).partition(" - at `$")
    key = path.rstrip("`").removeprefix(".")
    if message.startswith("Invalid enum value"):
        got = message.removeprefix("Invalid enum value ")
        return ConfigError(source, key, f"expected {_choices_at(key)}, got {got}")
    if "`float | str`" in message or "`int | str`" in message:
        got = _in_plain_words(message.partition("got ")[2])
        return ConfigError(source, key, f"expected {_choices_at(key)}, got {got}")
    message = _in_plain_words(message)
    return ConfigError(source, key, message[0].lower() + message[1:])


def _in_plain_words(text: str) -> str:
    for technical, words in _PLAIN_WORDS.items():
        text = text.replace(technical, words)
    return text.replace("`", "")


_PLAIN_WORDS = {
    "`int`": "a whole number",
    "`float`": "a number",
    "`str`": "text",
    "`bool`": "true or false",
    "`array`": "a list",
    "`object | null`": "a table",
    "`array | null`": "a list",
    "`object`": "a table",
}


def _choices_at(key: str) -> str:
    """The values allowed at a key such as ``matrix.batching[0]``, in words."""
    annotation: Any = Config
    for part in re.sub(r"\[.*?\]", "", key).split("."):
        (struct,) = _structs_in(annotation)
        annotation = {field.name: field.type for field in msgspec.structs.fields(struct)}[part]
    choices = [repr(choice) for choice in _literals_in(annotation)]
    words = {int: "a whole number", float: "a number", str: "text"}
    choices += [word for kind, word in words.items() if kind in _kinds_in(annotation)]
    return " or ".join(choices)


def _kinds_in(annotation: Any) -> list[Any]:
    """The plain types inside an annotation such as ``tuple[float | str, ...]``."""
    parts = typing.get_args(annotation)
    if not parts or typing.get_origin(annotation) is Literal:
        return [annotation]
    return [found for part in parts for found in _kinds_in(part)]


def _literals_in(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) is Literal:
        return list(typing.get_args(annotation))
    return [found for part in typing.get_args(annotation) for found in _literals_in(part)]


def _check_values(config: Config, source: str) -> None:
    """All that types cannot say: ranges, names, sizes, emptiness, duplicates, contradictions."""
    for key, (lowest, highest) in _RANGES.items():
        _check_range(config, source, key, lowest, highest)
    if not _NAME.fullmatch(config.name):
        raise ConfigError(source, "name", "expected letters, digits, '.', '_' or '-', at most 64")
    # An empty prompt is one: the image that the model makes unguided.
    if not config.prompts:
        raise ConfigError(source, "prompts", 'expected at least one prompt ("" is an empty one)')
    if config.matrix is not None and config.case is not None:
        raise ConfigError(source, "case", "expected either [matrix] or [[case]] tables, not both")
    if config.case == ():
        raise ConfigError(source, "case", "expected at least one [[case]]")
    if config.matrix is not None:
        _check_matrix(config.matrix, source)
    for kind, selections in (("case", config.case or ()), ("exclude", config.exclude)):
        for index, selection in enumerate(selections):
            if selection.resolution is not None:
                _check_resolution(selection.resolution, source, f"{kind}[{index}].resolution")
            for axis in _NUMBERS:
                value = getattr(selection, axis)
                if value is not None:
                    _check_number(value, source, f"{kind}[{index}].{axis}", *_RANGES[axis])
            if kind == "exclude" and not selection.settings():
                raise ConfigError(source, f"exclude[{index}]", "expected at least one setting")
    if config.strength != "auto" and config.mode == "text-to-image":
        raise ConfigError(source, "strength", 'expected only with mode = "image-to-image"')
    _check_arms(config.arm, source)
    _check_hold(config.pressure, source)
    if config.until_decided is not None and not 0 < config.until_decided.threshold <= 1:
        raise ConfigError(
            source,
            "until_decided.threshold",
            f"expected a share above 0 such as 0.03, got {config.until_decided.threshold:g}",
        )


def _check_range(
    config: Config, source: str, key: str, lowest: float, highest: float | None
) -> None:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    if value != "auto":
        _check_number(value, source, key, lowest, highest)


def _check_number(
    value: float, source: str, key: str, lowest: float, highest: float | None
) -> None:
    # NaN fails every comparison, so ask for what must hold.
    if not (value >= lowest and value < float("inf") and (highest is None or value <= highest)):
        limits = (
            f"from {lowest:g} to {highest:g}" if highest is not None else f"of {lowest:g} or more"
        )
        raise ConfigError(source, key, f"expected a number {limits}, got {value}")


def _check_matrix(matrix: Matrix, source: str) -> None:
    for axis, values in msgspec.structs.asdict(matrix).items():
        key = f"matrix.{axis}"
        if values is None:
            continue
        if not values:
            raise ConfigError(source, key, "expected at least one value, got an empty list")
        repeated = _first_repeated(values)
        if repeated is not None:
            raise ConfigError(source, key, f"expected each value once, {repeated!r} is repeated")
        if axis in _NUMBERS:
            for index, value in enumerate(values):
                _check_number(value, source, f"{key}[{index}]", *_RANGES[axis])
    for index, resolution in enumerate(matrix.resolution):
        _check_resolution(resolution, source, f"matrix.resolution[{index}]")


def _first_repeated(values: Sequence[Any]) -> Any:
    """The first value that is there a second time; None where each is there once."""
    seen = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def _check_resolution(text: str, source: str, key: str) -> None:
    match = _RESOLUTION.fullmatch(text)
    sizes = [int(size) for size in match.groups()] if match else []
    if not sizes or any(size % _MULTIPLE or not _LEAST <= size <= _MOST for size in sizes):
        raise ConfigError(
            source,
            key,
            f"expected WIDTHxHEIGHT, each a multiple of {_MULTIPLE} from {_LEAST} to {_MOST}, "
            f"got {text!r}{nearest_sizes(text)}",
        )


def nearest_sizes(text: str, multiple: int = _MULTIPLE) -> str:
    """The sizes next to one that cannot be made: the nearest below and above, as words."""
    numbers = re.fullmatch(r"\s*([0-9]{1,6})\s*(?:[xX×*,:/ ]\s*([0-9]{1,6}))?\s*", text)
    if numbers is None:
        return ""
    sides = [int(number or numbers[1]) for number in numbers.groups()]
    below = [side // multiple * multiple for side in sides]
    above = [-(-side // multiple) * multiple for side in sides]
    low, high = (
        "x".join(str(min(max(side, _LEAST), _MOST)) for side in edges) for edges in (below, above)
    )
    return f"; the nearest is {low}" if low == high else f"; the nearest are {low}, {high}"


def _check_arms(arms: tuple[Arm, ...], source: str) -> None:
    if not arms:
        raise ConfigError(source, "arm", "expected at least one [[arm]]")
    # They are in names of files, and a Mac's disk does not tell a from A.
    seen: dict[str, str] = {}
    for index, name in enumerate(arm.name for arm in arms):
        if not _NAME.fullmatch(name):
            raise ConfigError(
                source, f"arm[{index}].name", "expected letters, digits, '.', '_' or '-'"
            )
        other = seen.get(name.casefold())
        if other is not None:
            alike = (
                f"names that differ in more than upper and lower case, got {other!r} and {name!r}"
            )
            words = f"each once, {name!r} repeats" if other == name else alike
            raise ConfigError(source, f"arm[{index}].name", f"expected {words}")
        seen[name.casefold()] = name
        _check_variables(arms[index].env, source, f"arm[{index}].env")
        if arms[index].hold_bytes:
            raise ConfigError(
                source,
                f"arm[{index}].hold_bytes",
                "expected in [pressure], for all variants alike",
            )


def _check_variables(variables: dict[str, str], source: str, key: str) -> None:
    """What no process can be started with."""
    for name, value in variables.items():
        if not name or "=" in name or "\0" in name:
            raise ConfigError(
                source,
                key,
                "expected names of variables that are not empty and hold no '=' and no NUL, got "
                f"{shortened(name)!r}",
            )
        if "\0" in value:
            raise ConfigError(source, f"{key}.{shortened(name)}", "expected a text without NUL")


def _check_hold(pressure: Pressure, source: str) -> None:
    for index, level in enumerate(pressure.hold_bytes):
        key = f"pressure.hold_bytes[{index}]"
        if isinstance(level, str):
            share = _SHARE.fullmatch(level)
            if share is None or int(share[1]) > _LARGEST_SHARE:
                raise ConfigError(
                    source, key, f"expected a share up to '{_LARGEST_SHARE}%', got {level!r}"
                )
        elif not 0 <= level < float("inf"):
            raise ConfigError(source, key, f"expected a number of 0 or more, got {level}")
