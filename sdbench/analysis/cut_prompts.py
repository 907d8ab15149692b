"""Prompts of which a text encoder was not given everything, as the profiling passes measured it."""

from collections.abc import Iterable, Mapping, Sequence

from sdbench.records import PromptTokens, Replicate


def measured_prompts(replicates: Iterable[Replicate]) -> dict[int, list[PromptTokens]]:
    """By number from 0: how many tokens each text encoder was given; prompts not counted are left
    out."""
    found: dict[int, dict[PromptTokens, None]] = {}
    for replicate in replicates:
        for profiled in replicate.of_kind("profile"):
            for entry in profiled.prompt_tokens or []:
                found.setdefault(entry.prompt, {})[entry] = None
    return {number: [*entries] for number, entries in sorted(found.items())}


def cut_sentences(measured: Mapping[int, Sequence[PromptTokens]]) -> dict[int, str]:
    """By number from 0: ``prompt 2 is cut: 103 tokens, the model reads 77``."""
    return {
        number: _sentence(number, entries)
        for number, entries in measured.items()
        if any(entry.cut for entry in entries)
    }


def remarks_not_measured(
    remarks: Iterable[str], measured: Mapping[int, Sequence[PromptTokens]]
) -> list[str]:
    """What was predicted before the run of prompts that no pass has counted."""
    known = tuple(f"prompt {number + 1} " for number in measured)
    return [remark for remark in remarks if not remark.startswith(known)]


def _sentence(number: int, entries: Sequence[PromptTokens]) -> str:
    if len(entries) == 1:
        (only,) = entries
        return f"prompt {number + 1} is cut: {only.tokens} tokens, the model reads {only.read}"
    words = "; ".join(
        f"{entry.encoder} reads {f'{entry.read} of' if entry.cut else 'all'} {entry.tokens} tokens"
        for entry in entries
    )
    return f"prompt {number + 1} is cut: {words}"
