"""Write the pages of the documentation that the code itself determines.

    python tools/make_reference.py        # in seconds
    python tools/make_reference.py --all  # also the output of localise in README.md, with torch

``commands.md`` comes from click, ``records.md`` from the msgspec structs of the result files and of
the JSON documents, and so do the schemas. An output in README.md is the code block below a comment
``<!-- output: COMMAND -->``; its first line, the command as a reader would type it, stays.
"""

import argparse
import functools
import inspect
import os
import re
import subprocess
import sys
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import click
import msgspec

from sdbench.analysis.run_summary import RunSummary
from sdbench.bundles.schema import SCHEMAS, schema_text
from sdbench.cli import VERBS, cli
from sdbench.comparison.history import History
from sdbench.comparison.result import Comparison
from sdbench.diagnosis.result import Diagnosis
from sdbench.doctor.facts import Check
from sdbench.records import Record, Run
from sdbench.runs.timelines import TimelinePoint

ROOT = Path(__file__).parents[1]
_NOTE = "<!-- Written by tools/make_reference.py: change the code, then run `make goldens`. -->"
_COMMANDS_INTRODUCTION = """\
Every command has `--help`. Every command that reports something has `--json`: it then prints
exactly one JSON document on standard output and everything else on standard error. [Exit
codes](exit-codes.md) and [JSON documents](json.md) have pages of their own."""
_RECORDS_INTRODUCTION = """\
Times are seconds, memory is bytes, timestamps are UTC in ISO 8601, and names carry the unit. What
could not be measured is `null`, with a reason in a field of its own. Fields are only added; a
reader should ignore those that it does not know."""
DOCUMENTS: dict[str, type[msgspec.Struct]] = {
    "`run`, `resume`, `show RUN`, `report -f json`": RunSummary,
    "`compare`": Comparison,
    "`history`": History,
    "`diagnose`": Diagnosis,
    "`doctor`, each of `checks`": Check,
}
FILES: dict[str, tuple[type[msgspec.Struct], ...]] = {
    "`run.json`": (Run,),
    "`records.jsonl`": typing.get_args(Record),
    "`telemetry/*.jsonl`": (TimelinePoint,),
}


# --- commands ------------------------------------------------------------------------------------


def every_command() -> Iterator[tuple[list[str], click.Command]]:
    """Each verb and each command below one, with its words."""
    for verb in VERBS:
        command = cli.get_command(click.Context(cli), verb)
        assert command is not None
        yield [verb], command
        for name, below in getattr(command, "commands", {}).items():
            yield [verb, name], below


def commands_page() -> str:
    """All commands with their arguments, help texts and options."""
    parts = [
        "# Commands",
        _NOTE,
        _COMMANDS_INTRODUCTION,
        table(
            ("command", "purpose"),
            [(f"[`{verb}`](#sdbench-{verb})", cell(line)) for verb, (_, line) in VERBS.items()],
        ),
    ]
    for words, command in every_command():
        parts += [f"## sdbench {' '.join(words)}", *_command_parts(words, command)]
    return "\n\n".join(parts) + "\n"


def _command_parts(words: list[str], command: click.Command) -> Iterator[str]:
    context = click.Context(
        command,
        help_option_names=cli.context_settings["help_option_names"],
        info_name=" ".join(["sdbench", *words]),
    )
    pieces = " ".join(command.collect_usage_pieces(context))
    yield f"```text\n{context.info_name} {pieces}\n```"
    yield _help_text(command.help or "")
    rows = [
        (cell(f"`{_spelling(option, context)}`"), cell(_option_help(option, context)))
        for option in command.params
        if isinstance(option, click.Option)
    ]
    if rows:
        yield table(("option", "meaning"), rows)


def _spelling(option: click.Option, context: click.Context) -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    return names if option.is_flag else f"{names} {option.make_metavar(context)}"


def _option_help(option: click.Option, context: click.Context) -> str:
    record = option.get_help_record(context)
    return "" if record is None else record[1]


def _help_text(text: str) -> str:
    """Paragraphs as they are; what click must not wrap (``\\b``) as a code block."""
    blocks = []
    for block in inspect.cleandoc(text).split("\n\n"):
        if block.startswith("\b"):
            blocks.append(f"```text\n{block.removeprefix(chr(8)).strip(chr(10))}\n```")
        else:
            blocks.append(_inline(" ".join(block.split())))
    return "\n\n".join(blocks)


# --- records -------------------------------------------------------------------------------------


