"""README and docs: all of the code is described, what they show works, and links lead somewhere."""

import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import click
import make_reference
import msgspec
import pytest
import yaml
from golden_outputs import ROOT, tracked_runs

from sdbench.cli import VERBS, cli, main
from sdbench.errors import ConfigError, MachineError, SdbenchError, UsageError
from sdbench.knowledge.known_issues import FindingCode
from sdbench.plan.config import Config, Gate, Guard, Matrix, Pressure, Reference, UntilDecided
from sdbench.plan.read_config import load_config, shipped_configs
from sdbench.records import Arm

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
REPOSITORY = "https://github.com/sdbench/sdbench/blob/main/"
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def rows(name: str, heading: str) -> list[list[str]]:
    """Cells of the tables of a page with this first heading."""
    pattern = rf"^\| {re.escape(heading)} \|.*\n\|[-| ]+\|\n((?:\|.*\n?)+)"
    tables = re.findall(pattern, text_of(name), re.M)
    assert tables, f"{name} has no table of {heading}"
    lines = "".join(tables).splitlines()
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def first_column(name: str, heading: str) -> list[str]:
    return [code for row in rows(name, heading) for code in re.findall(r"`(.+?)`", row[0])]


def blocks(page: Path, *languages: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S)
    return [block for language, block in found if language in languages]


def section(name: str, title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text_of(name), re.M | re.S)
    assert found is not None, f"{name} has no section {title}"
    return found[1]


# --- README --------------------------------------------------------------------------------------


def test_readme_is_short_and_has_the_two_commands() -> None:
    text = text_of("README.md")
    assert len(text.splitlines()) <= 150
    commands = re.findall(r"^make ([\w-]+)", text, re.M)
    assert commands == ["run", "test"]
    assert re.search(r"^make test$", text_of(".ci/run"), re.M)
    assert text.count("<!-- output: ") >= 4


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", text_of("Makefile"), re.M))
    for page in PAGES:
        words = re.findall(r"(?:^|`)make ([\w-]+)", page.read_text(encoding="utf-8"), re.M)
        assert set(words) <= targets, page.name


# --- all is described ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", make_reference.PAGES)
def test_pages_made_from_the_code_are_current(name: str) -> None:
    stored = (DOCS / "reference" / name).read_text(encoding="utf-8")
    assert stored == make_reference.PAGES[name](), "run: make goldens"


def test_outputs_in_readme_are_what_is_printed() -> None:
    text = text_of("README.md")
    assert make_reference.with_outputs(text) == text, "run: make goldens"


def test_every_command_and_option_is_described() -> None:
    text = text_of("docs/reference/commands.md")
    for words, command in make_reference.every_command():
        found = re.search(rf"^## sdbench {' '.join(words)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
        assert found is not None, words
        for parameter in command.params:
            names = parameter.opts if isinstance(parameter, click.Option) else []
            for name in names:
                assert re.search(rf"(?<!\S)`?{re.escape(name)}\b", found[1]), (words, name)
    assert first_column("docs/reference/commands.md", "command") == [*VERBS]


def default_of(struct: type[msgspec.Struct], name: str) -> Any:
    field = next(one for one in msgspec.structs.fields(struct) if one.name == name)
    made = field.default is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT
    return msgspec.to_builtins(field.default_factory() if made else field.default)


CONFIGURATION = "docs/reference/configuration.md"
TABLES: dict[str, type[msgspec.Struct]] = {
    "arm": Arm,
    "gate": Gate,
    "guard": Guard,
    "pressure": Pressure,
    "reference": Reference,
    "until_decided": UntilDecided,
}


def test_every_key_of_a_configuration_is_described_with_its_default() -> None:
    structs = {
        f"{table}.{name}": (struct, name)
        for table, struct in TABLES.items()
        for name in struct.__struct_fields__
    }
    structs |= {name: (Config, name) for name in Config.__struct_fields__}
    del structs["arm.hold_bytes"]  # set by [pressure] alone
    described = {row[0].strip("`"): row[1] for row in rows(CONFIGURATION, "key")}
    assert described.keys() == structs.keys()
    for key, (struct, name) in structs.items():
        if described[key].startswith("`"):
            value = tomllib.loads(f"x = {described[key].strip('`')}")["x"]
            default = default_of(struct, name)
            assert value == (list(default) if isinstance(default, tuple) else default), key


def literals(kind: Any) -> list[Any]:
    if typing.get_origin(kind) is typing.Literal:
        return [*typing.get_args(kind)]
    return [value for part in typing.get_args(kind) for value in literals(part)]


def test_every_axis_is_described_with_its_values() -> None:
    described = {row[0].strip("`"): row[1] for row in rows(CONFIGURATION, "axis")}
    assert [*sorted(described)] == sorted(Matrix.__struct_fields__)
    schedulers = next(row[2] for row in rows(CONFIGURATION, "key") if row[0] == "`scheduler`")
    for field in msgspec.structs.fields(Matrix):
        text = schedulers if field.name == "scheduler" else described[field.name]
        for value in literals(field.type):
            assert f"`{value}`" in text, (field.name, value)


def test_every_shipped_configuration_is_described() -> None:
    assert sorted(first_column(CONFIGURATION, "configuration")) == sorted(shipped_configs())


def test_example_configuration_is_one(tmp_path: Path) -> None:
    path = tmp_path / "example.toml"
    (example,) = blocks(ROOT / CONFIGURATION, "toml")
    path.write_text(example, encoding="utf-8")
    config = load_config(str(path))
    assert (config.name, len(config.arm)) == ("my-plan", 2)
    assert config.gate.wait_for == ("thermal", "pressure")
    assert config.guard == Guard()  # the example shows the defaults
    assert config.until_decided == UntilDecided()
    assert config.pressure.hold_bytes == (0, 4e9, "50%")


def test_every_finding_is_described() -> None:
    assert sorted(first_column("docs/reference/findings.md", "finding")) == sorted(
        typing.get_args(FindingCode)
    )


def test_every_exit_code_is_described() -> None:
    described = {int(row[0]) for row in rows("docs/reference/exit-codes.md", "code")}
    errors = {one.exit_code for one in (SdbenchError, UsageError, ConfigError, MachineError)}
    assert described == {0, 70, 130, *errors}


def test_every_environment_variable_is_described() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "sdbench").rglob("*.py"))
    # Not a variable: what a stand-in device says of itself.
    used = set(re.findall(r"SDBENCH_[A-Z]+(?:_[A-Z]+)*", source)) - {
        "SDBENCH_SIMULATED",
        "SDBENCH_COMPLETE",
    }
    assert used == set(first_column("docs/reference/files.md", "variable"))


