"""The files that a project is expected to have: they agree with the code and with each other."""

import itertools
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from sdbench import __version__
from sdbench.cli import cli

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
FORMS = sorted(
    path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml"
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TYPES = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
URL = "https://github.com/sdbench/sdbench"


def read_yaml(path: str | Path) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def text_of(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


# --- packaging -----------------------------------------------------------------------------------


def names(requirements: list[str]) -> set[str]:
    return {Requirement(line).name for line in requirements}


def test_only_the_extras_torch_and_test_require_torch() -> None:
    extras = PROJECT["optional-dependencies"]
    heavy = names(extras["torch"])
    assert {"torch", "diffusers", "transformers", "accelerate", "peft"} <= heavy
    assert not heavy & names(PROJECT["dependencies"])
    for name, lines in extras.items():
        if name != "torch":
            assert not heavy & names(lines), name
    own = [Requirement(line) for line in extras["test"] if Requirement(line).name == "sdbench"]
    assert own and "torch" in own[0].extras
    assert "--editable '.[torch]'" in text_of("Makefile")


def test_version_has_one_place() -> None:
    assert PROJECT["dynamic"] == ["version"]
    assert read_yaml("CITATION.cff")["version"] == __version__


def test_citation_says_what_the_package_says() -> None:
    citation = read_yaml("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "type"} <= set(citation)
    assert citation["license"] == PROJECT["license"]
    assert citation["repository-code"] == PROJECT["urls"]["Source"] == URL
    assert [one["name"] for one in citation["authors"]] == [
        one["name"] for one in PROJECT["authors"]
    ]


def test_license_is_whole() -> None:
    text = text_of("LICENSE")
    assert PROJECT["license"] == "Apache-2.0" and "Version 2.0, January 2004" in text
    assert "9. Accepting Warranty or Additional Liability" in text


# --- changelog -----------------------------------------------------------------------------------


def test_changelog_has_the_form_of_keep_a_changelog() -> None:
    text = text_of("CHANGELOG.md")
    assert text.startswith("# Changelog\n")
    first, *releases = re.findall(r"^## (.+)$", text, re.M)
    assert first == "[Unreleased]"
    for heading in releases:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", heading), heading
    for release in re.split(r"^## .+$", text, flags=re.M)[1:]:
        kinds = re.findall(r"^### (.+)$", release, re.M)
        assert kinds == [kind for kind in TYPES if kind in kinds]
    for version in re.findall(r"^## \[(.+?)\]", text, re.M):
        assert re.search(rf"^\[{re.escape(version)}\]: {URL}/", text, re.M), version


# --- pre-commit ----------------------------------------------------------------------------------


def test_pre_commit_runs_what_make_check_runs() -> None:
    makefile = text_of("Makefile")
    recipe = re.search(r"^check: (.*)\n((?:\t.*\n)+)", makefile, re.M)
    assert recipe is not None
    wanted = {*recipe[1].split(), *recipe[2].split()} & {"lint", "types", "tests-unit"}
    (repository,) = read_yaml(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    hooks = {hook["id"]: hook for hook in repository["hooks"]}
    assert set(hooks) == wanted == {"lint", "types", "tests-unit"}
    for name, hook in hooks.items():
        assert hook["entry"] == f"make {name}" and hook["pass_filenames"] is False
        assert re.search(rf"^{name}:", makefile, re.M)


# --- issues --------------------------------------------------------------------------------------


def test_there_is_a_form_for_each_kind_of_report() -> None:
    assert [path.stem for path in FORMS] == [
        "crash",
        "mac-report",
        "wrong-picture",
        "wrong-verdict",
    ]
    assert [link["url"] for link in read_yaml(".github/ISSUE_TEMPLATE/config.yml")["contact_links"]]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_form_is_valid_and_asks_for_one_file(path: Path) -> None:
    form = read_yaml(path)
    assert {"name", "description", "title", "labels", "body"} == set(form)
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    for field in form["body"]:
        if field["type"] == "markdown":
            assert set(field["attributes"]) == {"value"}
        else:
            assert field["type"] == "textarea"
            assert set(field) == {"type", "id", "attributes", "validations"}
            assert set(field["attributes"]) == {"label", "description"}
            assert isinstance(field["validations"]["required"], bool)
    ids = [field["id"] for field in fields]
    assert len(ids) == len(set(ids)) and ids[0] == "file"
    assert fields[0]["validations"]["required"] is True
    assert commands_in(fields[0]["attributes"]["description"])


def commands_in(text: str) -> list[str]:
    blocks = re.findall(r"^ {4}(sdbench .+)$", text, re.M)
    return [*blocks, *re.findall(r"`(sdbench [a-z].+?)`", text)]


ASKED = sorted(
    {
        command
        for path in FORMS
        for field in read_yaml(path)["body"]
        for text in field["attributes"].values()
        for command in commands_in(text)
    }
)


@pytest.mark.parametrize("command", ASKED)
def test_commands_of_the_forms_are_understood(command: str) -> None:
    _, verb, *arguments = shlex.split(command)
    # A command keeps its help option: without the program above it, it would lose -h for good.
    program = cli.make_context("sdbench", [verb], resilient_parsing=True)
    found = cli.get_command(program, verb)
    assert found is not None
    with found.make_context(verb, arguments, parent=program):
        pass


# --- Homebrew ------------------------------------------------------------------------------------

# As `brew style` orders them (FormulaAudit/ComponentsOrder).
COMPONENTS = ["desc", "homepage", "url", "sha256", "license", "head", "depends_on"]


def test_formula_keeps_to_the_rules_of_brew_style() -> None:
    text = text_of("packaging/homebrew/sdbench.rb")
    lines = text.splitlines()
    assert lines[0] == "class Sdbench < Formula" and lines[-1] == "end" and text.endswith("end\n")
    assert not [line for line in lines if line != line.rstrip() or len(line) > 118]
    described = re.search(r'^  desc "(.+)"$', text, re.M)
    assert described is not None
    assert len(described[1]) <= 80 and not described[1].endswith(".")
    assert not re.match(r"(?i)(an?|the|sdbench)\b", described[1])
    assert f'homepage "{PROJECT["urls"]["Homepage"]}"' in text
    assert f'license "{PROJECT["license"]}"' in text
    used = [word for word in re.findall(r"^  (\w+) ", text, re.M) if word in COMPONENTS]
    assert [word for word, _ in itertools.groupby(used)] == [c for c in COMPONENTS if c in used]
    needed = re.findall(r'^  depends_on "(.+)"$', text, re.M)
    assert needed == sorted(needed) and "uv" in needed
    sections = re.findall(r"^  (def install|def caveats|test do)$", text, re.M)
    assert sections == ["def install", "def caveats", "test do"]
    openings = len(re.findall(r"^ *(?:class|def)\b|\bdo$", text, re.M))
    assert openings == len(re.findall(r"^ *end$", text, re.M))
