"""The shape of the package: which part may know which, and what may be imported where."""

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sdbench

PACKAGE = Path(sdbench.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# From the bottom up: a part imports from layers below its own, never from its own or above.
LAYERS: list[set[str]] = [
    {"errors", "files", "interrupt", "schema", "variables", "words"},
    {"python_source", "toml_files"},
    {"config", "machine", "models", "quality", "stats"},
    {"stacks", "store", "telemetry"},
    {"efficiency"},
    {"plan", "estimate", "summary"},
    {"comparison"},
    # insight below the runner, which puts causes of deaths and known issues into its records
    {"insight", "frames"},
    {"doctor", "fleet", "report", "runner"},
    {"cli"},
    {"__main__"},
]
LEVEL = {part: level for level, layer in enumerate(LAYERS) for part in layer}
# The stack being measured: only the worker ever imports it.
MEASURED = {"torch", "diffusers", "transformers", "accelerate"}
# Slow to import: in functions only, where they are needed.
HEAVY = MEASURED | {
    *("huggingface_hub", "safetensors", "numpy", "pandas", "scipy"),
    *("skimage", "matplotlib", "jinja2", "PIL"),
}
WORKER_STACK = MEASURED | {"numpy", "PIL", "safetensors", "tokenizers"}
# What runs in a worker before its preloads, and so before torch.
WORKER_START = {
    "__init__",
    "__main__",
    "channel",
    "forkserver",
    "job",
    "main",
    "own_memory",
    "watchdog",
}


def part_of(path: Path) -> str:
    """The module or folder directly below the package that a file belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


HOST_FILES = [path for path in FILES if part_of(path) not in ("worker", "__init__")]
WORKER_FILES = [path for path in FILES if part_of(path) == "worker"]


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 10))


def imported(tree: ast.AST) -> Iterator[str]:
    """Full names of what a file imports, wherever in it; relative imports begin with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            stem = "." * node.level + (node.module or "")
            joint = "" if stem.endswith(".") else "."
            yield stem
            yield from (f"{stem}{joint}{alias.name}" for alias in node.names)


def imported_at_once(tree: ast.Module) -> Iterator[str]:
    """What is imported as soon as the module is, so not in functions or for type checkers only."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield from imported(node)


def packages(names: Iterator[str]) -> set[str]:
    """The packages that absolute imports are from."""
    return {name.split(".")[0] for name in names if not name.startswith(".")}


def parts_imported(path: Path) -> set[str]:
    """The parts of sdbench that a file imports, its own aside."""
    words = [name.split(".") for name in imported(tree_of(path))]
    parts = {word[1] for word in words if word[0] == "sdbench" and len(word) > 1}
    return parts - {part_of(path), "__version__"}


def offenders(found: dict[Path, set[str]]) -> dict[str, set[str]]:
    """The files in which something was found, by name."""
    return {path.relative_to(PACKAGE).as_posix(): what for path, what in found.items() if what}


def test_every_part_has_its_layer() -> None:
    assert {part_of(path) for path in HOST_FILES} - set(LEVEL) == set()


def test_dependencies_point_one_way() -> None:
    upward = {
        path: {
            part
            for part in parts_imported(path)
            if part in LEVEL and LEVEL[part] >= LEVEL[part_of(path)]
        }
        for path in HOST_FILES
    }
    assert offenders(upward) == {}


def test_only_those_who_start_children_know_where_the_worker_is() -> None:
    knowing = {part_of(path) for path in HOST_FILES if "worker" in parts_imported(path)}
    assert knowing == {"doctor", "runner"}


def test_worker_knows_nothing_of_sdbench_but_itself() -> None:
    outside: dict[Path, set[str]] = {}
    for path in WORKER_FILES:
        depth = len(path.relative_to(PACKAGE / "worker").parts)
        outside[path] = {
            name
            for name in imported(tree_of(path))
            if name.split(".")[0] == "sdbench" or len(name) - len(name.lstrip(".")) > depth
        }
    assert offenders(outside) == {}


def test_worker_needs_the_standard_library_and_the_stack_alone() -> None:
    allowed = set(sys.stdlib_module_names) | WORKER_STACK
    others = {path: packages(imported(tree_of(path))) - allowed for path in WORKER_FILES}
    assert offenders(others) == {}


@pytest.mark.parametrize("name", sorted(WORKER_START))
def test_worker_starts_on_the_standard_library_alone(name: str) -> None:
    found = set(imported_at_once(tree_of(PACKAGE / "worker" / f"{name}.py")))
    own = {word.lstrip(".").split(".")[0] for word in found if word.startswith(".")}
    modules = {path.stem for path in WORKER_FILES} | {"devices"}
    assert own & modules <= WORKER_START
    assert packages(iter(found)) <= set(sys.stdlib_module_names)


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    heavy = {path: packages(imported_at_once(tree_of(path))) & HEAVY for path in HOST_FILES}
    assert offenders(heavy) == {}


def test_parent_never_imports_the_stack_it_measures() -> None:
    measured = {path: packages(imported(tree_of(path))) & MEASURED for path in HOST_FILES}
    assert offenders(measured) == {}


def test_only_stats_knows_scipy() -> None:
    knowing = {part_of(path) for path in FILES if "scipy" in packages(imported(tree_of(path)))}
    assert knowing == {"stats"}


def test_no_module_is_called_for_anything_and_nothing() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert [path for path in FILES if vague & set(path.with_suffix("").parts)] == []


def test_any_python_can_be_examined() -> None:
    """The child that lists packages has to be read by the Pythons of older environments."""
    for name in ("__init__", "__main__", "channel", "examine", "operators", "watchdog"):
        source = (PACKAGE / "worker" / f"{name}.py").read_text(encoding="utf-8")
        ast.parse(source, name, feature_version=(3, 8))


def test_every_module_says_what_it_is_for() -> None:
    assert [path for path in FILES if not ast.get_docstring(tree_of(path))] == []


def test_rules_see_what_they_should() -> None:
    """Tried on a file that breaks them."""
    tree = ast.parse(
        "import numpy.linalg\n"
        "from sdbench.cli import run\n"
        "from ..config import Config\n"
        "if TYPE_CHECKING:\n    import pandas\n"
        "def function():\n    import torch\n"
    )
    assert packages(imported(tree)) == {"numpy", "sdbench", "pandas", "torch"}
    assert packages(imported_at_once(tree)) == {"numpy", "sdbench"}
    assert {"sdbench.cli.run", "..config", "..config.Config"} <= set(imported(tree))
