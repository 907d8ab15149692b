"""The same search in several environments: on which releases of torch each operator is wrong.

Up to three environments are all searched. Of more, the oldest and the newest are searched first;
where they differ, the releases at which an operator changes are found by bisection. Where they
agree there is nothing to bisect, and all are searched: what was not searched is never called right.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from sdbench.errors import MachineError
from sdbench.knowledge.version_ranges import release
from sdbench.localise.localisation import Localisation

Answer = Literal["wrong", "right", "unknown", "not-tried"]
_ALL_UP_TO = 3
_WORDS: dict[Answer, str] = {"wrong": "wrong on", "right": "right on", "unknown": "unknown on"}


@dataclass(frozen=True)
class Environment:
    """Where to search: a name as ``--stack`` takes it, and the torch that is installed there."""

    name: str
    torch: str


@dataclass(frozen=True)
class Searched:
    """What came of an environment: a result, or a reason; neither where it was not tried."""

    environment: Environment
    result: Localisation | None = None
    reason: str | None = None

    @property
    def tried(self) -> bool:
        """Whether it was searched, with or without a result."""
        return self.result is not None or self.reason is not None

    @property
    def wrong(self) -> list[str]:
        """Operators that are wrong there, worst first."""
        found = [] if self.result is None else self.result.beyond
        return [*dict.fromkeys(group.worst.call.op for group in found)]

    def answer(self, op: str) -> Answer:
        """What was found about an operator.

        Right is only what was compared in a search that came to its end.
        """
        if not self.tried:
            return "not-tried"
        if self.result is None:
            return "unknown"
        calls = [entry for entry in self.result.judged if entry.call.op == op]
        if any(entry.beyond for entry in calls):
            return "wrong"
        explained = not any(entry.rounding == "beyond" for entry in calls)
        return "right" if calls and explained and self.result.complete else "unknown"


def oldest_first(environments: Sequence[Environment]) -> list[Environment]:
    """By release of torch; those whose release is not known come last."""

    def rank(environment: Environment) -> tuple[bool, object]:
        version = release(environment.torch)
        return version is None, environment.torch if version is None else version

    return sorted(environments, key=rank)


def search_across(
    environments: Sequence[Environment], look: Callable[[Environment], Localisation]
) -> list[Searched]:
    """Search environments, oldest torch first; an environment that fails is unknown.

    Raises:
        MachineError: none of those that were tried could be searched.
    """
    searched = [Searched(environment) for environment in oldest_first(environments)]

    def search(index: int) -> None:
        environment = searched[index].environment
        if searched[index].tried:
            return
        try:
            searched[index] = Searched(environment, look(environment))
        except MachineError as error:
            searched[index] = Searched(environment, reason=str(error))

    last = len(searched) - 1
    search(0)
    search(last)
    if last < _ALL_UP_TO or not _differ(searched[0], searched[last]):
        for index in range(1, last):
            search(index)
    else:
        _bisect(searched, search, 0, last)
    if all(one.result is None for one in searched):
        reasons = (f"{one.environment.name}: {one.reason}" for one in searched if one.tried)
        raise MachineError(f"--across: no environment could be searched: {'; '.join(reasons)}")
    return searched


def _bisect(searched: list[Searched], search: Callable[[int], None], first: int, last: int) -> None:
    """Search between two environments that differ, until those that differ are neighbours."""
    if last - first < 2 or not _differ(searched[first], searched[last]):
        return
    middle = (first + last) // 2
    search(middle)
    _bisect(searched, search, first, middle)
    _bisect(searched, search, middle, last)


def _differ(one: Searched, other: Searched) -> bool:
    return any(one.answer(op) != other.answer(op) for op in {*one.wrong, *other.wrong}) or (
        (one.result is None) != (other.result is None)
    )


def operators_of(searched: Sequence[Searched]) -> list[str]:
    """The operators that are wrong in any environment."""
    return [*dict.fromkeys(op for one in searched for op in one.wrong)]


def label_of(environment: Environment, searched: Sequence[Searched]) -> str:
    """The release of torch, with the environment's name where several have the same release."""
    alike = sum(one.environment.torch == environment.torch for one in searched)
    return environment.torch if alike == 1 else f"{environment.torch} ({environment.name})"


def operator_sentence(op: str, searched: Sequence[Searched]) -> str:
    """``baddbmm: wrong on 2.5.1; right from 2.13.0; not tried: 2.8.0``."""
    tried = [one for one in searched if one.tried]
    rows: list[tuple[Answer, list[str]]] = []
    for one in tried:
        answer = one.answer(op)
        if not rows or rows[-1][0] != answer:
            rows.append((answer, []))
        rows[-1][1].append(label_of(one.environment, searched))
    parts = [f"{_WORDS[answer]} {', '.join(labels)}" for answer, labels in rows]
    if len(rows) > 1 and rows[-1][0] == "right" and rows[-2][0] == "wrong":
        parts[-1] = f"right from {rows[-1][1][0]}"
    left_out = [label_of(one.environment, searched) for one in searched if not one.tried]
    parts += [f"not tried: {', '.join(left_out)}"] if left_out else []
    return f"{op.rpartition('::')[2]}: {'; '.join(parts)}"
