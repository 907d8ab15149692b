"""After a worker has ended: checks whether each of its images shows what the prompt asks for."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from sdbench.correctness.artifact_files import Artifacts
from sdbench.correctness.content import ContentVerdict, judge
from sdbench.models.builtin import BUILTIN
from sdbench.records import Picture, Replicate


def with_content(
    replicate: Replicate, model: str, prompts: Sequence[str], folder: Path
) -> Replicate:
    """The replicate with a verdict on each stored image of its measured passes.

    Only the built-in model's images can be read; others' stay without a verdict.
    """
    if model not in BUILTIN:
        return replicate
    artifacts = Artifacts(folder)
    verdicts: dict[tuple[str, str], ContentVerdict] = {}  # passes repeat their images
    passes = []
    for entry in replicate.passes:
        if entry.kind == "measured":
            images = []
            for index, picture in enumerate(entry.images):
                prompt = prompts[index % len(prompts)]
                key = picture.pixels_sha256, prompt
                if key not in verdicts:
                    verdicts[key] = _judge(picture, prompt, artifacts)
                verdict = verdicts[key]
                images.append(
                    msgspec.structs.replace(
                        picture, content=verdict.content, content_reason=verdict.reason
                    )
                )
            entry = msgspec.structs.replace(entry, images=images)
        passes.append(entry)
    return msgspec.structs.replace(replicate, passes=passes)


def not_kept(replicate: Replicate, reason: str) -> Replicate:
    """The replicate where none of its images is known to be on the disk."""

    def noted(picture: Picture) -> Picture:
        return msgspec.structs.replace(picture, not_kept=picture.not_kept or reason)

    passes = [
        msgspec.structs.replace(entry, images=[noted(picture) for picture in entry.images])
        for entry in replicate.passes
    ]
    return msgspec.structs.replace(replicate, passes=passes)


def _judge(picture: Picture, prompt: str, artifacts: Artifacts) -> ContentVerdict:
    if picture.nan_count or picture.inf_count:  # in the stored image they are black
        return ContentVerdict("wrong", "it contains NaN or infinity")
    pixels = artifacts.pixels(picture.pixels_sha256)
    if pixels is None:
        return ContentVerdict(None, "the image could not be read")
    return judge(pixels, prompt)
