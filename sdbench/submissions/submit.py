"""``sdbench submit``: which bundles a results repository takes, and where they go. Nothing is sent.

A repository takes a bundle that ``sdbench verify`` accepts and that is publishable. Wrong images
alone are no obstacle: a board shows such a run as wrong and never ranks it, and that a machine
computes wrong is worth knowing. Every other blocker is one.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from sdbench.bundles.format import MACHINE_ID, MOST_BUNDLE_BYTES, SUFFIX
from sdbench.bundles.publishable import Blocker, Publishable
from sdbench.bundles.refusal import RefusedError
from sdbench.bundles.verify import accept
from sdbench.errors import MachineError, UsageError
from sdbench.files.access import read_file, read_inside, write_inside
from sdbench.records import Run
from sdbench.submissions.repository import SUBMISSIONS
from sdbench.words import shell, shortened

CandidateStatus = Literal["new", "added", "present", "refused"]

_SHOWN_AS_WRONG = "pictures-wrong"
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,180}")
_NAMED = 3


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a file.

    ``status`` is ``new`` for one that would be added, ``present`` for one that the repository has
    already. ``code``, ``reason`` and ``remedy`` are of one that is refused: what ``sdbench verify``
    refuses it with, or its first blocker. ``target`` is the path in the repository.
    """

    path: str
    status: CandidateStatus
    bytes: int
    sha256: str
    target: str | None = None
    shown_as_wrong: bool = False
    code: str | None = None
    reason: str | None = None
    remedy: str | None = None


@dataclass(frozen=True)
class Judged:
    """A file's bytes and what becomes of them."""

    data: bytes
    candidate: Candidate


def judge_file(path: Path, repository: Path) -> Judged:
    """Verify a file and say where a repository would keep it. Nothing is written.

    Raises:
        UsageError: there is no such file, or it is too large to be a bundle.
        MachineError: what the repository has in its place cannot be read.
    """
    try:
        data = read_file(path, MOST_BUNDLE_BYTES)
    except OSError as error:
        raise UsageError(f"{shortened(str(path))}: {error.strerror}") from error
    candidate = Candidate(
        path=str(path),
        status="refused",
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    return Judged(data, _judged(candidate, data, repository))


def _judged(candidate: Candidate, data: bytes, repository: Path) -> Candidate:
    """What becomes of a candidate that is refused so far."""

    def refused(code: str, reason: str, remedy: str | None = None) -> Candidate:
        return msgspec.structs.replace(candidate, code=code, reason=reason, remedy=remedy)

    try:
        accepted = accept(data, candidate.path)
    except RefusedError as error:
        return refused(error.code, error.reason)
    publishable = accepted.verified.publishable
    assert publishable is not None  # of a bundle that is accepted
    blocker = obstacle(publishable)
    if blocker is not None:
        return refused(blocker.code, blocker.sentence, blocker.remedy)
    target = _place(accepted.examined.loaded.run)
    if target is None:
        return refused("ids", "The ids of its machine or run are no names for a file.")
    known = _kept(repository, target)
    if known is not None and known != data:
        return refused(
            "other-bundle",
            f"The repository has another bundle of the same run: {target}.",
            shell("git", "-C", repository, "rm", target),
        )
    return msgspec.structs.replace(
        candidate,
        status="new" if known is None else "present",
        target=target,
        shown_as_wrong=not publishable.ok,
    )


def obstacle(publishable: Publishable) -> Blocker | None:
    """The first blocker for which a repository refuses a bundle; None where it takes it."""
    return next((one for one in publishable.blockers if one.code != _SHOWN_AS_WRONG), None)


def add(judged: Sequence[Judged], repository: Path) -> list[Candidate]:
    """Copy what is new into a repository; none of them may be refused.

    Raises:
        MachineError: a file cannot be written.
    """
    added = []
    for one in judged:
        candidate = one.candidate
        if candidate.status == "new" and candidate.target is not None:
            try:
                write_inside(repository, *candidate.target.split("/"), data=one.data)
            except OSError as error:
                raise MachineError(f"{repository / candidate.target}: {error.strerror}") from error
            candidate = msgspec.structs.replace(candidate, status="added")
        added.append(candidate)
    return added


def git_commands(candidates: Sequence[Candidate], repository: Path) -> list[str]:
    """What brings new bundles from a checkout to a pull request; for a person to type."""
    new = [one for one in candidates if one.status in ("new", "added")]
    if not new:
        return []
    git = ("git", "-C", repository)
    branch = f"add-{new[0].sha256[:12]}"
    names = ", ".join(Path(str(one.target)).name.removesuffix(SUFFIX) for one in new[:_NAMED])
    more = f" and {len(new) - _NAMED} more" if new[_NAMED:] else ""
    return [
        shell(*git, "switch", "--create", branch),
        shell(*git, "add", "--", *(one.target for one in new)),
        shell(*git, "commit", "-m", f"Add {names}{more}"),
        shell(*git, "push", "--set-upstream", "origin", branch),
    ]


def _place(run: Run) -> str | None:
    """``submissions/MACHINE/RUN.sdbench.zip``; None where the ids are not as sdbench makes them."""
    if not MACHINE_ID.fullmatch(run.machine_id) or not _RUN.fullmatch(run.run_id):
        return None
    return f"{SUBMISSIONS}/{run.machine_id}/{run.run_id}{SUFFIX}"


def _kept(repository: Path, target: str) -> bytes | None:
    """The file that the repository has there; None where there is none."""
    try:
        return read_inside(repository, *target.split("/"), most_bytes=MOST_BUNDLE_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise MachineError(f"{repository / target}: {error.strerror}") from error
