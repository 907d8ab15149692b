"""After a worker has ended: does each of its pictures show what was asked for?"""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from sdbench.models.builtin import BUILTIN
from sdbench.quality.content import Verdict, judge_file
from sdbench.schema import Picture, Replicate


def with_content(
    replicate: Replicate, model: str, prompts: Sequence[str], folder: Path
) -> Replicate:
    """The replicate with a verdict on each stored picture of its measured passes.

    Only the built-in model's pictures can be read; others' stay without a verdict.
    """
    if model not in BUILTIN:
        return replicate
    verdicts: dict[tuple[str, str], Verdict] = {}  # passes repeat their pictures
    passes = []
    for entry in replicate.passes:
        if entry.kind == "measured":
            images = []
            for index, picture in enumerate(entry.images):
                prompt = prompts[index % len(prompts)]
                key = picture.pixels_sha256, prompt
                if key not in verdicts:
                    verdicts[key] = _judge(picture, prompt, folder)
                verdict = verdicts[key]
                images.append(
                    msgspec.structs.replace(
                        picture, content=verdict.content, content_reason=verdict.reason
                    )
                )
            entry = msgspec.structs.replace(entry, images=images)
        passes.append(entry)
    return msgspec.structs.replace(replicate, passes=passes)


def _judge(picture: Picture, prompt: str, folder: Path) -> Verdict:
    if picture.nan_count or picture.inf_count:  # in the stored picture they are black
        return Verdict("wrong", "not all of it is finite")
    try:
        return judge_file(folder / "images" / f"{picture.pixels_sha256}.png", prompt)
    except OSError as error:
        return Verdict(None, f"the picture could not be read: {type(error).__name__}")
