"""A change to one place of a source file, as ``mutants.py`` and ``fuzz_holes.py`` plant them."""

import ast
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Change:
    """Bytes of a file replaced by others."""

    kind: str
    path: str
    line: int
    begin: int
    end: int
    original: str
    replacement: str

    def __str__(self) -> str:
        original = " ".join(self.original.split())
        return f"{self.path}:{self.line} {self.kind}: {original} → {self.replacement}"

    def applied(self, source: bytes) -> bytes:
        """The file with the change in it."""
        assert source[self.begin : self.end].decode() == self.original
        return source[: self.begin] + self.replacement.encode() + source[self.end :]


def places_in(source: bytes) -> Callable[[ast.AST], tuple[int, int]]:
    """A function that says which bytes of the file a node is."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def place(node: ast.AST) -> tuple[int, int]:
        begin = starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
        end = starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]
        return begin, end

    return place
