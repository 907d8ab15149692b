"""One change to what somebody gives us, drawn by a number; several make an input."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import fuzz_pictures
from fuzz_documents import RECORDS, deep, encoded, kind_of, places, toml_of, words_of
from fuzz_trees import Odd, Tree
from fuzz_values import DEEP, TEXTS, Typed, any_value

from sdbench.toml_files import TomlError, parse_toml

Files = dict[str, bytes | Odd]
_LONGEST_LOG = 400_000


@dataclass(frozen=True, repr=False)
class Subject:
    """Something sound that somebody may give us, and what its mutations may put there instead.

    ``others`` are files of other sound subjects by name, to be put in place of its own.
    """

    kind: str
    name: str
    tree: Tree
    others: Mapping[str, bytes] = field(default_factory=dict)
    digests: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}>"


@dataclass(frozen=True)
class Mutation:
    """A way to change a subject, and the number that says where and into what."""

    way: str
    seed: int


def mutated(subject: Subject, mutations: list[Mutation]) -> Files:
    """The subject's files after these changes. Pure: the same numbers give the same files."""
    files = dict(subject.tree)
    for mutation in mutations:
        if files:
            _WAYS[mutation.way](files, Random(f"{mutation.way}/{mutation.seed}"), subject)
    return files


_WAYS: dict[str, Callable[[Files, Random, Subject], None]] = {}
_FOR: dict[str, list[str]] = {}
"""Ways by the kind of subject that they change; the more often one is there, the likelier."""


def ways_for(kind: str) -> list[str]:
    """The ways to change a subject of that kind."""
    return _FOR[kind]


_ALL = ("run", "config", "log", "picture", "recording", "model", "expectations")


def _way(*kinds: str, times: int = 1) -> Callable[[Any], Any]:
    def register(function: Callable[[Files, Random, Subject], None]) -> Any:
        name = function.__name__.strip("_")
        _WAYS[name] = function
        for kind in kinds or _ALL:
            _FOR.setdefault(kind, []).extend([name] * times)
        return function

    return register


# --- values in documents --------------------------------------------------------------------------


def _document(files: Files, random: Random) -> tuple[str, int | None, Any] | None:
    """A JSON or TOML document of the subject: its file, its line of JSON lines, and what it is."""
    wanted = (".json", ".jsonl", ".ips", ".toml")
    names = [n for n in files if n.endswith(wanted) and isinstance(files[n], bytes)]
    if not names:
        return None
    records = [name for name in names if name.endswith("records.jsonl")]
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


@_way("run", "config", "recording", times=8)
def _typed_value(files: Files, random: Random, subject: Subject) -> None:
    """What sdbench itself could have written there, or nearly."""
    _change_value(files, random, subject, typed=True)


@_way("run", "config", "recording", "model", "expectations", "log", times=5)
def _any_value(files: Files, random: Random, subject: Subject) -> None:
    _change_value(files, random, subject, typed=False)


@_way("recording", times=6)
@_way("run", "config", "log", times=2)
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


@_way("run", "config", "recording", "model", "expectations", "log", times=2)
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


@_way("run", "config", "recording", "model", "expectations", times=2)
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


@_way("run", "config", "recording", "model", "expectations")
def _deep_value(files: Files, random: Random, subject: Subject) -> None:
    found = _document(files, random)
    if found is None or not isinstance(found[2], dict):
        return
    name, line, document = found
    depth = random.choice((200, 1100, 100_000))
    place = random.choice([(document, "zz"), *((t, k) for t, k, _ in places(document, Any))])
    place[0][place[1]] = deep(depth)
    _put(files, name, line, document)


@_way("run", "config", "recording", "model", "expectations")
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


# --- records --------------------------------------------------------------------------------------


def _lines(files: Files) -> list[bytes]:
    data = files.get("records.jsonl", b"")
    return data.splitlines() if isinstance(data, bytes) else []


