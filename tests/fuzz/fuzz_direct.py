"""Each reader called by itself on many small files: what it refuses, accepts, and does not foresee.

A verb takes a hundred times as long as the reader in it. So each single change to a document is
given to its reader here, and the verbs get what may go wrong behind it.
"""

import hashlib
import os
import re
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import numpy as np
from fuzz_direct_writers import NotOpenedError, open_by_name, write_text

from sdbench.analysis import data_frames as frames
from sdbench.cli.fleet_status import status_document
from sdbench.comparison.expectations import load_expectations
from sdbench.correctness.artifact_files import Artifacts
from sdbench.errors import SdbenchError
from sdbench.explain.explain import explain_text
from sdbench.explain.picture_files import read_picture
from sdbench.fleet import markers
from sdbench.fleet.fleet_file import read_state
from sdbench.fleet.given_times import given_times
from sdbench.fleet.ledger_file import read_events
from sdbench.knowledge.crash_reports import find_crash_report, read_crash_report
from sdbench.knowledge.version_ranges import Versions
from sdbench.machine.facts import Unavailable
from sdbench.machine.macos import text as macos_text
from sdbench.machine.recording import RecordedSystem
from sdbench.models.folder_files import entries, read_json
from sdbench.models.gguf_header import read_gguf_header
from sdbench.models.weights import WeightsError, look_at_pickle, read_header
from sdbench.plan.read_config import load_config
from sdbench.report.view import timelines
from sdbench.runs.reading import load_run
from sdbench.runs.timelines import thinned

MOST_PIXELS = 8192 * 8192
"""Of the largest image that a configuration can ask for."""


_LONG_TEXT = 20_000


class RefusedError(Exception):
    """The reader said no, in its own way."""


@dataclass
class Read:
    """What came of each file."""

    accepted: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    """Why, where that is said."""
    broken: list[tuple[str, str]] = field(default_factory=list)
    """What no reader may do, each with the name of the file."""

    def accepted_of(self, names: Container[str]) -> list[str]:
        """Those of the names that were accepted."""
        return [name for name in self.accepted if name in names]

    def refused_of(self, names: Container[str]) -> list[str]:
        """Those of the names that were refused."""
        return [name for name in self.refused if name in names]


def read_each(
    kind: str, folder: Path, names: Sequence[str], place: Callable[..., str], read: Read
) -> None:
    """Call the reader of that kind on each file or folder; ``place`` names what nobody foresaw."""
    for name in names:
        try:
            faults = [*_READERS[kind](folder, name)]
        except (SdbenchError, WeightsError, RefusedError, NotOpenedError) as error:
            read.refused[name] = str(error)
        except Exception as error:
            read.broken.append((name, f"a fault nobody foresaw: {place(error)}"))
        else:
            read.accepted.append(name)
            read.broken += [(name, fault) for fault in faults]


NAMES = ("quick", "nosuch", "a" * 5000, "a\0b", "", ".", "a\0b.toml")
"""Of configurations, in place of a path."""
OVERRIDES = (
    *(
        "steps=4",
        "name=abc",
        "gate.max_wait_s=3",
        "name=[",
        "x",
        "=1",
        " =1",
        "steps=x=",
        "steps.x=1",
    ),
    *("a.b=1", "steps=" + "[" * 9000, "steps=" + "9" * 5000, ".=1", "arm=1", "a." * 9000 + "a=1"),
)
"""Of single settings; the first three are as they should be."""


def _config(folder: Path, name: str) -> Iterator[str]:
    kind, _, number = name.partition("-")
    if kind == "word":
        config = load_config(NAMES[int(number)])
    elif kind == "set":
        config = load_config("quick", [OVERRIDES[int(number)]])
    else:
        config = load_config(str(folder / name))
    for arm in config.arm:
        for key, value in arm.env.items():
            if not key or "=" in key or "\0" in key + value:
                yield f"a variable with which nothing can be started: {key!r}"


def _run(folder: Path, name: str) -> Iterator[str]:
    """Refused is a run each of whose lines is said to be unreadable; its name has how many."""
    loaded = load_run(folder / name)
    said = "\n".join(loaded.warnings)
    named = re.findall(r"^records.jsonl line \d+ is unreadable", said, re.MULTILINE)
    more = re.findall(r"^records.jsonl: (\d+) more lines are unreadable", said, re.MULTILINE)
    if "-" in name and len(named) + sum(map(int, more)) == int(name.partition("-")[2]):
        raise RefusedError
    above = name.startswith("lines") and "are left out" not in said
    if above:  # it has more than a million
        yield "lines above the limit are read, or left out in silence"


def _weights(folder: Path, name: str) -> Iterator[str]:
    if name.endswith(".bin"):
        look_at_pickle(folder / name)
        return
    if name.endswith(".gguf"):
        for tensor in read_gguf_header(folder / name).tensors.values():
            if any(extent > 1 << 40 for extent in tensor.shape):
                yield "a tensor larger than its file"
        return
    for tensor in read_header(folder / name).values():
        if any(extent < 0 for extent in tensor.shape):
            yield "a tensor of negative size"


def _json(folder: Path, name: str) -> Iterator[str]:
    if name.endswith("-entries"):
        entries(folder / name)
    else:
        read_json(folder / name)
    yield from ()


def _expectations(folder: Path, name: str) -> Iterator[str]:
    for outcome in load_expectations(folder / name).values():
        if not isinstance(outcome, str):
            yield f"an outcome {outcome!r}"


