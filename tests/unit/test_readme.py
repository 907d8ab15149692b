"""README says what there is, and its Mac commands do what it says."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import click
import msgspec
import pytest

from sdbench.cli import VERBS, cli
from sdbench.plan.config import Config, Gate, Guard, Matrix, Pressure, Reference, UntilDecided
from sdbench.plan.read_config import load_config, shipped_configs
from sdbench.records import Arm

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text below a heading, down to the next one."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", README, re.M | re.S)
    assert found is not None, f"README has no section {title}"
    return found[1]


def code_blocks(text: str, language: str) -> list[str]:
    """The blocks of code in a language."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)
    assert found, f"no {language} block"
    return [str(block) for block in found]


def code_block(text: str, language: str) -> str:
    """The first block of code in a language."""
    return code_blocks(text, language)[0]


def first_column(heading: str) -> list[str]:
    """The first cells of the table with this first heading."""
    found = re.search(rf"^\| {heading} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", README, re.M)
    assert found is not None, f"README has no table of {heading}"
    return re.findall(r"^\| `(.+?)` \|", found[1], re.M)


# --- commands ------------------------------------------------------------------------------------


def test_command_table_has_every_verb_and_no_other() -> None:
    assert [command.split()[1] for command in first_column("command")] == list(VERBS)


@pytest.mark.parametrize("line", first_column("command"))
def test_command_table_shows_the_arguments_there_are(line: str) -> None:
    program, verb, *arguments = line.split()
    command = cli.get_command(click.Context(cli), verb)
    assert (program, command is not None) == ("sdbench", True)
    assert command is not None
    expected = [
        parameter.make_metavar(click.Context(command))
        for parameter in command.params
        if isinstance(parameter, click.Argument)
    ]
    assert arguments == expected


def test_no_verb_and_no_option_is_named_that_is_not_there() -> None:
    for block in re.findall(r"^```\w*\n(.*?)^```", README, re.M | re.S):
        for verb, rest in re.findall(r"^\$? *(?:\.venv/bin/)?sdbench +([a-z]+)(.*)$", block, re.M):
            assert verb in VERBS, f"README: sdbench {verb}"
            assert_known_options(verb, rest.split("#")[0])
    useful = re.search(r"^Useful options of `run`:.*?\n\n", README, re.M | re.S)
    assert useful is not None
    assert_known_options("run", useful[0].replace("`", " "))


def assert_known_options(verb: str, text: str) -> None:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    known = {opt for parameter in command.params for opt in parameter.opts} | {"-h", "--help"}
    unknown = set(re.findall(r"(?<!\S)(--?[a-z][a-z-]*)", text)) - known
    assert unknown == set(), f"README: sdbench {verb} {unknown}"


def test_every_format_and_option_of_report_is_explained() -> None:
    text, command = section("Reports"), cli.get_command(click.Context(cli), "report")
    assert command is not None
    formats = next(one for one in command.params if one.name == "kind").type
    assert isinstance(formats, click.Choice)
    assert sorted(first_column("`-f`")) == sorted(formats.choices)
    for parameter in command.params:
        for option in parameter.opts if isinstance(parameter, click.Option) else []:
            assert option in text, option


# --- configuration -------------------------------------------------------------------------------


def test_configuration_table_has_every_shipped_one_and_no_other() -> None:
    assert sorted(first_column("configuration")) == sorted(shipped_configs())


def keys_explained() -> set[str]:
    """Keys in the Configuration section: of its examples, with their table's name, in backticks."""
    text = section("Configuration")
    found: set[str] = set()
    for example in code_blocks(text, "toml"):
        text = text.replace(example, "")
        found |= {*re.findall(r"^(\w+) *=", example, re.M)}
        for table, keys in re.findall(r"^\[(\w+)\](.*?)(?=^\[|\Z)", example, re.M | re.S):
            found |= {f"{table}.{key}" for key in re.findall(r"^(\w+) *=", keys, re.M)}
        found |= {*re.findall(r"^\[{1,2}(\w+)\]{1,2}", example, re.M)}
    return found | {*re.findall(r"`\[{0,2}([a-z_]+(?:\.[a-z_]+)?)\]{0,2}`", text)}


def names_of(struct: type[msgspec.Struct], table: str = "") -> list[str]:
    return [table + name for name in struct.__struct_fields__]


@pytest.mark.parametrize(
    "key",
    [
        *(name for name in names_of(Config) if name != "reference"),
        *names_of(Matrix),
        *(name for name in names_of(Arm) if name != "hold_bytes"),  # set by [pressure] alone
        *names_of(Gate, "gate."),
        *names_of(Guard, "guard."),
        *names_of(Pressure, "pressure."),
        *names_of(Reference, "reference."),
        *names_of(UntilDecided, "until_decided."),
    ],
)
def test_every_key_is_explained(key: str) -> None:
    assert key in keys_explained()


def test_examples_are_a_configuration(tmp_path: Path) -> None:
    path = tmp_path / "example.toml"
    path.write_text("".join(code_blocks(section("Configuration"), "toml")), encoding="utf-8")
    config = load_config(str(path))
    assert config.name == "my-plan"
    assert len(config.arm) == 2
    assert config.gate.wait_for == ("thermal", "pressure")
    assert config.guard == Guard()  # the example shows the defaults
    assert config.pressure.hold_bytes == (0, 4e9, "50%")


# --- on a Mac ------------------------------------------------------------------------------------

STUBS = {
    # The version as the real one gives it; anything else asked for is an error.
    "bin/sw_vers": '[ "$*" = -productVersion ]; echo "$MAC"',
    "bin/uv": 'printf "uv"; printf " <%s>" "$@"; echo',
    ".venv/bin/sdbench": 'printf "sdbench"; printf " <%s>" "$@"; echo',
}


@pytest.mark.parametrize(
    ("version", "torch"),
    [
        ("13.6.1", "torch<2.9"),
        ("14.5", "torch<2.15"),
        ("15.1", "torch"),
        ("26.0", "torch"),
    ],
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
    done = subprocess.run(
        [bash, "-eu", "-c", code_block(section("On a Mac"), "sh")],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin", "MAC": version},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "uv <venv> <--python> <3.12>",
        f"uv <pip> <install> <.[torch]> <{torch}>",
        "sdbench <run>",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".venv", "bin"]  # no file "2.9"
