"""One change to what somebody gives us, drawn by a number; several make an input."""

import json
import re
from collections.abc import Callable
from random import Random
from typing import Any

import fuzz_pictures
import fuzz_run_ways  # noqa: F401  (registers its ways)
from fuzz_documents import deep, encoded, kind_of, places, toml_of, words_of
from fuzz_trees import Odd
from fuzz_values import DEEP, TEXTS, Typed, any_value
from fuzz_ways import Files, Mutation, Subject, mutated, way, ways_for

from sdbench.files.toml import TomlError, parse_toml

__all__ = ["Files", "Mutation", "Subject", "mutated", "ways_for"]

_LONGEST_LOG = 400_000
_DOCUMENTS = (*("run", "config", "recording", "model", "expectations", "bundle", "site", "fleet"),)
"""Kinds of subject that have documents."""


# --- values in documents --------------------------------------------------------------------------


def _document(files: Files, random: Random) -> tuple[str, int | None, Any] | None:
    """A JSON or TOML document of the subject: its file, its line of JSON lines, and what it is."""
    wanted = (".json", ".jsonl", ".ips", ".toml")
    names = [n for n in files if n.endswith(wanted) and isinstance(files[n], bytes)]
    if not names:
        return None
    records = [name for name in names if name.endswith(("records.jsonl", "ledger.jsonl"))]
    name = random.choice(records if records and random.random() < 0.5 else names)
    data = files[name]
    assert isinstance(data, bytes)
    try:
        if name.endswith(".toml"):
            return name, None, parse_toml(data.decode())
        if not name.endswith(".jsonl"):
            head, separator, rest = data.partition(b"\n") if name.endswith(".ips") else (b"",) * 3
            line = None if not separator else random.randrange(2)
            return name, line, json.loads((head, rest)[line] if line is not None else data)
        lines = data.splitlines()
        line = random.randrange(len(lines))
        return name, line, json.loads(lines[line])
    except (ValueError, RecursionError, UnicodeDecodeError, TomlError):
        return None


def _put(files: Files, name: str, line: int | None, document: Any) -> None:
    if name.endswith(".toml"):
        files[name] = toml_of(document) if isinstance(document, dict) else b"x = 1\n"
        return
    before = files[name]
    assert isinstance(before, bytes)
    if line is None:
        files[name] = encoded(document)
        return
    if name.endswith(".ips"):
        parts = list(before.partition(b"\n"))
        parts[2 * line] = encoded(document)
        files[name] = b"".join(parts)
        return
    lines = before.splitlines()
    lines[line] = encoded(document)
    files[name] = b"\n".join(lines) + b"\n"


def _change_value(files: Files, random: Random, subject: Subject, *, typed: bool) -> None:
    found = _document(files, random)
    if found is None:
        return
    name, line, document = found
    there = places(document, kind_of(name, document))
    if typed:
        there = [place for place in there if place[2] is not Any] or there
    if not there:
        return
    made = Typed(random, words_of(document), list(subject.digests))
    for _ in range(random.choice((1, 1, 2, 4))):
        table, key, kind = random.choice(there)
        value = made.value(kind) if typed else any_value(random)
        if isinstance(table, list):
            if key < len(table):
                table[key] = value
        else:
            table[key] = value
    _put(files, name, line, document)


@way("run", "config", "recording", "bundle", "site", "fleet", times=8)
def _typed_value(files: Files, random: Random, subject: Subject) -> None:
    """What sdbench itself could have written there, or nearly."""
    _change_value(files, random, subject, typed=True)


@way(*_DOCUMENTS, "log", times=5)
def _any_value(files: Files, random: Random, subject: Subject) -> None:
    _change_value(files, random, subject, typed=False)


@way("recording", times=6)
@way("run", "config", "log", times=2)
def _text_changed(files: Files, random: Random, subject: Subject) -> None:
    """Within a text of a document: a line gone, doubled or changed, a number another."""
    found = _document(files, random)
    if found is None:
        return
    name, line, document = found
    there = [
        (table, key)
        for table, key, _ in places(document, Any)
        if isinstance(table[key], str) and table[key]
    ]
    if not there:
        return
    table, key = random.choice(there)
    for _ in range(random.choice((1, 2, 5))):
        table[key] = _changed_text(table[key], random)
    _put(files, name, line, document)