def _picture(folder: Path, name: str) -> Iterator[str]:
    found = read_picture((folder / name).read_bytes(), name)
    if found.width * found.height > MOST_PIXELS:
        yield "an enormous image is decoded"
    if found.pixels.dtype != np.uint8 or found.pixels.ndim != 3:
        yield "pixels that are none"
    if name.startswith("with-") and found.settings is None:
        raise RefusedError


def _log(folder: Path, name: str) -> Iterator[str]:
    text = (folder / name).read_bytes().decode("utf-8", "replace")
    found = [read_crash_report(text), find_crash_report(text)]
    if len(text) < _LONG_TEXT:  # what takes long is put through the verb
        explain_text(text, Versions())
    if not any(found):
        raise RefusedError
    yield from ()


def _artifact(folder: Path, name: str) -> Iterator[str]:
    """An image, latents or a trace, by the digest that its name has."""
    run, kind, file = name.split("/")
    digest = file.partition(".")[0]
    artifacts = Artifacts(folder / run)
    if kind == "traces":
        trace = artifacts.trace(digest)
        if trace is None:
            raise RefusedError
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
            yield "a trace that is not what its name says"
        if trace.arrays["latents"].shape[1] != len(trace.kept):
            yield "a trace whose steps are not those that it names"
        return
    array = artifacts.pixels(digest) if kind == "images" else artifacts.latents(digest)
    if array is None:
        raise RefusedError
    if kind == "images" and array.shape[0] * array.shape[1] > MOST_PIXELS:
        yield "an enormous image is decoded"
    heads = (str(array.shape), f"torch.float32{array.shape}")
    if digest not in {hashlib.sha256(one.encode() + array.tobytes()).hexdigest() for one in heads}:
        yield "a file that is not what its name says"


def _timeline(folder: Path, name: str) -> Iterator[str]:
    run, _, file = name.split("/")
    readings = timelines.readings_of(folder / run, file)
    samples = [one for one in readings if one.phase is None]
    kept = thinned(samples)
    if [one.t for one in readings] != sorted(one.t for one in readings):
        yield "a timeline that goes back"
    if len(kept) > 2000:
        yield "a timeline that is not thinned out"
    for series in ("footprint_bytes", "available_bytes", "swap_used_bytes"):
        ends = [
            (min(known), max(known))
            for some in (samples, kept)
            if (known := [v for one in some if (v := getattr(one, series)) is not None])
        ]
        if len(set(ends)) > 1:
            yield f"thinned out, {series} loses its ends"
    frames.timeline_of(folder / run, file)
    if not readings:
        raise RefusedError


_PERCENT = {"free", "speed"}
_MACOS: dict[str, Callable[[str], Any]] = {
    "sysctl": macos_text.parse_sysctl,
    "pressure": macos_text.parse_pressure,
    "swap": macos_text.parse_swap_used,
    "load": macos_text.parse_load,
    "vm_stat": macos_text.parse_vm_stat,
    "counts": macos_text.parse_memory_pressure,
    "free": macos_text.parse_free_percent,
    "total": macos_text.parse_memory_pressure_total,
    "power": macos_text.parse_power_source,
    "speed": macos_text.parse_speed_limit,
    "df": macos_text.parse_df,
    "thermal": lambda text: macos_text.parse_thermal(text, "com.apple.system.thermalpressurelevel"),
    "low": lambda text: macos_text.parse_low_power(text, "ac"),
    "low_battery": lambda text: macos_text.parse_low_power(text, "battery"),
    "refusal": lambda text: macos_text.sysctl_refusal("hw.x", text),
}


def _macos(folder: Path, name: str) -> Iterator[str]:
    """What a program of macOS said; the name begins with whose it is."""
    reader = name.partition("-")[0]
    text = (folder / name).read_bytes().decode("utf-8", "replace")
    found = _MACOS[reader](text)
    if isinstance(found, macos_text.PageCounts):
        found = found.bytes_of("Pages free")
    elif isinstance(found, macos_text.Battery):
        found = found.percent
    if isinstance(found, Unavailable):
        raise RefusedError
    if isinstance(found, int | float) and not 0 <= found <= (100 if reader in _PERCENT else 1e18):
        yield f"{found} is believed"


def _recording(folder: Path, name: str) -> Iterator[str]:
    system = RecordedSystem.load(folder / name)
    msgspec.json.encode(system.facts)
    asked = (("sw_vers",), ("uname", "-v"), ("vm_stat",), ("pmset", "-g", "ps"), ("df", "-k", "/"))
    for words in asked:
        system.command(words)
    system.sysctl(["hw.memsize", "hw.model", "x"])
    yield from ()


def _fleet(folder: Path, name: str) -> Iterator[str]:
    """The state of a fleet, and when what was given."""
    _, state = read_state(folder / name)
    for group in state.groups.values():
        if (folder / name / group.run_id).parent != folder / name:
            yield f"a run outside of the fleet: {group.run_id}"
    given_times(read_events(folder / name))
    status_document(folder / name)


def _marker(folder: Path, name: str) -> Iterator[str]:
    with mock.patch.dict(os.environ, SDBENCH_STATE=str(folder / name)):
        markers.killed_under()
    yield from ()


_READERS: dict[str, Callable[[Path, str], Iterator[str]]] = {
    "run": _run,
    "config": _config,
    "weights": _weights,
    "json": _json,
    "expectations": _expectations,
    "picture": _picture,
    "log": _log,
    "artifact": _artifact,
    "timeline": _timeline,
    "macos": _macos,
    "recording": _recording,
    "fleet": _fleet,
    "marker": _marker,
    "opened": open_by_name,
    "written": write_text,
}
