"""Plants ten holes in the code that reads, by a seed, and counts those that the fuzzer finds.

    python tools/fuzz_holes.py [--seed 1] [--number 10] [--inputs 100] [--suite] [-o FILE]

A hole is one defence left out in one place of :data:`fuzz_readers.READERS` or ``WRITERS``: an
``except`` that no longer catches, a check that is never made, a limit that is none, a link that is
followed, a digest that is not compared, a range that holds for nothing, others' text written as it
is. Places are drawn by the seed, the kinds in turn; none is chosen by hand, so some make no
difference to anybody (an ``except`` of what is never raised, a second check behind the first).

Each is planted while its module is loaded, in a process of its own; the checkout stays as it is.
The fuzzer makes its single changes, then draws a fixed number of inputs, all of kinds that reach
the file (``READ_BY``). ``--suite`` runs the suite's test instead. ``--unplanted`` tries that
nothing is found without a hole.
"""

import argparse
import ast
import json
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.abc import SourceLoader
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "fuzz"), str(ROOT / "tools")]

from fuzz_readers import PACKAGE, READ_BY, READERS, WRITERS, WRITING  # noqa: E402
from planted import Change, places_in  # noqa: E402

KINDS = ("except", "check", "limit", "link", "digest", "range", "escape")
_LIMIT = re.compile(r"_?(MOST|LARGEST)_(\w+_)?(BYTES|PIXELS|RECORDS)")
_NOT_SEEN = {
    "_MOST_AT_HAND_BYTES",  # of a cache: without it nothing else is read, and nothing refused
    "_MOST_RECORDS_BYTES",  # 16 GiB of whole lines: no test can write as much in its time
}
"""Limits whose loss nothing below the memory and time of a test can show."""
_NO_DEFENCE = {
    "machine/recording.py": ("_penalty",),
    "report/view/timelines.py": ("_left_out",),
    "records/": ("latents_are_right",),
}
"""Functions that return None for "no such thing": they choose or count, and refuse nothing."""
_VALUE_ERRORS = ("msgspec.MsgspecError", "msgspec.DecodeError")
_ESCAPES = {
    "printable",
    "plain",
    "code_span",
    "escape",
    "harmless",
    "literal",
    "comment",
    "words",
    "name",
}
_LIMIT_S = 1200.0


def draw(number: int, seed: int) -> list[Change]:
    """Holes by seed, the kinds in turn."""
    generator = random.Random(seed)
    pools: dict[str, list[Change]] = {kind: [] for kind in KINDS}
    for name in sorted({*READERS, *WRITERS}):
        for hole in sites(name):
            pools[hole.kind].append(hole)
    for pool in pools.values():
        generator.shuffle(pool)
    drawn: list[Change] = []
    turn = 0
    while len(drawn) < number and any(pools.values()):
        kind = KINDS[turn % len(KINDS)]
        if pools[kind]:
            drawn.append(pools[kind].pop())
        turn += 1
    return drawn


def sites(name: str) -> Iterator[Change]:
    """Every place of a file where a hole can be."""
    source = (PACKAGE / name).read_bytes()
    place = places_in(source)

    def hole(kind: str, node: ast.AST, new: str) -> Change:
        begin, end = place(node)
        return Change(
            kind=kind,
            path=f"sdbench/{name}",
            line=source[:begin].count(b"\n") + 1,
            begin=begin,
            end=end,
            original=source[begin:end].decode(),
            replacement=new,
        )

    def text(node: ast.AST) -> str:
        return ast.get_source_segment(source.decode(), node) or ""

    left_out = WRITING.get(name, ()) + _NO_DEFENCE.get(name, ())
    for node in _walk(ast.parse(source), left_out):
        if name in READERS:
            yield from _in_a_reader(node, hole, text)
        if name in WRITERS and isinstance(node, ast.Call) and len(node.args) == 1:
            called = getattr(node.func, "id", getattr(node.func, "attr", None))
            if called in _ESCAPES:
                yield hole("escape", node, f"({text(node.args[0])})")


def _in_a_reader(
    node: ast.AST, hole: Callable[[str, ast.AST, str], Change], text: Callable[[ast.AST], str]
) -> Iterator[Change]:
    if isinstance(node, ast.ExceptHandler) and node.type is not None:
        kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        for left_out in kinds:
            rest = [text(kind) for kind in kinds if kind is not left_out]
            if text(left_out) in _VALUE_ERRORS and "ValueError" in rest:
                continue  # since msgspec 0.19 these are ValueErrors, and we work with 0.18, too
            yield hole("except", node.type, f"({', '.join(rest)}{',' if rest else ''})")
    elif isinstance(node, ast.If):
        if _refuses(node.body[-1]):
            yield hole("check", node.test, "False")
    elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        limit = node.targets[0].id
        if _LIMIT.match(limit) and limit not in _NOT_SEEN:
            yield hole("limit", node.value, "(1 << 62)")
    elif isinstance(node, ast.Attribute) and node.attr == "O_NOFOLLOW":
        yield hole("link", node, "0")
    elif isinstance(node, ast.Call):
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if called == "_holds":
            yield hole("digest", node, "True")
        elif called == "Meta":
            yield hole("range", node, "msgspec.Meta()")


