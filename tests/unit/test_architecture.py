"""The shape of the package: which part may know which, and what may be imported where."""

import ast
import functools
import graphlib
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import sdbench

PACKAGE = Path(sdbench.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# What each room (a folder or file of the package) imports, exactly; from the bottom up. The worker
# imports nothing of sdbench, see below.
IMPORTS: dict[str, str] = {
    "errors": "",
    "files": "",
    "records": "",
    "stats": "",
    "words": "",
    "correctness": "files records words",
    "knowledge": "errors files models records words",
    "machine": "errors files records",
    "models": "errors files records words",
    "plan": "errors files models records stats words",
    "quoting": "errors words",
    "explain": "correctness errors knowledge records",
    "process": "errors knowledge machine models plan records words worker",
    "runs": "errors files machine plan records words",
    "analysis": "errors files machine records runs stats words",
    "privacy": "errors machine models plan records runs",
    "stacks": "errors files plan process records words",
    "comparison": "analysis errors files knowledge machine records runs stats words",
    "diagnosis": "analysis correctness knowledge machine models quoting records runs stats words",
    "doctor": ("errors files knowledge machine models plan process records stacks words"),
    "localise": ("errors files knowledge models plan privacy process quoting records stacks words"),
    "repro": "analysis correctness errors knowledge models quoting records words",
    "runner": (
        "analysis correctness errors files knowledge machine models plan privacy process "
        "records runs stacks stats words"
    ),
    "selftest": "correctness files machine models plan process records runner stats",
    "fleet": (
        "errors files machine plan privacy process records runner runs selftest stacks words"
    ),
    "report": (
        "analysis comparison correctness diagnosis errors explain fleet knowledge "
        "localise models plan process quoting records runner runs stats words"
    ),
    "bundles": (
        "analysis correctness diagnosis errors files knowledge machine models plan privacy records "
        "report runs stats words"
    ),
    "submissions": "bundles errors files records words",
    "board": "analysis bundles diagnosis errors files knowledge records report runs words",
    "devices": "errors fleet machine plan privacy process records runner runs stats words",
    "cli": (
        "analysis board bundles comparison correctness devices diagnosis doctor errors explain "
        "files fleet knowledge localise machine models plan privacy process records report repro "
        "runner runs selftest stacks stats submissions words"
    ),
    "__main__": "cli",
}
# The stack being measured: only the worker ever imports it.
MEASURED = {"torch", "diffusers", "transformers", "accelerate"}
# Slow to import: in functions only, where they are needed.
HEAVY = MEASURED | {
    *("asyncssh", "cryptography", "dask", "distributed"),
    *("huggingface_hub", "safetensors", "numpy", "pandas", "scipy"),
    *("skimage", "matplotlib", "jinja2", "PIL", "pyarrow"),
}
WORKER_STACK = MEASURED | {"numpy", "peft", "PIL", "safetensors", "tokenizers"}
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


def imported_at_once(tree: ast.Module | ast.ClassDef) -> Iterator[str]:
    """What is imported as soon as the module is, so not in functions or for type checkers only."""
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.ClassDef):
            yield from imported_at_once(node)
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
    return parts - {part_of(path), "__version__", "load"}


def offenders(found: dict[Path, set[str]]) -> dict[str, set[str]]:
    """The files in which something was found, by name."""
    return {path.relative_to(PACKAGE).as_posix(): what for path, what in found.items() if what}


def test_rooms_import_exactly_what_the_table_says() -> None:
    found: dict[str, set[str]] = {}
    for path in HOST_FILES:
        found.setdefault(part_of(path), set()).update(parts_imported(path))
    assert found == {room: set(words.split()) for room, words in IMPORTS.items()}


def test_no_circle_among_rooms() -> None:
    graphlib.TopologicalSorter({r: words.split() for r, words in IMPORTS.items()}).prepare()


def modules_imported(path: Path, names: dict[str, Path]) -> set[str]:
    """The modules of sdbench that a file imports, lazily or for type checkers as well."""
    package = ".".join(path.relative_to(PACKAGE.parent).parts[:-1])
    absolute = set()
    for name in imported(tree_of(path)):
        dots = len(name) - len(name.lstrip("."))
        if dots:
            base = ".".join(package.split(".")[: len(package.split(".")) - dots + 1])
            name = f"{base}.{name.lstrip('.')}"
        absolute.add(name)
    return {name for name in absolute if name in names and names[name] != path}


@functools.cache
def module_graph() -> dict[str, set[str]]:
    """Which module imports which. The package itself is left out: its ``load`` is lazy."""
    names: dict[str, Path] = {}
    for path in FILES:
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        names[".".join(parts).removesuffix(".__init__")] = path
    del names["sdbench"]
    graph = {name: modules_imported(path, names) for name, path in names.items()}
    # ``from package import module`` needs the module; the package is imported first in any case.
    return {
        name: {one for one in found if not any(other.startswith(f"{one}.") for other in found)}
        for name, found in graph.items()
    }


def test_no_circle_among_modules() -> None:
    graphlib.TopologicalSorter(module_graph()).prepare()


def test_rich_is_reached_from_the_terminal_alone() -> None:
    """A page, an export or a figure is made where no terminal library is imported."""
    graph = module_graph()
    uses_rich = {
        name
        for path in HOST_FILES
        if "rich" in packages(imported(tree_of(path)))
        for name in graph
        if path == PACKAGE.parent.joinpath(*name.split(".")).with_suffix(".py")
    }
    reached = {}
    for name in graph:
        seen, queue = set(), [name]
        while queue:
            one = queue.pop()
            if one not in seen:
                seen.add(one)
                queue.extend(graph[one])
        if seen & uses_rich:
            reached[name] = seen & uses_rich
    allowed = ("sdbench.cli", "sdbench.report.terminal", "sdbench.__main__")
    assert {name for name in reached if not name.startswith(allowed)} == set()


def test_no_module_name_three_times() -> None:
    count = Counter(path.stem for path in FILES if path.stem != "__init__")
    assert [name for name, times in count.items() if times > 2] == []


def test_sizes() -> None:
    """A file that one can hold in the head; few at the top of the package."""
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    limits = {path: 300 if part_of(path) == "cli" else 500 for path in FILES}
    assert [path for path in FILES if lines[path] > limits[path]] == []
    assert len([path for path in FILES if path.parent == PACKAGE]) <= 4


def test_only_one_room_knows_where_the_worker_is() -> None:
    knowing = {part_of(path) for path in HOST_FILES if "worker" in parts_imported(path)}
    assert knowing == {"process"}


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
    modules = {path.stem for path in WORKER_FILES} | {"devices", "pipelines"}
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
        "class Kind:\n    import scipy\n    def method(self):\n        import torch\n"
    )
    assert packages(imported(tree)) == {"numpy", "sdbench", "pandas", "torch", "scipy"}
    assert packages(imported_at_once(tree)) == {"numpy", "sdbench", "scipy"}
    assert {"sdbench.cli.run", "..config", "..config.Config"} <= set(imported(tree))
