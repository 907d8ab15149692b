"""What a worker notes of the prompts that a pipeline tokenizes, with a tokenizer of the test's."""

from types import SimpleNamespace
from typing import Any

import pytest

from sdbench.worker.pipelines.prompts import PromptTokens, _watch_calls


class Words:
    """A token a word, and one at each end."""

    model_max_length = 6

    def __call__(self, text: Any, **named: Any) -> dict[str, Any]:
        texts = [text] if isinstance(text, str) else text
        each = [["begin", *one.split(), "end"] for one in texts]
        if named.get("truncation"):
            each = [one[: named.get("max_length", self.model_max_length)] for one in each]
        return {"input_ids": each[0] if isinstance(text, str) else each}


def counted(prompts: list[str], *texts: Any, **named: Any) -> list[tuple[int, str, int, int]]:
    """What is known of the prompts after a tokenizer was called with each of these texts."""
    tokenizer = Words()
    seen = PromptTokens(SimpleNamespace(components={"tokenizer_2": tokenizer}))
    undo = _watch_calls(tokenizer, seen._tokenizing("tokenizer_2"))
    for text in texts:
        tokenizer(text, **named)
        assert isinstance(tokenizer, Words) and type(tokenizer).__name__ == "Words"
    undo()
    assert type(tokenizer) is Words
    return [tuple(entry.values()) for entry in seen.counted(prompts)]


def test_a_prompt_within_the_limit_is_read_and_a_longer_one_is_cut() -> None:
    prompts = ["a cat", "a cat on a mat at night"]
    expected = [(0, "text_encoder_2", 4, 4), (1, "text_encoder_2", 9, 6)]
    assert counted(prompts, prompts, truncation=True, padding="longest") == expected
    # The profiled call of a loop makes the first image only.
    assert counted(prompts, "a cat", truncation=True, padding="max_length") == expected


def test_what_a_pipeline_puts_around_a_prompt_counts_for_all() -> None:
    found = counted(["a cat", "a dog barks"], ["<user> a cat <assistant>"], truncation=True)
    assert found == [(0, "text_encoder_2", 6, 6), (1, "text_encoder_2", 7, 6)]


def test_a_call_without_a_limit_gives_everything() -> None:
    assert counted(["a b c d e f g"], ["a b c d e f g"]) == [(0, "text_encoder_2", 9, 9)]


@pytest.mark.parametrize("texts", [(), (["A CAT!"],), ([""],), ([["a", "cat"]],), (None,)])
def test_a_prompt_that_is_not_seen_is_unknown(texts: tuple[Any, ...]) -> None:
    class Empty(Words):
        def __call__(self, text: Any, **named: Any) -> dict[str, Any]:
            return {}

    tokenizer = Empty()
    seen = PromptTokens(SimpleNamespace(components={"tokenizer": tokenizer}))
    undo = _watch_calls(tokenizer, seen._tokenizing("tokenizer"))
    for text in texts:
        tokenizer(text)
    undo()
    assert seen.counted(["a cat", ""]) == []


def test_a_tokenizer_that_fails_leaves_the_prompt_unknown() -> None:
    class Failing(Words):
        def __call__(self, text: Any, **named: Any) -> dict[str, Any]:
            if isinstance(text, str):
                raise ValueError("only lists")
            return super().__call__(text, **named)

    tokenizer = Failing()
    seen = PromptTokens(SimpleNamespace(components={"tokenizer": tokenizer}))
    undo = _watch_calls(tokenizer, seen._tokenizing("tokenizer"))
    tokenizer(["a cat"], truncation=True)
    undo()
    assert seen.counted(["a cat"]) == []


def test_an_object_that_cannot_be_watched_is_left_alone() -> None:
    _watch_calls(len, lambda text, named: None)()
