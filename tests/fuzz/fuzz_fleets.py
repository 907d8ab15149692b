"""Folders of fleets and markers of their workers: sound ones, and each single change."""

import json
import tempfile
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from fuzz_batch_files import Group, Item
from fuzz_changes import changes
from fuzz_documents import EVENTS, encoded
from fuzz_trees import Odd, Tree, read_tree
from fuzz_values import DEEP
from fuzz_ways import Subject
from made_fleets import FLEET_ID, made_fleet

from sdbench.fleet.fleet_file import FleetPlan, Mode
from sdbench.fleet.markers import _Marker

_FILES = ("fleet.json", "ledger.jsonl")
_LOOSE = ("plan", "config")
"""Of ``fleet.json``: a configuration is checked by whoever carries it out."""


def fleet_subjects() -> list[Subject]:
    """A complete fleet of each mode, its runs included."""
    trees: dict[str, Tree] = {}
    modes: tuple[Mode, ...] = ("split", "every")
    for mode in modes:
        with tempfile.TemporaryDirectory() as folder:
            made = read_tree(made_fleet(Path(folder), mode, crashed=True))
        kept = {name: data for name, data in made.items() if "lock" not in name}
        trees[mode] = {name: kept[name] for name in (*_FILES, *kept)}
    return [
        Subject(
            "fleet",
            mode,
            tree,
            others={
                f"{other}/{name}": data
                for other in trees
                if other != mode
                for name, data in trees[other].items()
                if name in _FILES and isinstance(data, bytes)
            },
        )
        for mode, tree in trees.items()
    ]


def groups(fleet: Tree, every: int) -> Iterator[Group]:
    """Single changes of ``fleet.json``, of each kind of event, and of a marker."""
    yield "fleet", "plans", [*_plans(fleet, every)]
    yield "fleet", "events", [*_events(fleet, every)]
    yield "marker", "files", [*_markers(every)]


def _item(name: str, fleet: Tree, expected: bool | None, **files: bytes | Odd) -> Item:
    """A fleet with other files: ``plan`` and ``ledger``."""
    plan = files.get("plan", fleet["fleet.json"])
    ledger = files.get("ledger", fleet["ledger.jsonl"])
    return Item(name, {f"{name}/fleet.json": plan, f"{name}/ledger.jsonl": ledger}, expected)


_ODD: dict[str, Odd] = {
    "folder": Odd("folder"),
    "fifo": Odd("fifo"),
    "socket": Odd("socket"),
    "zero": Odd("link", "/dev/zero"),
    "away": Odd("link", "/etc/hostname"),
    "sparse": Odd("sparse", size=5 << 30),
}


def _plans(fleet: Tree, every: int) -> Iterator[Item]:
    yield _item("sound", fleet, True)
    document = json.loads(fleet["fleet.json"])  # type: ignore[arg-type]
    for number, (name, made, forbidden) in enumerate(changes(document, FleetPlan)):
        if number % every == 0:
            loose = name.startswith(".".join(_LOOSE))
            expected = False if forbidden and not loose else None
            yield _item(f"p{number}", fleet, expected, plan=encoded(made))
    for number, data in enumerate((b"", b"[]", b"null", b"{}", b"\xff", DEEP.encode())):
        yield _item(f"bad-{number}", fleet, False, plan=data)
    for name, odd in _ODD.items():
        yield _item(f"odd-{name}", fleet, False, plan=odd)


def _events(fleet: Tree, every: int) -> Iterator[Item]:
    ledger = fleet["ledger.jsonl"]
    assert isinstance(ledger, bytes)
    lines = ledger.splitlines()
    first = {json.loads(line)["event"]: at for at, line in reversed([*enumerate(lines)])}
    number = 0
    for tag, at in first.items():
        if at == len(lines) - 1:
            continue  # a bad last line is what a crash leaves
        for _, made, forbidden in changes(json.loads(lines[at]), EVENTS[tag]):
            number += 1
            if number % every == 0:
                changed = [*lines[:at], encoded(made), *lines[at + 1 :]]
                expected = False if forbidden else None
                yield _item(f"e{number}", fleet, expected, ledger=_of(changed))
    for name, made in _unfit(lines).items():
        yield _item(name, fleet, False, ledger=_of(made))
    for name, data in {"torn": ledger + b'{"event":"do', "none": b""}.items():
        yield _item(name, fleet, True, ledger=data)
    for name, odd in _ODD.items():
        yield _item(f"odd-{name}", fleet, False, ledger=odd)


def _of(lines: typing.Iterable[bytes]) -> bytes:
    return b"\n".join(lines) + b"\n"


def _unfit(lines: list[bytes]) -> dict[str, list[bytes]]:
    """Ledgers of the right types whose events do not fit together."""

    def with_run(name: str) -> list[bytes]:
        return [encoded({**json.loads(line), **_named(line, name)}) for line in lines]

    grouped = [line for line in lines if b'"grouped"' in line]
    rest = [line for line in lines if line not in grouped]
    seen = b'{"event":"seen","machine":"m","group":"zz","process":"p"}'
    return {
        "no-groups": rest,
        "late-groups": [*rest, *grouped],
        "strange-seen": [*lines, seen, *rest[-1:]],
        "up": with_run("../../outside"),
        "absolute": with_run("/etc"),
        "dots": with_run(".."),
        "nul": with_run("a\0b"),
        "bad-line": [b"x", *lines],
        "deep": [DEEP.encode(), *lines],
    }


def _named(line: bytes, name: str) -> dict[str, Any]:
    return {"run_id": name} if b'"grouped"' in line else {}


def _markers(every: int) -> Iterator[Item]:
    """In the folder of a user's own state; a worker that starts reads them all."""
    marker = _Marker(token=f"{FLEET_ID}.7", pid=1, created_s=1.0, boot_id="b")
    document = json.loads(msgspec.json.encode(marker))

    def item(name: str, data: bytes | Odd) -> Item:
        return Item(name, {f"{name}/fleet-running/a.json": data}, True)

    yield item("sound", encoded(document))
    for number, (_, made, _) in enumerate(changes(document, _Marker)):
        if number % every == 0:
            yield item(f"m{number}", encoded(made))
    for number, data in enumerate((b"", b"\xff", DEEP.encode(), b"[" * 9000)):
        yield item(f"bad-{number}", data)
    for name, odd in _ODD.items():
        yield item(f"odd-{name}", odd)
