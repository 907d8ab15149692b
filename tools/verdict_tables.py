"""What sdbench reports of seeded image faults and of runs that are not healthy, as Markdown.

    python tools/verdict_tables.py > tests/proof/verdicts.md

The faults and runs are those of tests/unit/test_picture_faults.py and tests/unit/test_health.py,
which check what is reported; this prints it.
"""

import contextlib
import io
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "unit"))

from faulty_pictures import Fault, equalities_of, faulty_run  # noqa: E402
from measured_runs import kept  # noqa: E402
from test_health import HOSTILE  # noqa: E402
from test_picture_faults import FAULTS  # noqa: E402

from sdbench.cli import main as sdbench  # noqa: E402
from sdbench.diagnosis.diagnose import diagnose  # noqa: E402
from sdbench.quoting.markdown_text import plain, table  # noqa: E402

_HEAD = """# What is reported of wrong images and of runs that are not healthy

Made by `python tools/verdict_tables.py`. Images and runs are constructed, so no device made them.
"""
_FAULTS_HEAD = """
## Seeded image faults

Each run has two cases (others where the fault is about a setting), 3 images and 4 passes.
"""
_HEALTH_HEAD = """
## Runs that are not healthy, and some that look so

The exit code is that of `sdbench diagnose`.
"""


def fault_row(fault: Fault, folder: Path) -> list[str]:
    """Name, data type, the first finding and what it says to do."""
    loaded = faulty_run(folder, fault)
    findings = diagnose(loaded, equalities_of(folder, loaded)).findings
    told = next(entry for entry in findings if entry.code == fault.code)
    return [
        fault.name,
        fault.dtype,
        "denoising" if fault.in_latents else "decode",
        f"{told.severity} {told.code}",
        plain(told.sentence),
        plain(told.remedy),
    ]


def health_row(name: str, folder: Path) -> list[str]:
    """Name, exit code and headline."""
    path = kept(folder, HOSTILE[name][0]())
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = sdbench(["diagnose", str(path)])
    return [name, str(code), plain(out.getvalue().splitlines()[1])]


def main() -> None:
    """Print both tables."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)

        def fresh(number: int) -> Path:
            folder = root / str(number)
            folder.mkdir()
            return folder

        faults = [fault_row(fault, fresh(number)) for number, fault in enumerate(FAULTS)]
        health = [health_row(name, fresh(1000 + n)) for n, name in enumerate(HOSTILE)]
    print(_HEAD, _FAULTS_HEAD, sep="")
    print(table(["fault", "data type", "stage", "finding", "what is said", "remedy"], faults))
    print(_HEALTH_HEAD)
    print(table(["run", "exit code", "verdict"], health))


if __name__ == "__main__":
    main()
