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
from typing import Literal, NamedTuple

import msgspec

from sdbench.bundles.archive import read_archive
from sdbench.bundles.format import MOST_BUNDLE_BYTES, RUN_MEMBER, SUFFIX
from sdbench.bundles.publishable import Blocker, Publishable
from sdbench.bundles.verify import Verified, verify
from sdbench.errors import MachineError, UsageError
from sdbench.files.access import read_file, read_inside, write_inside
from sdbench.submissions.repository import SUBMISSIONS
from sdbench.words import shell, shortened

CandidateStatus = Literal["new", "added", "present", "refused"]

_SHOWN_AS_WRONG = "pictures-wrong"
_MACHINE = re.compile(r"m-[0-9a-f]{16}")
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


class _Ids(msgspec.Struct, frozen=True):
    run_id: str
    machine_id: str


class _Refusal(NamedTuple):
    code: str
    reason: str
    remedy: str | None = None


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
    found = verify(data, str(path))
    refusal = _refusal(found)
    target, known = None, None
    if refusal is None:
        target = _place(data)
        known = None if target is None else _kept(repository, target)
        if target is None:
            refusal = _Refusal("ids", "the ids of its machine or run are no names for a file")
        elif known not in (None, data):
            refusal = _Refusal(
                "other-bundle",
                f"the repository has another bundle of the same run: {target}",
                shell("git", "-C", repository, "rm", target),
            )
    if refusal is not None:
        status: CandidateStatus = "refused"
    else:
        status = "new" if known is None else "present"
    return Judged(
        data,
        Candidate(
            path=str(path),
            status=status,
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            target=target,
            shown_as_wrong=refusal is None
            and found.publishable is not None
            and not found.publishable.ok,
            code=refusal and refusal.code,
            reason=refusal and refusal.reason,
            remedy=refusal and refusal.remedy,
        ),
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


def _refusal(found: Verified) -> _Refusal | None:
    if found.publishable is None:
        return _Refusal(str(found.code), str(found.reason))
    blocker = obstacle(found.publishable)
    if blocker is None:
        return None
    return _Refusal(blocker.code, blocker.sentence, blocker.remedy)


def _place(data: bytes) -> str | None:
    """``submissions/MACHINE/RUN.sdbench.zip``; None where the ids are not as sdbench makes them."""
    ids = msgspec.json.decode(read_archive(data)[RUN_MEMBER], type=_Ids)
    if not _MACHINE.fullmatch(ids.machine_id) or not _RUN.fullmatch(ids.run_id):
        return None
    return f"{SUBMISSIONS}/{ids.machine_id}/{ids.run_id}{SUFFIX}"


def _kept(repository: Path, target: str) -> bytes | None:
    """The file that the repository has there; None where there is none."""
    try:
        return read_inside(repository, *target.split("/"), most_bytes=MOST_BUNDLE_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise MachineError(f"{repository / target}: {error.strerror}") from error