def _refuses(last: ast.stmt) -> bool:
    """Whether a branch ends in an error, a fault that is reported, or nothing."""
    if isinstance(last, ast.Return):
        return isinstance(last.value, ast.Constant) and last.value.value is None
    yields = isinstance(last, ast.Expr) and isinstance(last.value, ast.Yield)
    return isinstance(last, ast.Raise) or yields


def _walk(tree: ast.AST, left_out: tuple[str, ...]) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.JoinedStr) or getattr(child, "name", None) in left_out:
            continue  # positions in f-strings are wrong up to Python 3.11
        yield child
        yield from _walk(child, left_out)


@dataclass
class Result:
    """What found a hole; None if nothing did. ``failed`` says why that could not be tried."""

    hole: Change | None
    found: str | None = None
    failed: str | None = None


class Planted(SourceLoader):
    """Loads one module of the package with the hole in it."""

    def __init__(self, hole: Change) -> None:
        self._hole = hole

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        """As an importer: of that one module."""
        module = self._hole.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        if name != module:
            return None
        return spec_from_file_location(name, ROOT / self._hole.path, loader=self)

    def get_filename(self, fullname: str) -> str:
        """The file as it is in the checkout."""
        return str(ROOT / self._hole.path)

    def get_data(self, path: str | bytes) -> bytes:
        """Its source with the hole; there is no other data, so nothing compiled is used or kept."""
        if path != self.get_filename(""):
            raise FileNotFoundError(path)
        return self._hole.applied(Path(path).read_bytes())


def try_hole(hole: Change | None, words: Sequence[str], *, suite: bool) -> Result:
    """Run the fuzzer, or the suite's test of it, in a process in which the hole is planted."""
    program = [sys.executable, str(Path(__file__)), "--planted", json.dumps(hole and asdict(hole))]
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [*program, *(["--suite"] if suite else ["--found", folder, *words])],
                cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=_LIMIT_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return Result(hole, failed=f"no end in {_LIMIT_S:.0f} s")
    if done.returncode == 0:
        return Result(hole)
    said = re.search(r"^(?:FOUND 1: |E .*Finding\(line=.*what=)(.*)$", done.stdout, re.MULTILINE)
    if said is None and "Timeout (" in done.stderr:  # the fuzzer's own watch over what hangs
        return Result(hole, "an input that does not end")
    if said is None:  # the fuzzer itself did not work: that is no finding
        return Result(hole, failed=(done.stdout + done.stderr)[-300:] or f"exit {done.returncode}")
    return Result(hole, said.group(1)[:300])


def run_planted(text: str, words: list[str]) -> int:
    """In a process of its own: plant the hole, then run what finds it."""
    planted = json.loads(text)
    if planted is not None:
        sys.meta_path.insert(0, Planted(Change(**planted)))
    if words == ["--suite"]:
        import pytest

        sys.path.insert(0, str(ROOT))
        options = ["-x", "-q", "--tb=short", "-p", "no:cacheprovider", "-p", "no:randomly"]
        return int(pytest.main([*options, str(ROOT / "tests/unit/test_fuzz.py")]))
    import fuzz

    sys.argv[1:] = words
    return fuzz.main()


def main() -> int:
    """Draw, try, print; returns 1 if the sound checkout is found faulty, or a hole not tried."""
    if sys.argv[1:2] == ["--planted"]:
        return run_planted(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--number", type=int, default=10)
    parser.add_argument("--inputs", type=int, default=100, help="drawn for each hole at most")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--every", type=int, default=3, help="one in so many single changes")
    parser.add_argument("--suite", action="store_true", help="try the suite's test, not the fuzzer")
    parser.add_argument("--unplanted", action="store_true", help="try first that nothing is found")
    parser.add_argument("--numbers", help="of the holes only these, such as 1,5")
    parser.add_argument("-o", "--output", type=Path, help="results as JSON")
    parser.add_argument("--list", action="store_true", help="print the holes only")
    options = parser.parse_args()
    holes: list[Change | None] = [*draw(options.number, options.seed)]
    if options.numbers:
        holes = [holes[int(number) - 1] for number in options.numbers.split(",")]
    if options.list:
        print(*holes, sep="\n")
        return 0
    words = ["--inputs", str(options.inputs), "--seed", str(options.seed)]
    words += ["--every", str(options.every), "--stop-at-first"]

    def tried(hole: Change | None) -> Result:
        kinds = READ_BY.get(hole.path.removeprefix("sdbench/"), ("run",)) if hole else ()
        only = [word for kind in kinds for word in ("--only", kind)]
        result = try_hole(hole, [*words, *only], suite=options.suite)
        said = f"found: {result.found}" if result.found else "NOT FOUND"
        said = f"NOT TRIED: {result.failed}" if result.failed else said
        print(f"{hole or 'without a hole'}: {said}", flush=True)
        return result

    with ThreadPoolExecutor(options.jobs) as pool:
        sound = [*pool.map(tried, [None] if options.unplanted else [])]
        results = [*pool.map(tried, holes)]
    if options.output:
        document = [asdict(result) for result in results]
        options.output.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    print(f"{sum(result.found is not None for result in results)} of {len(results)} found")
    failed = any(result.failed for result in [*sound, *results])
    return 1 if failed or any(result.found for result in sound) else 0


if __name__ == "__main__":
    sys.exit(main())
