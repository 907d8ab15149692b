"""The code that reads what others give us: to be reached by the fuzzer, and to have holes."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "sdbench"

READERS: tuple[str, ...] = (
    "config.py",
    "files.py",
    "frames.py",
    "schema.py",
    "toml_files.py",
    "comparison/expectations.py",
    "comparison/pasts.py",
    "insight/crash_reports.py",
    "insight/explain.py",
    "insight/pasted_log.py",
    "insight/picture_files.py",
    "insight/versions_in_text.py",
    "machine/macos_text.py",
    "machine/recording.py",
    "models/folder_files.py",
    "models/weights.py",
    "quality/artifacts.py",
    "report/story/timelines.py",
    "store/belonging.py",
    "store/checks.py",
    "store/reading.py",
    "store/sharing.py",
)
"""Files of the package, all of whose code reads, but for :data:`WRITING`."""

WRITING: dict[str, tuple[str, ...]] = {
    "files.py": ("open_to_append", "write_inside", "write_all", "flush_to_disk"),
    "quality/artifacts.py": ("keep_pixels", "_save_picture", "is_finite", "load_tensors"),
    "config.py": ("held_bytes",),
}
"""Functions in them that write, or that only what measures calls: no reading verb reaches them."""

WRITERS: tuple[str, ...] = (
    "python_source.py",
    "cli/__init__.py",
    "cli/output.py",
    "report/junit.py",
    "report/markdown_text.py",
    "report/tidy_csv.py",
    "report/units.py",
    "report/html/page.py",
)
"""What puts others' text into a language; escapes are left out there when holes are planted."""
