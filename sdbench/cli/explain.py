"""``sdbench explain``."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from sdbench.cli.options import json_option
from sdbench.cli.output import console, print_json
from sdbench.errors import UsageError
from sdbench.files.access import open_file
from sdbench.report.terminal.lines import harmless, say
from sdbench.words import printable

if TYPE_CHECKING:
    from sdbench.explain.explain import Explained, Explanation
    from sdbench.explain.picture_files import PictureFile
    from sdbench.knowledge.version_ranges import Versions

_LARGEST_BYTES = 64 * 1024 * 1024
_SURE = {
    "high": "high: the message says it, or maintainers confirmed it",
    "medium": "medium: several reports agree",
    "low": "low: a lead",
}
_VERSIONS_OF = {
    "text": "stated in it",
    "machine": "of this machine, because the text states none",
    "recording": "SIMULATED: of a recorded machine, because the text states none",
    "none": "none are known",
}
_PACKAGES = (
    *("diffusers", "transformers", "accelerate", "safetensors", "huggingface_hub", "tokenizers"),
    *("peft", "numpy", "torchvision", "xformers", "bitsandbytes"),
)


@click.command(name="explain")
@click.argument("file", default="-", metavar="[FILE]")
@json_option
def command(file: str, as_json: bool) -> int:
    """Explain a crash text, a traceback, a macOS crash report or a bad image.

    FILE is a log or image of any program that uses torch; without it, or with -, the text is
    read from standard input. Reports what happened, since and until which release, what to do, how
    sure that is, and a public thread about it. Uses the versions stated in the text, or those of
    this machine if the text states none, and says which. An image (PNG, JPEG, WebP) is measured,
    and the settings that a program embedded in it are read. Nothing leaves the machine.

    Exits with 0 also if nothing is recognised (the list of explanations is then empty), and with 2
    if the input is neither text nor an image.
    """
    name, data = ("standard input", _from_stdin()) if file == "-" else (file, _from_file(file))
    if not data.strip():
        raise UsageError(f"{name} is empty; expected a log, a traceback or an image")
    from sdbench.explain.picture_files import picture_format

    if picture_format(data) is not None:
        return _picture(name, data, as_json)
    return _text(name, _decoded(name, data), as_json)


def _text(name: str, text: str, as_json: bool) -> int:
    from sdbench.explain.explain import explain_text

    found = explain_text(text, machine_versions())
    if as_json:
        print_json(_document(found))
    else:
        _show_heading(f"Read {len(text.splitlines())} lines of {name}.", found)
        _show(found.explanations)
        if not found.explanations:
            _show_unknown(found)
    return 0


def _picture(name: str, data: bytes, as_json: bool) -> int:
    from sdbench.correctness.picture_kinds import kinds_of
    from sdbench.explain.explain import Explained
    from sdbench.explain.picture_causes import explain_picture
    from sdbench.explain.picture_files import read_picture

    picture = read_picture(data, name)
    kinds = kinds_of(picture.pixels)
    versions = machine_versions()
    explanations = explain_picture(kinds, picture, versions)
    found = Explained(explanations=explanations, versions=versions, versions_of="machine")
    if as_json:
        print_json({**_document(found), "picture": _picture_document(picture, kinds)})
        return 0
    _show_heading(f"Read {name}: {picture.format}, {picture.width}x{picture.height} pixels.", found)
    _show_settings(picture)
    _show(explanations)
    if not explanations:
        console().print(
            "\n"
            "The image alone shows no fault; whether it is the right image can only be decided "
            "with a reference. sdbench run compares this machine's images with the CPU's.",
            soft_wrap=True,
        )
    return 0


def machine_versions() -> "Versions":
    """The versions of this machine (or of the recording that replaces it) and this Python."""
    import importlib.metadata
    import platform

    from sdbench.knowledge.chips import chip_of_machine
    from sdbench.knowledge.version_ranges import Versions
    from sdbench.machine import RecordedSystem, open_system, or_none, probe_machine

    system = open_system()
    facts = probe_machine(system, Path.cwd())
    identity = facts.identity
    if isinstance(system, RecordedSystem):
        listed = system.facts.packages or {}
        packages = {name: version for name, version in listed.items() if version}
        python = system.facts.python
    else:
        packages, python = {}, platform.python_version()
        for name in ("torch", *_PACKAGES):
            try:
                version: str | None = importlib.metadata.version(name)
            except (importlib.metadata.PackageNotFoundError, KeyError):
                continue
            if version is not None:  # a half-removed package has none
                packages[name] = version
    return Versions(
        torch=packages.get("torch"),
        macos=or_none(identity.os_version) if identity.system == "Darwin" else None,
        python=python,
        chip=chip_of_machine(or_none(identity.chip), identity.virtual),
        architecture=or_none(identity.architecture),
        packages={name: version for name, version in packages.items() if name in _PACKAGES},
    )


def _recorded() -> bool:
    """Whether a recording stands in for this machine."""
    from sdbench.machine.recording import VARIABLE

    return bool(os.environ.get(VARIABLE))


def _from_stdin() -> bytes:
    stream = sys.stdin.buffer
    if stream.isatty():
        console(err=True).print("Paste the text, then press Ctrl-D.")
    return _bounded("standard input", stream.read(_LARGEST_BYTES + 1))


def _from_file(file: str) -> bytes:
    try:
        with open_file(Path(file)) as stream:
            return _bounded(file, stream.read(_LARGEST_BYTES + 1))
    except OSError as error:
        raise UsageError(
            f"{file}: {error.strerror}; expected a log, a traceback or an image, or - for "
            "standard input"
        ) from None


def _bounded(name: str, data: bytes) -> bytes:
    if len(data) > _LARGEST_BYTES:
        raise UsageError(
            f"{name} has more than {_LARGEST_BYTES // 2**20} MiB; use its end: tail -n 5000 FILE | "
            "sdbench explain -"
        )
    return data


def _decoded(name: str, data: bytes) -> str:
    """Text in UTF-8 or, where the first bytes say so, UTF-16; what cannot be read is replaced."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    if b"\x00" in data[:4096]:
        raise UsageError(f"{name} is neither text nor a PNG, JPEG or WebP image")
    return data.decode("utf-8", "replace").removeprefix("\ufeff").replace("\r\n", "\n")


