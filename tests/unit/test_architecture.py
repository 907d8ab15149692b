"""The shape of the package: which part may know which, and what may be imported where."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sdbench

PACKAGE = Path(sdbench.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# From the bottom up: a part imports from layers below its own, never from its own or above.
LAYERS: list[set[str]] = [
    {"errors", "schema"},
    {"config", "machine", "models", "quality", "stacks", "stats", "store"},
    {"plan", "estimate", "summary"},
    {"doctor", "fleet", "insight", "report", "runner"},
    {"cli"},
    {"__main__"},
]
LEVEL = {part: level for level, layer in enumerate(LAYERS) for part in layer}
# Heavy or of the stack being measured: imported in functions, where they are needed.
HEAVY = {
    *("torch", "diffusers", "transformers", "accelerate", "huggingface_hub", "safetensors"),
    *("numpy", "pandas", "scipy", "skimage", "matplotlib", "jinja2", "PIL"),
}
# What runs in a worker before its preloads, and so before torch.
WORKER_START = {"__init__", "__main__", "channel", "forkserver", "main", "watchdog"}
WORKER_STACK = {"torch", "diffusers", "transformers", "accelerate", "numpy", "PIL", "tokenizers"}


def part_of(path: Path) -> str:
    """The module or folder directly below the package that a file belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(tree: ast.AST) -> Iterator[str]:
    """Full names of what a file imports, wherever in it; relative imports begin with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            stem = "." * node.level + (node.module or "")
            yield stem
            joint = "" if stem.endswith(".") else "."
            yield from (f"{stem}{joint}{alias.name}" for alias in node.names)


def imported_at_once(tree: ast.Module) -> Iterator[str]:
    """What is imported as soon as the module is, so not in functions or for type checkers only."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield from imported(node)


def parts_imported(path: Path) -> set[str]:
    """The parts of sdbench that a file imports, its own aside."""
    parts = set()
    for name in imported(tree_of(path)):
        words = name.split(".")
        if words[0] == "sdbench" and len(words) > 1 and not words[1].startswith("__version"):
            parts.add(words[1])
    return parts - {part_of(path)}


def ids(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


HOST_FILES = [path for path in FILES if part_of(path) not in ("worker", "__init__")]
WORKER_FILES = [path for path in FILES if part_of(path) == "worker"]


def test_every_part_has_its_layer() -> None:
    assert {part_of(path) for path in HOST_FILES} <= set(LEVEL)


@pytest.mark.parametrize("path", HOST_FILES, ids=ids)
def test_dependencies_point_one_way(path: Path) -> None:
    own = LEVEL[part_of(path)]
    known = {part for part in parts_imported(path) if part in LEVEL}
    above = sorted(part for part in known if LEVEL[part] >= own)
    assert above == [], f"{ids(path)} may not know {', '.join(above)}"


def test_only_the_runner_knows_where_the_worker_is() -> None:
    knowing = {part_of(path) for path in HOST_FILES if "worker" in parts_imported(path)}
    assert knowing <= {"runner"}


@pytest.mark.parametrize("path", WORKER_FILES, ids=ids)
def test_worker_knows_nothing_of_sdbench_but_itself(path: Path) -> None:
    depth = len(path.relative_to(PACKAGE / "worker").parts)
    for name in imported(tree_of(path)):
        assert not name.split(".")[0] == "sdbench", f"{ids(path)} imports {name}"
        dots = len(name) - len(name.lstrip("."))
        assert dots <= depth, f"{ids(path)} imports {name}, outside the worker"


@pytest.mark.parametrize("path", WORKER_FILES, ids=ids)
def test_worker_needs_the_standard_library_and_the_stack_alone(path: Path) -> None:
    allowed = set(sys.stdlib_module_names) | WORKER_STACK
    found = {name.split(".")[0] for name in imported(tree_of(path)) if not name.startswith(".")}
    assert found - allowed <= {"sdbench_worker"}


@pytest.mark.parametrize("name", sorted(WORKER_START))
def test_worker_starts_on_the_standard_library_alone(name: str) -> None:
    found = set(imported_at_once(tree_of(PACKAGE / "worker" / f"{name}.py")))
    own = {word.lstrip(".").split(".")[0] for word in found if word.startswith(".")} - {""}
    others = {word.split(".")[0] for word in found if not word.startswith(".")}
    modules = {path.stem for path in WORKER_FILES} | {"devices"}
    assert own & modules <= WORKER_START
    assert others <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", HOST_FILES, ids=ids)
def test_nothing_heavy_is_imported_before_it_is_needed(path: Path) -> None:
    found = {name.split(".")[0] for name in imported_at_once(tree_of(path))}
    assert found & HEAVY == set()


@pytest.mark.parametrize("path", HOST_FILES, ids=ids)
def test_host_never_imports_the_stack_it_measures(path: Path) -> None:
    found = {name.split(".")[0] for name in imported(tree_of(path))}
    assert found & {"torch", "diffusers", "transformers", "accelerate"} == set()


def test_only_stats_knows_scipy() -> None:
    knowing = {
        part_of(path)
        for path in HOST_FILES
        if any(name.split(".")[0] == "scipy" for name in imported(tree_of(path)))
    }
    assert knowing <= {"stats"}


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_source_is_python_3_10(path: Path) -> None:
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 10))


def test_no_module_is_called_for_anything_and_nothing() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert not [ids(path) for path in FILES if vague & set(path.with_suffix("").parts)]


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(tree_of(path))