def test_every_format_and_option_of_report_is_described() -> None:
    page = "docs/how-to/reports.md"
    command = cli.get_command(click.Context(cli), "report")
    assert command is not None
    formats = next(one for one in command.params if one.name == "kind").type
    assert isinstance(formats, click.Choice)
    assert sorted(first_column(page, "`-f`")) == sorted(["-f", *formats.choices][1:])
    for parameter in command.params:
        for option in parameter.opts if isinstance(parameter, click.Option) else []:
            assert option in text_of(page), option


RUN = str(tracked_runs()[0])


@pytest.mark.parametrize(
    ("row", "arguments"),
    [
        ("`show RUN CASE`", ["show", RUN, "128x128"]),
        ("`run --dry-run`", ["run", "quick", "--device", "cpu", "--dry-run"]),
        ("`list`", ["list", "--results", str(ROOT / "results")]),
        ("`explain`", ["explain", str(ROOT / "README.md")]),
        ("`models`", ["models"]),
        ("`stacks`", ["stacks", "list"]),
    ],
)
def test_fields_of_documents_are_described(
    row: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    described = next(
        cells[1] for cells in rows("docs/reference/json.md", "command") if cells[0] == row
    )
    items = [value[0] for value in document.values() if isinstance(value, list) and value]
    inner = items[0] if row in ("`list`", "`models`", "`stacks`") else {}
    for name in itertools.chain(document, inner):
        assert f"`{name}`" in described, name


# --- what the pages show works -------------------------------------------------------------------

_COMMAND = re.compile(r"(?:^|[\s|;&('\"/])sdbench[ \t]+([a-z-][^|;&#\n]*)", re.M)


def commands_of(page: Path) -> list[str]:
    """The arguments of every sdbench command in the blocks of a page."""
    shown = blocks(page, "sh", "yaml")
    text = page.read_text(encoding="utf-8")
    shown += [
        line[2:]
        for block in blocks(page, "console")
        for line in block.splitlines()
        if line.startswith("$ ")
    ]
    shown += re.findall(r"<!-- output: (.+?) -->", text)
    shown = [re.sub(r"(^|\s)#.*", "", one) for one in shown]
    found = [command for one in shown for command in _COMMAND.findall(one)]
    return [re.sub(r"\s2>\S+|\s>\S+", "", command).strip() for command in found]


def commands_named(page: Path) -> list[str]:
    """The same of sentences, which may name a command without all its arguments."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return re.findall(r"`sdbench ([a-z][^`]*)`", text)


def arguments_of(command: str) -> list[str]:
    # The quote of a surrounding sh -c '…' may end with it.
    return shlex.split(command if command.count("'") % 2 == 0 else command.rstrip("'"))


def understand(arguments: list[str]) -> None:
    """Parse a command line to its last command; runs nothing.

    Raises:
        click.ClickException: it is not one.
    """
    group: click.Group = cli
    context = click.Context(group, **cli.context_settings)
    while True:
        name, command, rest = group.resolve_command(context, arguments)
        assert name is not None and command is not None
        if not isinstance(command, click.Group) or not rest:
            if not isinstance(command, click.Group):
                command.make_context(name, rest, parent=context).close()
            return
        group, arguments = command, rest
        context = click.Context(command, parent=context, info_name=name)


@each_page
def test_commands_are_understood(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = commands_of(page)
    for command in [*shown, *commands_named(page)]:
        arguments = arguments_of(command)
        for word in arguments:
            if re.fullmatch(r"[\w-]+\.(txt|png|toml)", word):  # files that a reader has
                (tmp_path / word).touch()
        try:
            understand(arguments)
        except click.MissingParameter:
            assert command not in shown, f"sdbench {command}"
        except click.ClickException as error:
            if Path(arguments[-1]).expanduser().is_absolute() and "does not exist" in str(error):
                continue
            pytest.fail(f"sdbench {command}: {error.format_message()}")


def test_a_wrong_command_would_be_found() -> None:
    with pytest.raises(click.ClickException):
        understand(["run", "--no-such-option"])
    with pytest.raises(click.ClickException):
        understand(["no-such-command"])
    with pytest.raises(click.ClickException):
        understand(["stacks", "no-such-command"])
    assert sum(len(commands_of(page)) for page in PAGES) > 100


@each_page
def test_blocks_are_valid(page: Path) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    for block in blocks(page, "sh"):
        done = subprocess.run([bash, "-n", "-c", block], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), block
    for block in blocks(page, "yaml"):
        assert yaml.safe_load(block)
    for block in blocks(page, "toml"):
        assert tomllib.loads(block)


def test_python_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(RUN, tmp_path / "results" / Path(RUN).name)
    monkeypatch.chdir(tmp_path)
    assert main(["report", "latest", "-o", "run.csv"]) == 0
    names: dict[str, Any] = {}
    examples = [block for page in PAGES for block in blocks(page, "python")]
    assert examples
    for example in examples:
        exec(example, names)
    assert names["run"].run_id == Path(RUN).name
    # Every line is a statement, and what it gives is not empty.
    values = [
        line for line in "\n".join(examples).splitlines() if re.match(r"(run|processes|pd)\.", line)
    ]
    assert len(values) == 6
    for line in values:
        assert len(eval(line, names)), line


STUBS = {
    # The version as the real one gives it; anything else asked for is an error.
    "bin/sw_vers": '[ "$*" = -productVersion ]; echo "$MAC"',
    "bin/uv": 'printf "uv"; printf " <%s>" "$@"; echo',
    ".venv/bin/sdbench": 'printf "sdbench"; printf " <%s>" "$@"; echo',
}


@pytest.mark.parametrize(
    ("version", "torch"),
    [("13.6.1", "torch<2.9"), ("14.5", "torch<2.15"), ("15.1", "torch"), ("26.0", "torch")],
)
def test_mac_commands_choose_a_torch_that_runs_there(
    tmp_path: Path, version: str, torch: str
) -> None:
    for name, body in STUBS.items():
        stub = tmp_path / name
        stub.parent.mkdir(parents=True, exist_ok=True)
        stub.write_text(f"#!/bin/sh\nset -eu\n{body}\n")
        stub.chmod(0o755)
    bash = shutil.which("bash")
    assert bash is not None
    (block,) = re.findall(
        r"^```sh\n(.*?)^```$", section("docs/install.md", "On a Mac"), re.M | re.S
    )
    done = subprocess.run(
        [bash, "-eu", "-c", block],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin", "MAC": version},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "uv <venv> <--python> <3.12>",
        f"uv <pip> <install> <sdbench[torch]> <{torch}>",
        "sdbench <doctor>",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".venv", "bin"]  # no file "2.9"


# --- links and citations -------------------------------------------------------------------------


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    found = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", one).strip().lower()) for one in found}


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(REPOSITORY):
            target, base = target.removeprefix(REPOSITORY), ROOT
        elif "://" in target:
            continue
        else:
            base = page.parent
        path, _, anchor = target.partition("#")
        file = (base / path).resolve() if path else page
        assert file.exists(), target
        if DOCS in page.parents and base is not ROOT:
            assert DOCS in file.parents, f"{target} is not on the site"
        if anchor:
            assert anchor in headings(file), target


def test_rules_that_the_code_cites_are_explained() -> None:
    explained = set(
        re.findall(r"^## PROTOCOL (\w+):", text_of("docs/explanation/protocol.md"), re.M)
    )
    assert len(explained) == 24
    for folder in ("sdbench", "tests", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"\b(DESIGN|REDESIGN|STYLE) \d", text), path
            for cited in re.findall(r"PROTOCOL ((?:\d+a?(?:, | and | to )?)+)", text):
                assert set(re.findall(r"\d+a?", cited)) <= explained, (path, cited)


def test_site_is_built_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    pages = {path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*.md")}
    built = {path.relative_to(tmp_path).parent for path in tmp_path.rglob("index.html")}
    assert {page for page in pages if page.name != "index"} <= built
