"""Plants seeded faults in the code that decides, and counts how many the tests catch.

    python tools/mutants.py --coverage FILE [--times FILE] [-o FILE] [--seed 1] [--jobs 2]

A mutant is one small change in one place: a comparison turned round, a threshold doubled, a whole
number one too large, a branch that is never taken. Places are drawn by a seed from the modules of
:data:`GROUPS`, equally many from each group, the kinds in turn; none is chosen by hand.

Each mutant is planted in a copy of the checkout, and only the tests that run its line are run on
it, as ``make coverage`` recorded them: first the unit tests, then the quickest few of the others. A
constant outside functions is covered by the tests that run the statements that read its name. The
copies share this environment: nothing is installed, and the checkout itself is never touched.

mutmut and cosmic-ray do not fit: neither follows a line into a worker process, and neither selects
the tests of a constant in a module of thresholds.
"""

import argparse
import ast
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue

from planted import Change, places_in

ROOT = Path(__file__).resolve().parent.parent

GROUPS: dict[str, tuple[str, ...]] = {
    "statistics": ("stats/*.py",),
    "correctness": (
        "correctness/parity.py",
        "correctness/stage_differences.py",
        "correctness/verdict_words.py",
        "correctness/content.py",
        "correctness/equality.py",
        "correctness/floors.py",
        "correctness/measures.py",
        "correctness/picture_faults.py",
        "correctness/scene.py",
        "correctness/thresholds.py",
    ),
    "comparison": ("analysis/*.py", "comparison/*.py"),
    "diagnosis": (
        "diagnosis/rules/*.py",
        "diagnosis/claims.py",
        "diagnosis/claim_tests.py",
        "diagnosis/diagnose.py",
        "diagnosis/evidence.py",
        "diagnosis/recommendation.py",
    ),
    "run loop": (
        "runner/until_decided.py",
        "runner/gates.py",
        "process/guard.py",
        "runner/replicate.py",
        "runner/loop.py",
        "runner/session.py",
    ),
    "resume": ("runner/resume.py", "runs/folder.py"),
}
_FOLDERS = ("tests/integration", "tests/browser", "tests/unit")
KINDS = ("comparison", "threshold", "off-by-one", "branch")
_TURNED = {
    ast.Lt: (r"<", ">="),
    ast.LtE: (r"<=", ">"),
    ast.Gt: (r">", "<="),
    ast.GtE: (r">=", "<"),
    ast.Eq: (r"==", "!="),
    ast.NotEq: (r"!=", "=="),
    ast.Is: (r"is", "is not"),
    ast.IsNot: (r"is\s+not", "is"),
    ast.In: (r"in", "not in"),
    ast.NotIn: (r"not\s+in", "in"),
}
_SLOW_TESTS = 3
"""How many tests that start processes are tried on what all unit tests let pass."""
_LIMIT_S = 400.0


@dataclass(frozen=True, kw_only=True)
class Mutant(Change):
    """One change, and which tests may catch it."""

    group: str
    names: tuple[str, ...] = ()
    """Of a constant outside functions: the names it is read by."""
    lines: tuple[int, int] = (0, 0)
    """First and last line of the statement it stands in."""