@_way("run", times=4)
def _new_records(files: Files, random: Random, subject: Subject) -> None:
    """Whole records of any type, with the ids of a process that the plan has, or nearly."""
    try:
        run = json.loads(files["run.json"])  # type: ignore[arg-type]
        slots = run["plan"]["slots"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return
    if not isinstance(slots, list) or not slots:
        return
    lines = _lines(files)
    made = Typed(random, words_of(run), list(subject.digests))
    for _ in range(random.choice((1, 2, 6))):
        record = made.struct(random.choice([*RECORDS.values()]))
        slot = random.choice(slots)
        if isinstance(slot, dict):
            own = {**slot, "device": run.get("device"), "slot": slot.get("index")}
            own["replicate_id"] = "{case_id}.{arm}.{block}".format_map(
                {"case_id": "", "arm": "", "block": ""} | slot
            )
            own["attempt"] = random.choice((1, 1, 2))
            record |= {k: v for k, v in own.items() if k in record and random.random() < 0.97}
        if isinstance(record.get("device"), dict):
            facts = {random.choice(("name", "recommended_max_bytes", "cuda", "x")): made.text()}
            record["device"] = {"kind": run.get("device"), "facts": facts}
        record["schema"] = random.choice((1, 1, 1, 2, 99, 0))
        lines.insert(random.randrange(len(lines) + 1), encoded(record))
    files["records.jsonl"] = b"\n".join(lines) + b"\n"


@_way("run")
def _records_moved(files: Files, random: Random, subject: Subject) -> None:
    """Doubled, shuffled, left out."""
    lines = _lines(files)
    kind = random.randrange(4)
    if kind == 0:
        lines = lines * random.choice((2, 3))
    elif kind == 1:
        random.shuffle(lines)
    elif kind == 2:
        lines = [line for line in lines if random.random() < 0.5]
    else:
        lines = []
    files["records.jsonl"] = b"\n".join(lines) + b"\n"


@_way("run")
def _foreign_records(files: Files, random: Random, subject: Subject) -> None:
    """Another run's records after its own."""
    others = [data for name, data in subject.others.items() if name.endswith("records.jsonl")]
    if others:
        files["records.jsonl"] = b"\n".join(_lines(files)) + b"\n" + random.choice(others)


@_way("run")
def _odd_lines(files: Files, random: Random, subject: Subject) -> None:
    lines = _lines(files)
    odd = (b"", b"{}", b"null", b"[]", b"\0" * 99, b"\xff\xfe", DEEP.encode(), b'{"type": "x"}')
    for _ in range(random.randrange(1, 9)):
        lines.insert(random.randrange(len(lines) + 1), random.choice(odd))
    ending = random.choice((b"\n", b"", b"\r\n", b'\n{"type": "repl'))
    files["records.jsonl"] = b"\n".join(lines) + ending


@_way("run", times=2)
def _pictures_named(files: Files, random: Random, subject: Subject) -> None:
    """Records that name files which are there, whatever is in them."""
    digests = [*subject.digests]
    lines = _lines(files)
    if not digests or not lines:
        return
    for at, line in enumerate(lines):
        for known in digests:
            if known.encode() in line and random.random() < 0.3:
                line = line.replace(known.encode(), random.choice(digests).encode())
        lines[at] = line
    files["records.jsonl"] = b"\n".join(lines) + b"\n"


# --- bytes ----------------------------------------------------------------------------------------


@_way(times=2)
def _torn(files: Files, random: Random, subject: Subject) -> None:
    name = random.choice([*files])
    data = files[name]
    if isinstance(data, bytes):
        files[name] = data[: random.randrange(len(data) + 1)]


@_way(times=2)
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


@_way()
def _text_put_in(files: Files, random: Random, subject: Subject) -> None:
    name = random.choice([*files])
    data = files[name]
    if isinstance(data, bytes):
        at = random.randrange(len(data) + 1)
        files[name] = data[:at] + random.choice(TEXTS).encode() + data[at:]


@_way("config", "expectations", times=2)
@_way()
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


@_way("model", times=3)
def _odd_weights(files: Files, random: Random, subject: Subject) -> None:
    """Weights whose header is a lie, or as long as the file has a hole."""
    names = [name for name in files if name.endswith(".safetensors")]
    if not names:
        return
    length = random.choice((1 << 32, 1 << 40, 90_000_000, 3)).to_bytes(8, "little")
    hole = Odd("sparse", size=1 << 33, head=length + b'{"a": ')
    files[random.choice(names)] = random.choice((hole, fuzz_pictures.odd_safetensors(random)))


@_way(times=2)
def _odd_file(files: Files, random: Random, subject: Subject) -> None:
    """In place of a file: a FIFO, a folder, a link to itself, a device, eight gigabytes of hole."""
    name = random.choice(_named(files, random))
    files[name] = random.choice((*_ODDITIES, Odd("link", name.rpartition("/")[2])))


@_way("run", times=2)
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


@_way("run", "model", "recording")
def _file_gone(files: Files, random: Random, subject: Subject) -> None:
    name = random.choice([*files])
    folder = name.rpartition("/")[0]
    if folder and random.random() < 0.4:
        for one in [n for n in files if n.startswith(f"{folder}/")]:
            del files[one]
    else:
        del files[name]


@_way("run", times=3)
def _odd_artifact(files: Files, random: Random, subject: Subject) -> None:
    """A picture, latents, a trace or a timeline that is another than its name says, or none."""
    found = [name for name in files if "/" in name]
    if not found:
        return
    name = random.choice(found)
    if name.endswith(".png"):
        makers: list[Callable[[], bytes]] = [
            *(fuzz_pictures.stranger, fuzz_pictures.stranger),
            *(lambda: fuzz_pictures.odd_png(random), lambda: fuzz_pictures.picture(random)),
        ]
        files[name] = random.choice(makers)()
    elif name.endswith(".npy"):
        files[name] = fuzz_pictures.odd_npy(random)
    elif name.endswith(".safetensors"):
        files[name] = fuzz_pictures.odd_safetensors(random)
    else:
        files[name] = b"".join(
            encoded(
                {
                    "t": random.choice((0, 1e12, -5, 1e308, random.random() * 100)),
                    "phase": random.choice((None, "load", *TEXTS)),
                    "footprint_bytes": random.choice((None, 0, 1 << 62, 10**9, -3)),
                    "pressure": random.choice((None, "warn", "extreme")),
                }
            )
            + b"\n"
            for _ in range(random.choice((2, 40, 3000)))
        )


@_way("run", times=2)
def _true_artifact(files: Files, random: Random, subject: Subject) -> None:
    """An unusual picture, latents or trace under its right name, and named so in the records."""
    found = [name for name in files if name.endswith((".png", ".npy", ".safetensors"))]
    if not found:
        return
    name = random.choice(found)
    folder, _, file = name.rpartition("/")
    before, dot, ending = file.rpartition(".")
    digest, data = fuzz_pictures.true_artifact(random, dot + ending)
    del files[name]
    files[f"{folder}/{digest}.{ending}"] = data
    records = files.get("records.jsonl")
    if isinstance(records, bytes):
        files["records.jsonl"] = records.replace(before.encode(), digest.encode())


_PLANS: tuple[Callable[[dict[str, Any], Any], Any], ...] = (
    lambda run, value: run.update(schema=0),
    lambda run, value: run.update(schema=99, sdbench=value),
    lambda run, value: run.update(run_id=value),
    lambda run, value: run.update(stacks={}),
    lambda run, value: run.update(machine_facts={"identity": value}),
    lambda run, value: run["machine"].update({"memory_bytes": value, "chip": value}),
    lambda run, value: run["machine"].update({str(value): [value]}),
    lambda run, value: run["config"].pop(("name", "images", "prompts")[len(value) % 3]),
    lambda run, value: run["config"].update({str(value): 1}),
    lambda run, value: run["config"].update(allow_pickle=value),
    lambda run, value: run["plan"].update(cases=run["plan"]["cases"] * 2),
    lambda run, value: run["plan"].update(arms=run["plan"]["arms"] * 2),
    lambda run, value: run["plan"].update(cases=[]),
    lambda run, value: run["plan"].update(slots=[]),
    lambda run, value: run["plan"]["arms"][0].update(name=value),
    lambda run, value: run["plan"]["arms"][0].update(stack=value),
    lambda run, value: run["plan"]["slots"][0].update(arm=value),
    lambda run, value: run["plan"]["cases"][0].update(skip_reason=value, flags=[value]),
)


@_way("run", times=2)
def _plan_changed(files: Files, random: Random, subject: Subject) -> None:
    """Parts of ``run.json`` that do not fit together any more."""
    try:
        run = json.loads(files["run.json"])  # type: ignore[arg-type]
        random.choice(_PLANS)(run, random.choice(TEXTS))
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, RecursionError):
        return
    files["run.json"] = encoded(run)


# --- pictures and logs ----------------------------------------------------------------------------


@_way("picture", times=6)
def _other_picture(files: Files, random: Random, subject: Subject) -> None:
    (name,) = [*files][:1]
    odd = random.random() < 0.2
    files[name] = fuzz_pictures.odd_png(random) if odd else fuzz_pictures.picture(random)


@_way("log", times=3)
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


@_way("log", times=2)
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


@_way("log")
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
