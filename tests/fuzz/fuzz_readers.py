"""The code that reads what others give us: to be reached by the fuzzer, and to have holes."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[2] / "sdbench"

READERS: tuple[str, ...] = (
    "bundles/archive.py",
    "bundles/opened.py",
    "plan/config.py",
    "plan/read_config.py",
    "files/access.py",
    "analysis/data_frames.py",
    *(
        f"records/{name}.py"
        for name in ("case", "compared", "failure", "planned", "replicate", "run")
    ),
    "files/toml.py",
    "fleet/fleet_file.py",
    "fleet/given_times.py",
    "fleet/ledger_file.py",
    "fleet/markers.py",
    "board/site_data.py",
    "comparison/expectations.py",
    "comparison/history_index.py",
    "knowledge/crash_reports.py",
    "explain/explain.py",
    "knowledge/pasted_log.py",
    "explain/picture_files.py",
    "explain/versions_in_text.py",
    "machine/macos/text.py",
    "machine/recording.py",
    "models/folder_files.py",
    "models/gguf_header.py",
    "models/weights.py",
    "correctness/artifact_files.py",
    "report/view/schedule.py",
    "report/view/timelines.py",
    "runs/membership.py",
    "runs/checks.py",
    "runs/reading.py",
    "runs/interning.py",
    "runs/timelines.py",
)
"""Files of the package, all of whose code reads, but for :data:`WRITING`."""

WRITING: dict[str, tuple[str, ...]] = {
    "files/access.py": (
        *("open_to_append", "write_inside", "write_all", "flush_to_disk", "flush_folder"),
        *("_flush_names", "_write_at", "make_folder", "write_file", "remove_inside"),
    ),
    "board/site_data.py": (
        *("encode_site", "board_of", "pieces_of", "write_data", "write_documents", "_write"),
    ),
    "correctness/artifact_files.py": ("keep_pixels", "_save_picture", "is_finite", "load_tensors"),
    "plan/config.py": ("held_bytes",),
    "fleet/fleet_file.py": ("write_fleet", "ask_to_stop"),
    "fleet/ledger_file.py": ("note", "flush"),
    "fleet/markers.py": ("marked",),
}
"""Functions in them that write, or that only what measures calls: no reading verb reaches them."""

READ_BY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("plan/config.py", "plan/read_config.py", "files/toml.py"),
        ("config", "expectations", "run"),
    ),
    **dict.fromkeys(("bundles/archive.py", "bundles/opened.py"), ("bundle",)),
    "board/site_data.py": ("site",),
    **dict.fromkeys(("fleet/fleet_file.py", "fleet/given_times.py"), ("fleet",)),
    **dict.fromkeys(("fleet/ledger_file.py", "fleet/markers.py"), ("fleet",)),
    "report/view/schedule.py": ("fleet",),
    "comparison/expectations.py": ("expectations",),
    **dict.fromkeys(("knowledge/crash_reports.py", "explain/explain.py"), ("log",)),
    **dict.fromkeys(("knowledge/pasted_log.py", "explain/versions_in_text.py"), ("log",)),
    "explain/picture_files.py": ("picture",),
    **dict.fromkeys(("machine/macos/text.py", "machine/recording.py"), ("recording",)),
    **dict.fromkeys(("models/folder_files.py", "models/weights.py"), ("model",)),
    "files/access.py": ("run", "expectations", "model", "recording"),
}
"""Kinds of input that reach a file; all others are reached by run folders."""

WRITERS: tuple[str, ...] = (
    "quoting/python_source.py",
    "cli/__init__.py",
    "cli/output.py",
    "report/export/junit.py",
    "quoting/markdown_text.py",
    "report/export/tidy_csv.py",
    "words.py",
    "report/html/page.py",
)
"""What puts others' text into a language; escapes are left out there when holes are planted."""


class Reached:
    """Counts the branches of the readers that are taken from now on.

    ``sdbench`` must not be loaded yet: what runs while it is imported is not counted otherwise.
    """

    def __init__(self, file: str) -> None:
        import coverage

        included = [str(PACKAGE / name) for name in READERS]
        self._coverage = coverage.Coverage(branch=True, include=included, data_file=file)
        if Path(file).exists():
            self._coverage.load()
        self._coverage.start()

    def lines(self) -> Iterator[str]:
        """A line for each file, and one for all."""
        self._coverage.stop()
        self._coverage.save()
        taken, there = 0, 0
        for name in READERS:
            own_taken, own, missing = self._of(name)
            taken, there = taken + own_taken, there + own
            words = ", ".join(missing[:12]) + (" …" if missing[12:] else "")
            yield f"  {name:32} {own_taken:4} of {own:4} branches; not taken: {words}"
        yield f"{taken} of {there} branches of the readers taken: {100 * taken / there:.1f}%"

    def _of(self, name: str) -> tuple[int, int, list[str]]:
        """Branches taken, branches there, and those not taken, but for what writes."""
        analysis = self._coverage._analyze(str(PACKAGE / name))
        left_out = _lines_of((PACKAGE / name).read_text(), WRITING.get(name, ()))
        there: dict[int, Any] = {
            line: counts for line, counts in analysis.branch_stats().items() if line not in left_out
        }
        missing = [
            f"{line}→{to}"
            for line, targets in sorted(analysis.missing_branch_arcs().items())
            for to in targets
            if line in there
        ]
        total = sum(total for total, _ in there.values())
        return total - len(missing), total, missing


def _lines_of(source: str, functions: tuple[str, ...]) -> set[int]:
    return {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and node.name in functions
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