def draw(number: int, seed: int) -> list[Mutant]:
    """Mutants by seed: groups equally often, the kinds in turn."""
    generator = random.Random(seed)
    drawn: list[Mutant] = []
    pools: dict[tuple[str, str], list[Mutant]] = defaultdict(list)
    for group, patterns in GROUPS.items():
        for path in sorted({p for pattern in patterns for p in (ROOT / "sdbench").glob(pattern)}):
            for mutant in sites(group, path):
                pools[group, mutant.kind].append(mutant)
    for pool in pools.values():
        generator.shuffle(pool)
    turn = 0
    while len(drawn) < number:
        group = list(GROUPS)[turn % len(GROUPS)]
        kind = KINDS[(turn // len(GROUPS)) % len(KINDS)]
        if pools[group, kind]:
            drawn.append(pools[group, kind].pop())
        turn += 1
    return drawn


def sites(group: str, path: Path) -> Iterator[Mutant]:
    """Every place of a file that can be changed, in the order of the file."""
    source = path.read_bytes()
    tree, place = ast.parse(source), places_in(source)

    def mutant(
        kind: str, begin: int, end: int, new: str, statement: ast.stmt, names: tuple[str, ...]
    ) -> Mutant:
        return Mutant(
            group=group,
            kind=kind,
            path=str(path.relative_to(ROOT)),
            line=source[:begin].count(b"\n") + 1,
            begin=begin,
            end=end,
            original=source[begin:end].decode(),
            replacement=new,
            names=names,
            lines=(statement.lineno, _header_end(statement)),
        )

    for node, statement, names, parent in _walk(tree):
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            pattern, turned = _TURNED[type(node.ops[0])]
            between = (place(node.left)[1], place(node.comparators[0])[0])
            found = re.search(rb"\s*(" + pattern.encode() + rb")\s*", source[slice(*between)])
            if found is not None:
                begin, end = (between[0] + at for at in found.span(1))
                yield mutant("comparison", begin, end, turned, statement, names)
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
            begin, end = place(node)
            text = source[begin:end].decode()
            decides = bool(names) or isinstance(parent, ast.Compare)
            if decides and node.value != 0:
                yield mutant("threshold", begin, end, f"(2 * {text})", statement, names)
            if type(node.value) is int and not names:
                yield mutant("off-by-one", begin, end, f"({text} + 1)", statement, names)
        elif isinstance(node, ast.If) and not names:
            yield mutant("branch", *place(node.test), "False", statement, names)


def _walk(
    tree: ast.Module,
) -> Iterator[tuple[ast.AST, ast.stmt, tuple[str, ...], ast.AST]]:
    """Each node with its statement, the constant's names if outside functions, and its parent."""

    def walk(
        node: ast.AST, statement: ast.stmt | None, names: tuple[str, ...], inside: bool
    ) -> Iterator[tuple[ast.AST, ast.stmt, tuple[str, ...], ast.AST]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.JoinedStr) or child is getattr(node, "annotation", None):
                continue  # positions in f-strings are wrong up to Python 3.11
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                for part in child.body:
                    yield from walk_statement(part, (), True)
                continue
            if isinstance(child, ast.stmt):
                yield from walk_statement(child, names, inside)
                continue
            if statement is not None and (inside or names):
                yield child, statement, names, node
            yield from walk(child, statement, names, inside)

    def walk_statement(
        node: ast.stmt, names: tuple[str, ...], inside: bool
    ) -> Iterator[tuple[ast.AST, ast.stmt, tuple[str, ...], ast.AST]]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for part in node.body:
                yield from walk_statement(part, (), True)
            return
        if not inside and isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = tuple(t.id for t in targets if isinstance(t, ast.Name))
        if inside:
            yield node, node, (), node
        yield from walk(node, node, names, inside)

    for node in tree.body:
        yield from walk_statement(node, (), False)


def _header_end(statement: ast.stmt) -> int:
    """The last line of a statement without its block."""
    body = getattr(statement, "body", None)
    last = statement.end_lineno or statement.lineno
    return max(statement.lineno, body[0].lineno - 1) if isinstance(body, list) and body else last


class Tests:
    """Which tests run a line, and how long they take."""

    def __init__(self, coverage_file: Path, times_file: Path | None) -> None:
        import coverage

        self._data = coverage.CoverageData(str(coverage_file))
        self._data.read()
        self._files = {
            "sdbench/" + name.rpartition("/sdbench/")[2]: name
            for name in self._data.measured_files()
        }
        self._lines: dict[str, dict[int, list[str]]] = {}
        self._there = _collected()
        times = json.loads(times_file.read_text()) if times_file else {}
        self._times = {test: sum(phases.values()) for test, phases in times.items()}

    def of(self, mutant: Mutant) -> tuple[list[str], list[str]]:
        """Unit tests, and the quickest others, that run what the mutant changes."""
        found: set[str] = set()
        for path, first, last in (
            _readers(mutant) if mutant.names else [(mutant.path, *mutant.lines)]
        ):
            by_line = self._contexts(path)
            for line in range(first, last + 1):
                found.update(by_line.get(line, ()))
        tests = {_test_of(context) for context in found} & self._there
        unit = sorted(test for test in tests if test.startswith("tests/unit/"))
        others = sorted(tests - set(unit), key=lambda test: (self._times.get(test, 1e9), test))
        return unit, others[:_SLOW_TESTS]

    def _contexts(self, path: str) -> dict[int, list[str]]:
        if path not in self._lines:
            name = self._files.get(path)
            self._lines[path] = {} if name is None else self._data.contexts_by_lineno(name)
        return self._lines[path]


def _collected() -> set[str]:
    """The tests that there are: to be asked for another one ends pytest, as a catch does."""
    done = subprocess.run(
        [*(sys.executable, "-m", "pytest", "--collect-only", "-q", "--no-header"), *_FOLDERS],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {line for line in done.stdout.splitlines() if "::" in line}


def _test_of(context: str) -> str:
    """The test of a context: pytest-cov adds ``|run``, a child process has ``(call)``."""
    return re.sub(r"(\|\w+| \(\w+\))$", "", context)


def _readers(mutant: Mutant) -> Iterator[tuple[str, int, int]]:
    """The statements that read the constant's name, anywhere in the package."""
    names = set(mutant.names)
    for path in sorted((ROOT / "sdbench").rglob("*.py")):
        text = path.read_text()
        if not any(name in text for name in names):
            continue
        relative = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.stmt) or isinstance(node, ast.ClassDef | ast.FunctionDef):
                continue
            header = [n for n in ast.walk(node) if getattr(n, "lineno", 0) <= _header_end(node)]
            if any(getattr(n, "id", getattr(n, "attr", None)) in names for n in header):
                yield relative, node.lineno, _header_end(node)


class Copies:
    """Copies of the checkout, each with an interpreter that finds that copy's sdbench."""

    def __init__(self, folder: Path, number: int) -> None:
        self._free: SimpleQueue[Path] = SimpleQueue()
        listed = subprocess.run(
            ["git", "ls-files", "-z", "-co", "--exclude-standard"],
            cwd=ROOT, capture_output=True, check=True,
        ).stdout.decode()  # fmt: skip
        for at in range(number):
            copy = folder / f"copy-{at}" / "checkout"
            for name in filter(None, listed.split("\0")):
                if (ROOT / name).is_file():
                    (copy / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(ROOT / name, copy / name)
            if (ROOT.parent / "shared").is_dir():
                (copy.parent / "shared").symlink_to(ROOT.parent / "shared")
            _interpreter(copy)
            self._free.put(copy)

    def take(self) -> Path:
        """A copy nobody works in."""
        return self._free.get()

    def give(self, copy: Path) -> None:
        """Put it back."""
        self._free.put(copy)


def _interpreter(copy: Path) -> None:
    """An environment that sees the copy first and this environment's packages after it."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(copy / ".venv")], check=True)
    (site,) = (copy / ".venv" / "lib").glob("python*/site-packages")
    packages = [entry for entry in sys.path if entry.endswith("site-packages")]
    (site / "copy.pth").write_text("\n".join([str(copy), *packages]) + "\n")
    for path in packages:
        hook = Path(path) / "a1_coverage.pth"
        if hook.exists():
            shutil.copy2(hook, site)
    for program in ("ruff", "uv", "mypy"):
        real = Path(sys.executable).parent / program
        if real.exists():
            (copy / ".venv" / "bin" / program).symlink_to(real)


@dataclass
class Result:
    """What the tests made of a mutant."""

    mutant: Mutant
    caught_by: str | None
    tests: int
    seconds: float


def try_mutant(mutant: Mutant, tests: Tests, copies: Copies) -> Result:
    """Plant it in a copy, run its tests, take it out again."""
    unit, slow = tests.of(mutant)
    copy = copies.take()
    began = time.monotonic()
    file = copy / mutant.path
    source = file.read_bytes()
    file.write_bytes(mutant.applied(source))
    try:
        caught = _run(copy, unit) or _run(copy, slow)
    finally:
        file.write_bytes(source)
        copies.give(copy)
    return Result(mutant, caught, len(unit) + len(slow), time.monotonic() - began)


def _run(copy: Path, tests: list[str]) -> str | None:
    """The test that fails first; None if none does."""
    if not tests:
        return None
    listed = copy.parent / "tests.txt"
    listed.write_text("\n".join(tests) + "\n")
    try:
        done = subprocess.run(
            [
                *(str(copy / ".venv" / "bin" / "python"), "-m", "pytest", "-x", "-q"),
                *("--no-header", "--tb=no", "-p", "no:cacheprovider", f"@{listed}"),
            ],
            cwd=copy,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "no end"
    if done.returncode == 0:
        return None
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return failed.group(1) if failed else f"exit code {done.returncode}: {done.stdout[-200:]}"


def main() -> None:
    """Draw, try, print a table and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--coverage", type=Path, required=True, help="what `make coverage` recorded"
    )
    parser.add_argument("--times", type=Path, help="what SDBENCH_TEST_TIMES kept")
    parser.add_argument("-o", "--output", type=Path, help="results as JSON")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--number", type=int, default=80)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--list", action="store_true", help="print the mutants and their tests only"
    )
    options = parser.parse_args()
    mutants = draw(options.number, options.seed)
    tests = Tests(options.coverage, options.times)
    if options.list:
        for mutant in mutants:
            unit, slow = tests.of(mutant)
            print(f"{mutant.group:12} {mutant} [{len(unit)} unit, {len(slow)} others]")
        return
    lock = threading.Lock()
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        copies = Copies(Path(folder), options.jobs)

        def tried(mutant: Mutant) -> None:
            result = try_mutant(mutant, tests, copies)
            with lock:
                results.append(result)
                word = f"caught by {result.caught_by}" if result.caught_by else "SURVIVED"
                print(
                    f"{len(results)}/{len(mutants)} {result.seconds:.0f} s {mutant}: {word}",
                    flush=True,
                )

        list(pool.map(tried, mutants))
    results.sort(key=lambda result: mutants.index(result.mutant))
    if options.output:
        document = [
            asdict(r.mutant) | {"caught_by": r.caught_by, "tests": r.tests, "seconds": r.seconds}
            for r in results
        ]
        options.output.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    for group in GROUPS:
        mine = [r for r in results if r.mutant.group == group]
        print(f"{group:12} {sum(r.caught_by is not None for r in mine)} of {len(mine)}")
    print(f"{'all':12} {sum(r.caught_by is not None for r in results)} of {len(results)}")


if __name__ == "__main__":
    main()
