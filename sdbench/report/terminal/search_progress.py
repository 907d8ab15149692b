"""Progress of a search for operators."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from sdbench.words import duration

_REPAINT_EVERY_S = 1.0
_LINE_EVERY_S = 20.0  # where nothing can be repainted
# With a smaller share done, the time left cannot be estimated.
_LEAST_SHARE = 0.02


def left_seconds(first: tuple[float, float], now: tuple[float, float]) -> float | None:
    """Seconds left, from the first (time, share done) and the present one; None while too little
    is done to estimate it.

    Imports and loading come before the first share and do not count.
    """
    done = now[1] - first[1]
    return None if done < _LEAST_SHARE else (now[0] - first[0]) * (1 - now[1]) / done


class SearchProgress:
    """A progress bar on a terminal, occasional lines elsewhere."""

    def __init__(self, remarks: Console) -> None:
        self._remarks = remarks
        self._bar = Progress(
            BarColumn(bar_width=24),
            TextColumn("{task.description}", markup=False),
            console=remarks,
            auto_refresh=False,
            transient=True,
            disable=not remarks.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=1.0)
        self._shown_at = time.monotonic()
        self._share = 0.0
        self._first: tuple[float, float] | None = None

    def __enter__(self) -> "SearchProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def tick(self, share: float) -> None:
        """Show the share done and about how long the rest takes.

        A worker that goes on after a death begins at 0 again.
        """
        now = time.monotonic()
        self._share = max(self._share, share)
        if self._share and self._first is None:
            self._first = now, self._share
        every_s = _REPAINT_EVERY_S if self._remarks.is_terminal else _LINE_EVERY_S
        if self._first is None or now - self._shown_at < every_s:
            return
        self._shown_at = now
        left_s = left_seconds(self._first, (now, self._share))
        words = f"{self._share:.0%} done"
        words += f", about {duration(left_s)} left" if left_s is not None else ""
        self._bar.update(self._task, completed=self._share, description=words)
        self._bar.refresh()
        if not self._remarks.is_terminal:
            self._remarks.print(words)