def _changed_text(text: str, random: Random) -> str:
    lines = text.split("\n")
    at = random.randrange(len(lines))
    kind = random.randrange(6)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(at, random.choice(lines))
    elif kind == 2:
        lines[at] = lines[at][: random.randrange(len(lines[at]) + 1)]
    elif kind == 3:
        lines[at] = random.choice(TEXTS)
    else:
        numbers = ("0", "-1", "9" * 30, "nan", "", "x", "1.5", "18446744073709551616", "%")
        lines[at] = re.sub(
            r"[0-9]+(\.[0-9]+)?",
            lambda found: random.choice(numbers) if random.random() < 0.5 else found[0],
            lines[at],
        )
    return "\n".join(lines)


@way(*_DOCUMENTS, "log", times=2)
def _entry_gone(files: Files, random: Random, subject: Subject) -> None:
    found = _document(files, random)
    if found is None:
        return
    name, line, document = found
    there = [(table, key) for table, key, _ in places(document, Any)]
    if there:
        table, key = random.choice(there)
        del table[key]
        _put(files, name, line, document)


@way(*_DOCUMENTS, times=2)
def _entry_more(files: Files, random: Random, subject: Subject) -> None:
    """An unknown key, one with a hostile name, or an entry of a list twice."""
    found = _document(files, random)
    if found is None:
        return
    name, line, document = found
    inner = [table[key] for table, key, _ in places(document, Any)]
    tables = [one for one in (document, *inner) if isinstance(one, dict | list)]
    if not tables:
        return
    chosen = random.choice(tables)
    if isinstance(chosen, dict):
        chosen[random.choice(TEXTS)] = any_value(random)
    else:
        again = bool(chosen) and random.random() < 0.6
        chosen.append(random.choice(chosen) if again else any_value(random))
    _put(files, name, line, document)


@way(*_DOCUMENTS)
def _deep_value(files: Files, random: Random, subject: Subject) -> None:
    found = _document(files, random)
    if found is None or not isinstance(found[2], dict):
        return
    name, line, document = found
    depth = random.choice((200, 1100, 100_000))
    place = random.choice([(document, "zz"), *((t, k) for t, k, _ in places(document, Any))])
    place[0][place[1]] = deep(depth)
    _put(files, name, line, document)


@way(*_DOCUMENTS)
def _long_number(files: Files, random: Random, subject: Subject) -> None:
    """In place of a number that is there, as text: more digits than Python reads, or no number."""
    name = random.choice([*files])
    data = files[name]
    if not isinstance(data, bytes):
        return
    digits = [at for at, byte in enumerate(data[:200_000]) if 48 <= byte < 58]
    if digits:
        at = random.choice(digits)
        number = random.choice((b"9" * 5000, b"NaN", b"1e999", b"-0", b"0x10", b"1_0", b"-1"))
        files[name] = data[:at] + number + data[at + 1 :]


_CONFIGS: tuple[Callable[[str], dict[str, Any]], ...] = (
    lambda text: {"arm": [{"name": "a", "env": {text: "1", "X": text}}]},
    lambda text: {"arm": [{"name": "a", "env": {"": "1"}}]},
    lambda text: {"arm": [{"name": "a", "env": {"A=B": "1"}}]},
    lambda text: {"arm": [{"name": "a", "env": {"A": "\0"}}]},
    lambda text: {"arm": [{"name": "a"}, {"name": "A"}]},
    lambda text: {"arm": [{"name": "a"}, {"name": "a"}]},
    lambda text: {"arm": [{"name": text}, {"hold_bytes": 5}]},
    lambda text: {"arm": []},
    lambda text: {"case": []},
    lambda text: {"case": [{"resolution": text}, {}], "matrix": None},
    lambda text: {"exclude": [{}]},
    lambda text: {"exclude": [{"resolution": text}]},
    lambda text: {"matrix": {"resolution": ["64x64", "64x64"]}, "case": None},
    lambda text: {"matrix": {"resolution": ["64x64"], "dtype": []}, "case": None},
    lambda text: {"matrix": {"resolution": [text]}, "case": None},
    lambda text: {"matrix": {"resolution": ["64x64"], "offload": ["none", "model"]}, "case": None},
    lambda text: {"matrix": {"resolution": ["64x64"]}, "case": [{"resolution": "64x64"}]},
    lambda text: {"prompts": []},
    lambda text: {"prompts": [text, text], "name": text},
    lambda text: {"pressure": {"hold_bytes": [text, "95%", 1.5]}},
    lambda text: {"pressure": {"hold_bytes": [float("nan"), -1]}},
    lambda text: {"until_decided": {"threshold": 0, "by": text}},
    lambda text: {"until_decided": {"by": text}, "replicates": 10_000, "passes": 10_000},
    lambda text: {"timeout_s": text, "steps": float("inf")},
    lambda text: {"timeout_s": float("nan")},
    lambda text: {"max_cases": 1, "max_processes": 1},
    lambda text: {"scheduler": text, "device": text},
    lambda text: {"model": text, "name": None},
    lambda text: {"gate": {text: 1}, "guard": []},
)


