"""What is changed and how changes are known: the register of all ways to change an input."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from fuzz_trees import Odd, Tree

Files = dict[str, bytes | Odd]


@dataclass(frozen=True, repr=False)
class Subject:
    """Something sound that somebody may give us, and what its mutations may put there instead.

    ``others`` are files of other sound subjects by name, to be put in place of its own.
    """

    kind: str
    name: str
    tree: Tree
    others: Mapping[str, bytes] = field(default_factory=dict)
    digests: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}>"


@dataclass(frozen=True)
class Mutation:
    """A way to change a subject, and the number that says where and into what."""

    way: str
    seed: int


def mutated(subject: Subject, mutations: list[Mutation]) -> Files:
    """The subject's files after these changes. Pure: the same numbers give the same files."""
    files = dict(subject.tree)
    for mutation in mutations:
        if files:
            _WAYS[mutation.way](files, Random(f"{mutation.way}/{mutation.seed}"), subject)
    return files


_WAYS: dict[str, Callable[[Files, Random, Subject], None]] = {}
_FOR: dict[str, list[str]] = {}
"""Ways by the kind of subject that they change; the more often one is there, the likelier."""


def ways_for(kind: str) -> list[str]:
    """The ways to change a subject of that kind."""
    return _FOR[kind]


_ALL = (
    *("run", "config", "log", "picture", "recording", "model", "expectations", "bundle"),
    *("site", "fleet"),
)


def way(*kinds: str, times: int = 1) -> Callable[[Any], Any]:
    def register(function: Callable[[Files, Random, Subject], None]) -> Any:
        name = function.__name__.strip("_")
        _WAYS[name] = function
        for kind in kinds or _ALL:
            _FOR.setdefault(kind, []).extend([name] * times)
        return function

    return register
