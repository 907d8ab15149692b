"""The files of a results repository, as ``sdbench board init`` writes them."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from sdbench import __version__
from sdbench.errors import MachineError, UsageError
from sdbench.files.access import make_folder, write_inside
from sdbench.words import counted

SUBMISSIONS = "submissions"
"""The folder of a results repository that holds its bundles."""
WORKFLOW = ".github/workflows/board.yml"
_TEMPLATE = Path(__file__).parent / "template"
_FILES = {
    "README.md": "README.md",
    ".gitattributes": "gitattributes",
    ".gitignore": "gitignore",
    f"{SUBMISSIONS}/README.md": "submissions.md",
    ".github/pull_request_template.md": "pull_request.md",
    ".github/ISSUE_TEMPLATE/config.yml": "issues.yml",
    ".github/ISSUE_TEMPLATE/problem.yml": "problem.yml",
    WORKFLOW: "board.yml",
}
_VERSION = "@VERSION@"
# What a new repository already has, made by git or by the place that hosts it.
_OF_A_NEW_REPOSITORY = {".git", "LICENSE", "LICENSE.md", "LICENSE.txt"}


def repository_files() -> dict[str, bytes]:
    """The content of every file by its path in the repository; the workflow installs this
    version of sdbench."""
    return {
        path: (_TEMPLATE / name).read_bytes().replace(_VERSION.encode(), __version__.encode())
        for path, name in _FILES.items()
    }


def found_in(folder: Path) -> list[str]:
    """What a folder holds, but for ``.git`` and a licence; nothing where there is no folder.

    Raises:
        UsageError: it is no folder, or cannot be read.
    """
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}") from error
    return sorted(set(names) - _OF_A_NEW_REPOSITORY)


def write_repository(folder: Path, files: Mapping[str, bytes]) -> list[str]:
    """Write the files into a folder, made if it is missing; returns those that it replaced.

    Raises:
        MachineError: a file cannot be written.
    """
    replaced = [path for path in files if os.path.lexists(folder / path)]
    try:
        make_folder(folder)
        for path, data in files.items():
            write_inside(folder, *path.split("/"), data=data)
    except OSError as error:
        raise MachineError(f"{error.filename or folder}: {error.strerror}") from error
    return replaced


def check_repository(folder: Path) -> None:
    """Whether a folder is the checkout of a results repository.

    Raises:
        UsageError: it is not.
    """
    with contextlib.suppress(OSError):
        if SUBMISSIONS in os.listdir(folder):
            return
    raise UsageError(
        f"{folder}: expected the checkout of a results repository, a folder with {SUBMISSIONS}/ "
        "in it"
    ).then("sdbench board init --help")


def not_empty(folder: Path, found: list[str]) -> UsageError:
    """The refusal to write into a folder that has something in it."""
    more = f" and {counted(len(found) - 1, 'more entry', 'more entries')}" if found[1:] else ""
    return UsageError(
        f"{folder} is not empty ({found[0]}{more}): choose another folder, or write into it with "
        "--force, which replaces files of the same names"
    ).then_with("--force")
