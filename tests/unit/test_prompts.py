"""How many tokens a prompt has, and that what the model does not read is said and kept."""

import json
import shutil
from pathlib import Path

import pytest
from diagnosed_runs import above_info, findings, loaded_run, passes
from factories import make_config, make_pass

from sdbench.models.resolve import find_model
from sdbench.models.tokenizer import CLIP_LIMIT, Tokenizer, read_tokenizer
from sdbench.records import PromptTokens
from sdbench.runner.prepare import prompt_remarks

BYTES = Tokenizer({})
# As if "the</w>" and "lo" had been learnt, in this order.
MERGING = Tokenizer({("h", "e</w>"): 0, ("t", "he</w>"): 1, ("l", "o"): 2})


@pytest.mark.parametrize(
    ("tokenizer", "text", "tokens"),
    [
        (BYTES, "", 2),
        (BYTES, " \n\t ", 2),
        (BYTES, "cat", 5),
        (BYTES, "a  cat", 6),
        (BYTES, "a cat, 4k!!", 11),
        (BYTES, "it's", 6),
        (BYTES, "é", 4),  # two bytes
        (BYTES, "日本", 8),
        (BYTES, "😀", 6),
        (BYTES, "<|endoftext|>", 3),
        (BYTES, "snake_case", 12),
        (MERGING, "THE the", 4),
        (MERGING, "lolo", 5),  # the second o ends the word, so it is another symbol
        (MERGING, "then", 6),
    ],
)
def test_tokens_are_counted_as_clip_counts_them(
    tokenizer: Tokenizer, text: str, tokens: int
) -> None:
    """The counts are those of transformers' CLIPTokenizer with these merges."""
    assert tokenizer.measure(text).tokens == tokens


def test_limit_itself_is_read_and_one_more_is_not() -> None:
    fits = BYTES.measure("a " * (CLIP_LIMIT - 2))
    assert (fits.tokens, fits.unread, fits.remark(1)) == (CLIP_LIMIT, "", None)
    over = BYTES.measure("a " * (CLIP_LIMIT - 2) + "boat at the end")
    assert over.unread == "boat at the end"
    remark = over.remark(3)
    assert remark is not None and remark.startswith("prompt 3 has 89 tokens")
    assert "reads 77 tokens: the rest is cut" in remark and '"boat at the end"' in remark


def test_first_word_may_be_too_long() -> None:
    assert BYTES.measure("x" * 100).unread == "x" * 100


def test_prompt_of_a_megabyte_takes_no_time() -> None:
    for text in ("a" * 1_000_000, "a cat " * 200_000, "\ud800" * 100):
        assert BYTES.measure(text).tokens > CLIP_LIMIT


