"""What ``sdbench localise`` prints of a search that has ended."""

import io
from pathlib import Path
from typing import Any

import pytest
from factories import make_call, make_judged
from rich.console import Console

from sdbench.localise.localisation import Demonstration, Localisation
from sdbench.localise.ranking import BEYOND
from sdbench.records import Case
from sdbench.report.terminal.operators import render_localisation

FINE = [make_judged(make_call(index, f"aten::op{index}"), 0.1 * index) for index in range(20)]
WRONG = make_judged(make_call(90, "aten::baddbmm"), BEYOND * 20)
PROOF = Demonstration(script=Path("found here/repro.py"), carried=False, shown="shown")


def screen(*judged: Any, width: int = 80, top: int = 10, **fields: Any) -> list[str]:
    defaults: dict[str, Any] = {
        "model": "synthetic/tiny",
        "device": "mps",
        "simulated": False,
        "dtype": "float16",
        "case": Case(resolution="64x64"),
        "images": 1,
        "steps": 2,
        "judged": [*judged],
        "skipped": {},
        "notes": [],
        "complete": True,
        "proof": None,
        "duration_s": 12.0,
    }
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None)
    render_localisation(Localisation(**{**defaults, **fields}), console, top)
    return out.getvalue().splitlines()


def test_a_healthy_device_takes_a_few_lines_and_no_table() -> None:
    lines = screen(*FINE)
    assert lines[1].startswith("No operator exceeds")
    assert len(lines) < 10 and not any("aten::op3" in line for line in lines)
    assert any(line.startswith("Nearest to its limit: aten::op19") for line in lines)
    assert lines[-1].strip() == "sdbench diagnose latest"


def test_only_what_differs_is_in_the_table() -> None:
    text = "\n".join(screen(*FINE, WRONG, width=200, proof=PROOF))
    assert "aten::baddbmm" in text and "aten::op19" not in text
    assert text.splitlines()[-1].strip() == "python 'found here/repro.py'"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_figure_of_it_is_cut_off(width: int) -> None:
    text = "\n".join(screen(WRONG, width=width))
    assert "…" not in text and f"{BEYOND * 20:.3g}" in text


def test_a_search_that_did_not_end_acquits_nothing() -> None:
    text = " ".join(screen(*FINE, complete=False))
    assert "computes like the CPU" not in text
    assert "No operator that was compared is beyond" in text and "Not all calls w" in text


def test_more_than_fit_are_counted() -> None:
    wrong = [make_judged(make_call(n, f"aten::bad{n}"), BEYOND * (n + 2)) for n in range(5)]
    assert "and 3 more (--top shows them)" in screen(*wrong, top=2)


def test_a_stand_in_is_said_first() -> None:
    assert "SIMULATED" in " ".join(screen(*FINE, simulated=True)[:2])
