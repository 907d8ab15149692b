"""Which existing files a verb may overwrite: those that sdbench wrote, and no others.

A file is recognised by its content, not by its name.
"""

import re
from pathlib import Path

from sdbench.errors import UsageError

WRITTEN_BY = "Written by sdbench"
"""A remark in the files whose format allows one."""

_MARKS = re.compile(
    WRITTEN_BY.encode()
    + rb'|<meta name="generator" content="sdbench '  # report -f html
    + rb"|\Arun_id,machine_id,device,model,torch,images,"  # csv
    + rb'|\A\{\s*(?:"runs": \[\s*\{\s*)?"schema": \d+,\s*"run_id": '  # json
    + rb'|<testsuite name="sdbench '  # junit
    + rb'|"fullname": "sdbench::'  # pytest-benchmark
    + rb"|\A\| chip \| GPU cores \| RAM \|"  # row
    + rb'|\A"""Case [^\n]* of sdbench run '  # repro.py
    + rb"|\A[^\n]*\n\n(?:Met|Found) by sdbench "  # reproduce.py
    + rb"|\APK\x03\x04(?s:.{26})manifest\.json"  # a bundle
)
_LOOKED_AT_BYTES = 1 << 14


def is_writable_without_asking(path: Path) -> bool:
    """Whether the path has no file, an empty one, or one that sdbench wrote."""
    try:
        # What is no plain file (a terminal, /dev/null, a pipe) holds nothing to lose.
        if not path.is_file() or path.stat().st_size == 0:
            return True
        with path.open("rb") as file:
            head = file.read(_LOOKED_AT_BYTES)
            file.seek(max(0, path.stat().st_size - _LOOKED_AT_BYTES))
            tail = file.read(_LOOKED_AT_BYTES)
    except OSError:
        return False
    return _MARKS.search(head) is not None or WRITTEN_BY.encode() in tail


def spare_others(path: Path, *, force: bool) -> None:
    """Refuse to write over a file that sdbench did not write.

    Raises:
        UsageError: there is such a file, and ``force`` is not given.
    """
    if not force and not is_writable_without_asking(path):
        raise not_ours(path)


def not_ours(path: Path) -> UsageError:
    """The refusal to overwrite a file."""
    return UsageError(
        f"{path} exists and was not written by sdbench: choose another path with -o, or overwrite "
        "it with --force"
    ).then_with("--force")