@way("config", times=6)
def _config_changed(files: Files, random: Random, subject: Subject) -> None:
    """Values that are of the right type and cannot be."""
    found = _document(files, random)
    if found is not None and isinstance(found[2], dict):
        changed = random.choice(_CONFIGS)(random.choice(TEXTS))
        _put(files, found[0], None, {**found[2], **changed})


# --- bytes ----------------------------------------------------------------------------------------


@way(times=2)
def _torn(files: Files, random: Random, subject: Subject) -> None:
    name = random.choice([*files])
    data = files[name]
    if isinstance(data, bytes):
        files[name] = data[: random.randrange(len(data) + 1)]


@way(times=2)
def _bytes_changed(files: Files, random: Random, subject: Subject) -> None:
    name = random.choice([*files])
    data = files[name]
    if not isinstance(data, bytes) or not data:
        return
    changed = bytearray(data)
    for _ in range(random.choice((1, 3, 20))):
        at = random.randrange(len(changed))
        kind = random.randrange(3)
        if kind == 0:
            changed[at] = random.randrange(256)
        elif kind == 1:
            changed[at:at] = random.choice((b"\0", b"\xff", b"\x1b[31m", b"{", b'"', b"\n", b"]"))
        else:
            del changed[at : at + random.randrange(1, 9)]
            if not changed:
                break
    files[name] = bytes(changed)


@way()
def _text_put_in(files: Files, random: Random, subject: Subject) -> None:
    name = random.choice([*files])
    data = files[name]
    if isinstance(data, bytes):
        at = random.randrange(len(data) + 1)
        files[name] = data[:at] + random.choice(TEXTS).encode() + data[at:]


@way("config", "expectations", times=2)
@way()
def _whole_file(files: Files, random: Random, subject: Subject) -> None:
    """Something else in a file: nothing, noise, another encoding, depth, another subject's."""
    name = random.choice([*files])
    data = files[name] if isinstance(files[name], bytes) else b""
    assert isinstance(data, bytes)
    text = data.decode("utf-8", "replace")
    choices: list[bytes] = [
        *(b"", b"\n", b"{}", b"[]", b"null", b"\0" * 1000, random.randbytes(500), DEEP.encode()),
        *(b"\xef\xbb\xbf" + data, b"\xff\xfe" + text.encode("utf-16-le"), data * 3),
        *(f'{{"zz": {DEEP}'.encode(), f"x = {DEEP}".encode(), b"a." * 50_000 + b"a = 1"),
        *subject.others.values(),
    ]
    files[name] = random.choice(choices)


# --- files ----------------------------------------------------------------------------------------

_ODDITIES = (
    *(Odd("folder"), Odd("fifo"), Odd("socket"), Odd("sparse", size=1 << 33)),
    *(
        Odd("sparse", size=1 << 33, head=b"{\n"),
        Odd("sparse", size=1 << 42, head=b"\x89PNG\r\n\x1a\n"),
    ),
    *(Odd("link", "/dev/zero"), Odd("link", "/nowhere/at/all"), Odd("link", ".")),
)


@way("model", times=3)
def _odd_weights(files: Files, random: Random, subject: Subject) -> None:
    """Weights whose header is a lie, or as long as the file has a hole."""
    names = [name for name in files if name.endswith(".safetensors")]
    if not names:
        return
    length = random.choice((1 << 32, 1 << 40, 90_000_000, 3)).to_bytes(8, "little")
    hole = Odd("sparse", size=1 << 33, head=length + b'{"a": ')
    files[random.choice(names)] = random.choice((hole, fuzz_pictures.odd_safetensors(random)))