def records_page() -> str:
    """The fields of every document and file, with their types."""
    roots = [*DOCUMENTS.values(), *(one for several in FILES.values() for one in several)]
    parts = [
        "# Fields of documents and files",
        _NOTE,
        _RECORDS_INTRODUCTION,
        table(
            ("document or file", "is a"),
            [(name, link(struct)) for name, struct in DOCUMENTS.items()]
            + [(name, ", ".join(map(link, structs))) for name, structs in FILES.items()],
        ),
    ]
    for struct in sorted(_reachable(roots), key=lambda one: one.__name__):
        parts += [f"## {struct.__name__}", _inline(_docstring(struct)), _fields_table(struct)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _fields_table(struct: type[msgspec.Struct]) -> str:
    config = struct.__struct_config__
    rows = [(f"`{config.tag_field}`", f'`"{config.tag}"`')] if config.tag_field else []
    fields = msgspec.structs.fields(struct)
    rows += [(f"`{field.encode_name}`", type_words(field.type)) for field in fields]
    return table(("field", "type"), rows)


def _docstring(struct: type[msgspec.Struct]) -> str:
    return inspect.cleandoc(struct.__doc__ or "")


def _reachable(roots: list[type[msgspec.Struct]]) -> set[type[msgspec.Struct]]:
    found: set[type[msgspec.Struct]] = set()
    open_ones = list(roots)
    while open_ones:
        struct = open_ones.pop()
        if struct not in found:
            found.add(struct)
            for field in msgspec.structs.fields(struct):
                open_ones += _structs_in(field.type)
    return found


def _structs_in(kind: Any) -> list[type[msgspec.Struct]]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return [kind]
    if typing.get_origin(kind) is Literal:
        return []
    return [struct for part in typing.get_args(kind) for struct in _structs_in(part)]


def type_words(kind: Any) -> str:
    """A type as a reader of JSON sees it."""
    arguments, origin = typing.get_args(kind), typing.get_origin(kind)
    if origin is Annotated:
        return type_words(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_words(one) for one in arguments)
    if origin is Literal:
        return ", ".join(f'`"{one}"`' if isinstance(one, str) else f"`{one}`" for one in arguments)
    if origin in (list, tuple):
        inner = [type_words(one) for one in arguments if one is not Ellipsis]
        return f"list of {', '.join(inner)}"
    if origin is dict:
        return f"object of {type_words(arguments[1])}"
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return link(kind)
    plain = {str: "text", int: "integer", float: "number", bool: "true or false", dict: "object"}
    return plain.get(kind, "null" if kind is type(None) else "any value")


def link(struct: type[msgspec.Struct]) -> str:
    """To the table of a struct."""
    return f"[{struct.__name__}](#{struct.__name__.lower()})"


# --- Markdown ------------------------------------------------------------------------------------


def _inline(text: str) -> str:
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
    return re.sub(r"``(.+?)``", r"`\1`", text)


def cell(text: str) -> str:
    """A text as a cell of a table."""
    return _inline(" ".join(text.split())).replace("|", r"\|").replace("<", "&lt;")


def table(heading: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [heading, ("---",) * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# --- the outputs in README -----------------------------------------------------------------------

# What a screen shows of a line before it scrolls.
_WIDTH = 120
_OUTPUT = re.compile(
    r"(<!-- output: ([^\n]+) -->\n```console\n(?:\$ [^\n]+\n)+)(.*?)(^```$)", re.M | re.S
)


def with_outputs(text: str, measure: bool = False) -> str:
    """README with what its commands print now. They are run by a shell, in the repository.

    Those that need torch and the stand-in device are left alone unless ``measure`` is set.
    """

    def run(found: re.Match[str]) -> str:
        if "sdbench_standin" in found[2] and not measure:
            return found[0]
        environment = {**os.environ, "COLUMNS": "100"}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        done = subprocess.run(
            ["bash", "-c", found[2]],  # this project's own text
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        lines = [_cut(line.rstrip()) for line in done.stdout.splitlines()]
        return found[1] + "\n".join(lines) + "\n" + found[4]

    return _OUTPUT.sub(run, text)


def _cut(line: str) -> str:
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…"


PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands_page,
    "records.md": records_page,
    **{f"schema/{name}.json": functools.partial(schema_text, name) for name in SCHEMAS},
}


def main() -> None:
    """Write the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="also what needs torch")
    options = parser.parse_args()
    for name, page in PAGES.items():
        (ROOT / "docs/reference" / name).write_text(page(), encoding="utf-8")
    readme = ROOT / "README.md"
    text = with_outputs(readme.read_text(encoding="utf-8"), measure=options.all)
    readme.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
