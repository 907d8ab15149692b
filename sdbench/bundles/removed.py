"""What a bundle does not have of its run, so that a person can decide before it is written."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Literal

import msgspec

from sdbench.bundles.contents import MOST_PICTURE_BYTES, Contents, count_files
from sdbench.privacy.redact_shared import Kept, is_local_model, is_own_prompt
from sdbench.runs import LoadedRun
from sdbench.words import counted, size

RemovedCode = Literal[
    "identity",
    "names",
    "own-prompts",
    "own-pictures",
    "model-name",
    "error-output",
    "large-pictures",
    "damaged-pictures",
    "latents",
    "readings",
    "damaged-lines",
]
# What stands in the place of private words, and what these were.
_MARKS = {
    "<user>": "user name",
    "<host>": "computer name",
    "<home>": "home folder",
    "<path>": "path",
    "<email>": "e-mail address",
    "<gpu>": "GPU id",
    "<token>": "token",
    "<secret>": "secret",
}
_MARK = re.compile("|".join(map(re.escape, _MARKS)))


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of what was removed or replaced; ``count`` is how often."""

    code: RemovedCode
    count: int
    sentence: str


def removed_from(original: LoadedRun, contents: Contents, kept: Kept) -> list[Removed]:
    """Everything that was removed from a run on its way into a bundle.

    Args:
        original: the run as it was recorded.
        contents: what was made of it.
        kept: what of the user's own stayed.
    """
    return [entry for entry in _all(original, contents, kept) if entry.count]


def _all(original: LoadedRun, contents: Contents, kept: Kept) -> Iterator[Removed]:
    yield _removed(
        "identity", 1, "The ids of the machine and of its starts are replaced by random ones."
    )
    marks = _marks_of(contents.loaded) - _marks_of(original)
    found = Counter(_MARKS[mark] for mark in marks.elements())
    words = ", ".join(
        counted(count, name, f"{name}es" if name.endswith("s") else "")
        for name, count in sorted(found.items())
    )
    yield _removed("names", found.total(), f"Replaced in texts: {words}.")
    prompts = [one for one in original.run.config.get("prompts", []) if is_own_prompt(one)]
    count = 0 if kept.prompts else len(prompts)
    what = counted(count, "own prompt")
    yield _removed("own-prompts", count, f"{what} replaced by a salted hash.")
    count = 0 if kept.pictures else _own_pictures(original, contents.loaded)
    what = counted(count, "image")
    yield _removed("own-pictures", count, f"{what} of own prompts left out.")
    model = original.run.model
    count = is_local_model(model) + len(model.loras)
    yield _removed(
        "model-name",
        0 if kept.model_name else count,
        f"{counted(count, 'name')} of local model files replaced by a salted hash.",
    )
    count = sum(bool(one.stdout_tail) + bool(one.stderr_tail) for one in original.attempts)
    yield _removed("error-output", count, f"The output of workers left out, {count} texts.")
    count = contents.large_pictures
    most = size(MOST_PICTURE_BYTES)
    yield _removed(
        "large-pictures", count, f"{counted(count, 'image')} left out, beyond {most} together."
    )
    count = contents.damaged_pictures
    what = counted(count, "image")
    yield _removed(
        "damaged-pictures", count, f"{what} left out, whose content is not what its name says."
    )
    count = count_files(original.files, ("latents", "traces"))
    yield _removed("latents", count, f"{counted(count, 'file')} of latents and traces left out.")
    count = contents.thinned_readings
    yield _removed("readings", count, f"{counted(count, 'reading')} of timelines thinned out.")
    count = original.unreadable + original.left_out
    what = counted(count, "line")
    yield _removed(
        "damaged-lines", count, f"{what} of the records left out, which are no records of this run."
    )


def _removed(code: RemovedCode, count: int, sentence: str) -> Removed:
    return Removed(code=code, count=count, sentence=sentence)


def _marks_of(loaded: LoadedRun) -> Counter[str]:
    """How often each mark stands in the texts of a run, worker's output aside."""
    found: Counter[str] = Counter(_MARK.findall(msgspec.json.encode(loaded.run).decode()))
    for record in loaded.records():
        found.update(_MARK.findall(msgspec.json.encode(record).decode()))
    return found


def _own_pictures(original: LoadedRun, redacted: LoadedRun) -> int:
    """Images that exist as files and go by another hash in the bundle."""
    before, after = (
        {
            picture.pixels_sha256
            for entry in loaded.attempts
            for one in entry.passes
            for picture in one.images
        }
        for loaded in (original, redacted)
    )
    return sum((original.files / "images" / f"{digest}.png").is_file() for digest in before - after)