@way(times=2)
def _odd_file(files: Files, random: Random, subject: Subject) -> None:
    """In place of a file: a FIFO, a folder, a link to itself, a device, eight gigabytes of hole."""
    name = random.choice(_named(files, random))
    files[name] = random.choice((*_ODDITIES, Odd("link", name.rpartition("/")[2])))


@way("run", "fleet", times=2)
def _link_out(files: Files, random: Random, subject: Subject) -> None:
    """In place of a file or a folder: a link to what is not the run's, and could be shown as it."""
    name = random.choice(_named(files, random))
    folder, _, _ = name.rpartition("/")
    if folder and random.random() < 0.3:
        for one in [n for n in files if n.startswith(f"{folder}/")]:
            del files[one]
        files[folder] = Odd("link", f"outside/{subject.name}/{folder}")
        return
    files[name] = Odd("link", f"outside/{subject.name}/{name}")


def _named(files: Files, random: Random) -> list[str]:
    """Names of files; half of the time only of those that every verb reads."""
    first = [name for name in files if "/" not in name]
    return first if first and random.random() < 0.5 else [*files]


@way("run", "model", "recording", "bundle", "site", "fleet")
def _file_gone(files: Files, random: Random, subject: Subject) -> None:
    name = random.choice([*files])
    folder = name.rpartition("/")[0]
    if folder and random.random() < 0.4:
        for one in [n for n in files if n.startswith(f"{folder}/")]:
            del files[one]
    else:
        del files[name]


# --- images and logs ----------------------------------------------------------------------------


@way("picture", times=6)
def _other_picture(files: Files, random: Random, subject: Subject) -> None:
    (name,) = [*files][:1]
    odd = random.random() < 0.2
    files[name] = fuzz_pictures.odd_png(random) if odd else fuzz_pictures.picture(random)


@way("log", times=3)
def _lines_mixed(files: Files, random: Random, subject: Subject) -> None:
    """Lines of other logs among its own, some twice."""
    (name,) = [*files][:1]
    data = files[name]
    if not isinstance(data, bytes):
        return
    lines = data.split(b"\n")
    others = [*subject.others.values()]
    for _ in range(random.randrange(1, 6)):
        strange = random.choice(others).split(b"\n")
        begin = random.randrange(len(strange))
        at = random.randrange(len(lines) + 1)
        lines[at:at] = strange[begin : begin + random.randrange(1, 12)]
    if random.random() < 0.2:
        random.shuffle(lines)
    files[name] = b"\n".join(lines)[:_LONGEST_LOG]


@way("log", times=2)
def _long_log(files: Files, random: Random, subject: Subject) -> None:
    """What a slow pattern would take for ever over."""
    (name,) = [*files][:1]
    data = files[name]
    if not isinstance(data, bytes):
        return
    unit = random.choice(
        (
            *(b" ", b"a", b"(", b"\\", b"0", b'"', b"=", b".a", b"a.", b"/a", b"\t \n", b"|", b"-"),
            *(b"Error: ", b"Traceback (most recent call last)\n", b"\x1b[31m", b"  0%|", b": "),
            *(b"Thread 0 Crashed:\n0 a 0x1 b\n", b"RuntimeError: x\n\n", b"torch 2.0 ", b"'x' "),
        )
    )
    times = random.choice((100, 5000, 100_000)) // len(unit) + 1
    at = random.randrange(len(data) + 1)
    files[name] = (data[:at] + unit * times + data[at:])[:_LONGEST_LOG]


@way("log")
def _tokens_swapped(files: Files, random: Random, subject: Subject) -> None:
    """Numbers and words of a log replaced, the message kept."""
    (name,) = [*files][:1]
    data = files[name]
    if not isinstance(data, bytes):
        return
    words = data.split(b" ")
    for _ in range(random.randrange(1, 10)):
        at = random.randrange(len(words))
        strange = random.choice((b"9" * 400, b"-1", b"0", b"1e400", b"nan", b"", b"\xff", b"9.9.9"))
        words[at] = random.choice((strange, random.choice(words)))
    files[name] = b" ".join(words)
