"""All rows of a board as columns: hundreds of thousands of them are sorted and written in a second.

Texts are kept once, in ``words``; a column holds places in that list. What is not known is NaN.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdbench.board.rows import Row, Submission

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Column = NDArray[Any]

TEXTS = (
    *("case_id", "arm", "torch", "diffusers", "resolution", "dtype", "setting", "outcome"),
    *("peak_memory_source", "image", "why_not_ranked"),
)
"""Columns of words; ``why_not_ranked`` is None of a row that is ranked."""
INTEGERS = ("submission", "n", "place")
NUMBERS = ("seconds_per_image", "seconds_low", "seconds_high", "peak_memory_bytes")


@dataclass(frozen=True)
class Placed:
    """A row with its place among the ranked rows of the same work, 1 for the fastest.

    Equal times share a place. Of a row that is not ranked ``place`` is 0 and ``why`` a code.
    """

    row: Row
    place: int
    why: str | None


@dataclass(frozen=True)
class Table:
    """Rows as columns of equal length, by name: integers, words and numbers.

    ``submission`` holds places in ``submissions``.
    """

    submissions: list[Submission]
    words: dict[str, list[Any]]
    columns: "dict[str, Column]"

    def __len__(self) -> int:
        return len(self.columns["n"])

    def placed(self, at: "Column | None" = None) -> list[Placed]:
        """Some rows, in the order given; None: all."""
        columns = {
            name: (column if at is None else column[at]).tolist()
            for name, column in self.columns.items()
        }
        for name in TEXTS:
            words = self.words[name]
            columns[name] = [words[place] for place in columns[name]]
        runs = [self.submissions[number] for number in columns["submission"]]
        known = [None if value != value else value for value in columns["seconds_per_image"]]
        memory = [None if value != value else int(value) for value in columns["peak_memory_bytes"]]
        intervals = [
            None if low != low else (low, high)
            for low, high in zip(columns["seconds_low"], columns["seconds_high"], strict=True)
        ]
        given = ("case_id", "arm", "torch", "diffusers", "resolution", "dtype", "setting")
        texts = [columns[name] for name in (*given, "outcome", "peak_memory_source", "image")]
        figures = (
            *(runs, known, intervals, columns["n"], memory, columns["place"]),
            columns["why_not_ranked"],
        )
        return [
            Placed(
                Row(
                    submission=run,
                    case_id=case_id,
                    arm=arm,
                    torch=torch,
                    diffusers=diffusers,
                    resolution=resolution,
                    dtype=dtype,
                    setting=setting,
                    outcome=outcome,
                    peak_memory_source=source,
                    image=image,
                    seconds_per_image=seconds,
                    ci95=interval,
                    n=n,
                    peak_memory_bytes=peak,
                ),
                place,
                why,
            )
            for (run, seconds, interval, n, peak, place, why), (
                case_id,
                arm,
                torch,
                diffusers,
                resolution,
                dtype,
                setting,
                outcome,
                source,
                image,
            ) in zip(zip(*figures, strict=True), zip(*texts, strict=True), strict=True)
        ]

    def of_submissions(self, kept: "Iterable[bool]") -> "Table":
        """The rows of some submissions, one truth value for each."""
        import numpy as np

        wanted = np.fromiter(kept, bool, len(self.submissions))
        rows = wanted[self.columns["submission"]]
        numbers = np.cumsum(wanted) - 1
        columns = {name: column[rows] for name, column in self.columns.items()}
        columns["submission"] = numbers[columns["submission"]]
        runs = [run for run, one in zip(self.submissions, wanted, strict=True) if one]
        return Table(runs, self.words, columns)

    def with_rows(self, rows: Sequence[Row]) -> "Table":
        """With rows of other runs after its own, without places yet."""
        import numpy as np

        runs = {id(row.submission): row.submission for row in rows}
        first = len(self.submissions)
        number = {name: first + place for place, name in enumerate(runs)}
        new: dict[str, list[Any]] = {
            "submission": [number[id(row.submission)] for row in rows],
            "n": [row.n for row in rows],
            "place": [0] * len(rows),
            "seconds_per_image": [row.seconds_per_image for row in rows],
            "seconds_low": [row.ci95 and row.ci95[0] for row in rows],
            "seconds_high": [row.ci95 and row.ci95[1] for row in rows],
            "peak_memory_bytes": [row.peak_memory_bytes for row in rows],
        }
        words = dict(self.words)
        for name in TEXTS:
            places = {word: place for place, word in enumerate(self.words[name])}
            new[name] = [places.setdefault(getattr(row, name), len(places)) for row in rows]
            words[name] = list(places)
        columns = {
            name: np.concatenate([column, np.array(new[name], column.dtype)])
            for name, column in self.columns.items()
        }
        return Table([*self.submissions, *runs.values()], words, columns)

    def in_order(self) -> "Table":
        """Ranked rows first; what most machines measured comes first, and of the same work the
        fastest. Each ranked row gets its place.

        The result does not depend on the order of the rows before.
        """
        import numpy as np

        columns = self.columns
        ranked = np.array([why is None for why in self.words["why_not_ranked"]], bool)[
            columns["why_not_ranked"]
        ]
        work = self._works()
        seconds = np.nan_to_num(columns["seconds_per_image"], nan=np.inf, posinf=np.inf)
        bundles = _ranks([run.bundle_sha256 or "" for run in self.submissions])
        order = np.lexsort(
            (
                _ranks(self.words["arm"])[columns["arm"]],
                _ranks(self.words["case_id"])[columns["case_id"]],
                bundles[columns["submission"]],
                seconds,
                work,
                ~ranked,
            )
        )
        work, seconds, ranked = work[order], seconds[order], ranked[order]
        # The first of its work, and the first of equal times, each carried on to those behind it.
        numbers = np.arange(len(order))
        starts = np.ones(len(order), bool)
        starts[1:] = work[1:] != work[:-1]
        differs = starts.copy()
        differs[1:] |= seconds[1:] != seconds[:-1]
        first = np.maximum.accumulate(np.where(starts, numbers, 0))
        tied = np.maximum.accumulate(np.where(differs, numbers, 0))
        sorted_columns = {name: column[order] for name, column in columns.items()}
        sorted_columns["place"] = np.where(ranked, tied - first + 1, 0)
        return self._renumbered(sorted_columns)

    def _works(self) -> "Column":
        """The place of each row's work among all works in the order of the board."""
        import numpy as np

        runs: dict[tuple[str, str, str | None], int] = {}
        of_run = np.array(
            [
                runs.setdefault((r.device, r.model, r.model_sha256), len(runs))
                for r in self.submissions
            ],
            np.int64,
        )
        machines: dict[str, int] = {}
        of_machine = np.array(
            [machines.setdefault(r.machine_id, len(machines)) for r in self.submissions], np.int64
        )
        settings = len(self.words["setting"]) or 1
        rows = self.columns["submission"]
        works, of_work = np.unique(
            of_run[rows] * settings + self.columns["setting"], return_inverse=True
        )
        pairs = np.unique(of_work * (len(machines) or 1) + of_machine[rows])
        counts = np.bincount(pairs // (len(machines) or 1), minlength=len(works))
        parts = list(runs)
        named = [
            (-count, device, model, sha256 or "", self.words["setting"][work % settings])
            for work, count in zip(works.tolist(), counts.tolist(), strict=True)
            for device, model, sha256 in [parts[work // settings]]
        ]
        rank = np.empty(len(works), np.int64)
        rank[sorted(range(len(works)), key=named.__getitem__)] = np.arange(len(works))
        return rank[of_work]

    def _renumbered(self, columns: "dict[str, Column]") -> "Table":
        """Words and submissions in the order in which rows have them, so that equal boards are
        equal however they came about."""
        words = {}
        for name in (*TEXTS, "submission"):
            every = self.submissions if name == "submission" else self.words[name]
            used, columns[name] = _in_order_of_use(columns[name], len(every))
            words[name] = [every[place] for place in used]
        return Table(words.pop("submission"), words, columns)


def _in_order_of_use(column: "Column", count: int) -> "tuple[list[int], Column]":
    """The values of a column in the order of their first rows, and the column in their numbers."""
    import numpy as np

    # Of the rows that write to the same place the last one stays, so they go backwards.
    first = np.full(count, len(column), np.int64)
    first[column[::-1]] = np.arange(len(column) - 1, -1, -1)
    used = np.argsort(first, kind="stable")[: int((first < len(column)).sum())]
    number = np.zeros(count, column.dtype)
    number[used] = np.arange(len(used))
    return used.tolist(), number[column]


def _ranks(words: Sequence[str]) -> "Column":
    """The place of each word among the different words in their order."""
    import numpy as np

    place = {word: number for number, word in enumerate(sorted(set(words)))}
    return np.array([place[word] for word in words], np.int64)


def empty_table() -> Table:
    """A table without a row."""
    import numpy as np

    columns = {name: np.zeros(0, np.int64) for name in (*INTEGERS, *TEXTS)}
    numbers = {name: np.zeros(0, np.float64) for name in NUMBERS}
    return Table([], {name: [] for name in TEXTS}, columns | numbers)


def in_order(rows: Iterable[Row]) -> list[Placed]:
    """Rows as :meth:`Table.in_order` has them."""
    return empty_table().with_rows([*rows]).in_order().placed()


def groups(numbers: "Column") -> "Iterator[tuple[int, Column]]":
    """Each value of a column with the rows that have it, in their order."""
    import numpy as np

    order = np.argsort(numbers, kind="stable")
    values, starts = np.unique(numbers[order], return_index=True)
    yield from zip(values.tolist(), np.split(order, starts[1:]), strict=False)