@pytest.fixture
def tiny(tiny_cache: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(tiny_cache / "models" / "synthetic--tiny", folder)
    return folder


def test_tokenizer_of_a_folder(tiny: Path) -> None:
    assert read_tokenizer(tiny) == BYTES
    merges = tiny / "tokenizer" / "merges.txt"
    merges.write_text("#version: 0.2\nh e</w>\nt he</w>\nl o\n")
    assert read_tokenizer(tiny) == MERGING
    merges.unlink()
    assert read_tokenizer(tiny) is None
    document = {"model": {"merges": ["h e</w>", ["t", "he</w>"], "l o"]}}
    (tiny / "tokenizer" / "tokenizer.json").write_text(json.dumps(document))
    assert read_tokenizer(tiny) == MERGING


@pytest.mark.parametrize(
    ("said", "limit"), [(77, 77), (64, 64), (10**30, 77), ("77", 77), (-1, 77), (512, 77)]
)
def test_limit_is_the_tokenizers_where_clip_can_read_as_much(
    tiny: Path, said: object, limit: int
) -> None:
    config = tiny / "tokenizer" / "tokenizer_config.json"
    config.write_text(json.dumps({"model_max_length": said}))
    tokenizer = read_tokenizer(tiny)
    assert tokenizer is not None and tokenizer.limit == limit


LONG = "a lighthouse at dusk, " * 20


@pytest.mark.parametrize(
    ("prompts", "images", "numbers"),
    [
        (("a cat",), 1, []),
        (("",), 1, []),
        ((LONG,), 1, [1]),
        (("a cat", LONG, LONG), 3, [2, 3]),
        (("a cat", LONG), 1, []),  # the second makes no image
        ((LONG, "a cat"), 8, [1]),
    ],
)
def test_prompts_that_are_cut_off_are_said_before_the_run(
    prompts: tuple[str, ...], images: int, numbers: list[int]
) -> None:
    config = make_config(prompts=list(prompts), images=images)
    remarks = prompt_remarks(config, "synthetic/tiny", None)
    assert [int(remark.split()[1]) for remark in remarks] == numbers


def test_model_that_is_not_here_yet_has_no_remark_before_it_is() -> None:
    config = make_config(prompts=[LONG])
    assert prompt_remarks(config, "owner/name", None) == ()
    shapes = find_model("builtin/shapes")
    assert len(prompt_remarks(config, shapes.name, shapes.folder)) == 1
    (kept,) = prompt_remarks(config, shapes.name, shapes.folder, quoting=False)
    assert "lighthouse" not in kept and kept.endswith("the rest is cut")


def test_beside_another_encoder_the_rest_is_not_called_lost() -> None:
    length = Tokenizer({}, beside="T5").measure("x" * 100)
    remark = length.remark(1)
    assert remark is not None and "xxx" not in remark
    assert remark.endswith("cut off there; how much T5 reads is measured in the run")


def counted(*entries: tuple[int, str, int, int]) -> list[PromptTokens]:
    return [
        PromptTokens(prompt=number, encoder=encoder, tokens=tokens, read=read)
        for number, encoder, tokens, read in entries
    ]


def told_of(entries: list[PromptTokens] | None, remarks: list[str]) -> list[str]:
    """The sentences of the findings of a run whose profiling passes counted this."""
    profile = make_pass(1.0, 0, kind="profile", prompt_tokens=entries)
    run = loaded_run(
        lambda slot, of: {"passes": [*passes((1.1, 1.0, 1.0)), profile]}, prompt_remarks=remarks
    )
    assert above_info(run) == []
    return [finding.sentence for finding in findings(run) if finding.code == "known-issue"]


def test_what_was_measured_is_told_instead_of_what_was_predicted() -> None:
    predicted = ["prompt 2 has 90 tokens and so on", "prompt 21 has 99 tokens"]
    entries = counted((0, "text_encoder", 77, 77), (1, "text_encoder", 103, 77))
    assert told_of(entries, predicted) == [
        "Prompt 2 is cut: 103 tokens, the model reads 77.",
        "Prompt 21 has 99 tokens.",
    ]
    whole = counted((1, "text_encoder", 60, 60))
    assert told_of(whole, predicted) == ["Prompt 21 has 99 tokens."]
    assert told_of(None, predicted[:1]) == ["Prompt 2 has 90 tokens and so on."]


def test_each_text_encoder_cuts_for_itself() -> None:
    entries = counted((0, "text_encoder", 103, 77), (0, "text_encoder_2", 120, 120))
    assert told_of(entries, []) == [
        "Prompt 1 is cut: text_encoder reads 77 of 103 tokens; text_encoder_2 reads all 120 tokens."
    ]


def test_what_was_not_read_is_a_finding_that_makes_nothing_unhealthy() -> None:
    told = loaded_run(prompt_remarks=["prompt 1 has 90 tokens and so on"])
    (finding,) = findings(told)
    assert (finding.code, finding.severity) == ("known-issue", "info")
    assert finding.sentence == "Prompt 1 has 90 tokens and so on."
    assert above_info(told) == []