def _document(found: "Explained") -> dict[str, Any]:
    from sdbench.privacy.redact_recorded import redact

    versions = msgspec.to_builtins(found.versions)
    del versions["in_force"]  # no part of the document
    return {
        "explanations": msgspec.to_builtins(found.explanations),
        "versions": {"from": found.versions_of, **versions},
        "simulated": _recorded(),
        "unexplained": None if found.unexplained is None else redact(found.unexplained),
    }


def _picture_document(picture: "PictureFile", kinds: Any) -> dict[str, Any]:
    settings = picture.settings
    return {
        "format": picture.format,
        "width": picture.width,
        "height": picture.height,
        "program": None if settings is None else settings.program,
        "parameters": {} if settings is None else settings.values,
        "kinds": msgspec.to_builtins(kinds),
    }


def _show_heading(line: str, found: "Explained") -> None:
    out, versions = console(), found.versions
    out.print(printable(line), markup=False, soft_wrap=True)
    named = {"torch": versions.torch, "macOS": versions.macos, "Python": versions.python}
    named |= versions.packages
    known = [f"{name} {version}" for name, version in named.items() if version]
    words = ", ".join([*known, *([versions.chip] if versions.chip else [])]) or "unknown"
    origin = "recording" if found.versions_of == "machine" and _recorded() else found.versions_of
    say(out, harmless(words), lead=f"Versions ({_VERSIONS_OF[origin]}): ")


def _show(explanations: "list[Explanation]") -> None:
    out = console()
    for number, one in enumerate(explanations, 1):
        lead = f"{number}. " if len(explanations) > 1 else ""
        rows = [(f"{lead}What happened", one.cause), ("What to do", one.remedy)]
        rows.append(("How sure", _SURE[one.confidence]))
        if one.generic:
            rows.append(("", "This explanation is general: nothing is known beyond the message."))
        seen = [
            *([f"since {one.since}"] if one.since else []),
            *([f"until {one.until}"] if one.until else []),
        ]
        rows += [("Seen", ", ".join(seen))] if seen else []
        rows += [("Source", ", ".join(one.links))] if one.links else []
        rows += [("Decisive words", one.quote)] if one.quote else []
        out.print("")
        for title, words in rows:
            if title == "Source":  # a line break in a link would break it
                out.print(f"{title}: {printable(words)}", markup=False, soft_wrap=True)
            else:
                say(out, harmless(f"{title}: {words}" if title else words))


def _show_settings(picture: "PictureFile") -> None:
    if picture.settings is None:
        console().print("No settings are embedded in it.")
        return
    console().print(f"Settings embedded by {picture.settings.program}:")
    for name, value in picture.settings.values.items():
        console().print(f"  {printable(name)}: {printable(value)}", markup=False, soft_wrap=True)


def _show_unknown(found: "Explained") -> None:
    from sdbench.privacy.redact_recorded import redact

    out = console()
    out.print("")
    if found.unexplained is None:
        out.print("This text contains no error that sdbench recognises.")
    else:
        out.print(
            f"The last error is not known to sdbench: {printable(redact(found.unexplained))}",
            markup=False,
            soft_wrap=True,
        )
    say(
        out,
        "Useful additions: the complete error output from the command to the end (native code "
        "states the cause of a crash in its last lines), macOS's crash report (Console, Crash "
        "Reports), and the versions (python -m torch.utils.collect_env).",
    )
