"""CLIP's tokenizer: one without a download for synthetic models, and how many tokens a text has.

The synthetic one is the byte-level vocabulary, with few merges or none.

CLIP's vocabulary starts with 256 byte symbols and the same 256 ending a word; the learnt merges
follow. Leaving those out gives a tokenizer that any text passes through, one token a byte. The
first ids, and so the first rows of the embedding, mean the same as in the published vocabulary.
"""

import functools
import itertools
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sdbench.files.access import MIB, read_file

CLIP_LIMIT = 77
"""Tokens that CLIP reads, begin and end included."""
BEGIN, END = "<|startoftext|>", "<|endoftext|>"


def byte_symbols() -> list[str]:
    """The printable character that stands for each byte, in vocabulary order (GPT-2's table)."""
    return [*_symbol_of_byte().values()]


def tokenizer_files(padding: str = END, merges: Sequence[tuple[str, str]] = ()) -> dict[str, bytes]:
    """File name to content of a ``CLIPTokenizer`` folder.

    ``merges`` are pairs of tokens that become one, first come first served.
    """
    symbols = byte_symbols()
    merged = ["".join(pair) for pair in merges]
    tokens = [*symbols, *(f"{symbol}</w>" for symbol in symbols), *merged, BEGIN, END]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    special: dict[str, Any] = {
        "bos_token": BEGIN,
        "eos_token": END,
        "unk_token": END,
        "pad_token": padding,
    }
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": CLIP_LIMIT,
        "do_lower_case": True,
        "errors": "replace",
        **special,
    }
    return {
        "vocab.json": json.dumps(vocabulary, ensure_ascii=True).encode(),
        "merges.txt": "".join(
            ["#version: 0.2\n", *(f"{left} {right}\n" for left, right in merges)]
        ).encode(),
        "special_tokens_map.json": json.dumps(special, indent=2).encode(),
        "tokenizer_config.json": json.dumps(config, indent=2).encode(),
    }


def second_tokenizer_files() -> dict[str, bytes]:
    """The second ``CLIPTokenizer`` of SDXL and SD3, which pads with ``!``."""
    return tokenizer_files(padding="!")


# OpenAI's CLIP, simple_tokenizer.py: contractions, runs of letters, single digits, other runs. What
# Python calls a word character is a letter, a number or "_".
_WORDS = re.compile(
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|(?:[^\s\w]|_)+"
)
# Merging takes a time quadratic in a word's length; no real word is longer.
_LONGEST_WORD_BYTES = 256
_MOST_MERGES_BYTES = 16 * MIB
_MOST_CHARACTERS = 50_000
_SHOWN_CHARACTERS = 60
_FOLDERS = ("tokenizer", "tokenizer_2", "tokenizer_3")
_CLIP = "CLIP"


class TextLength(NamedTuple):
    """How long a text is to a text encoder."""

    tokens: int
    """Begin and end included."""
    limit: int
    """Tokens that the encoder reads; what is beyond is cut off without a word."""
    unread: str
    """The text beyond the limit."""
    beside: str = ""
    """Other text encoders of the model, which may read more: ``T5``. Empty: there is none."""

    def remark(self, number: int, *, quoting: bool = True) -> str | None:
        """What to say of prompt ``number`` (from 1), with the text or without; None if all is read.

        A record that may be shared holds no more of a prompt than the configuration does.
        """
        if self.tokens <= self.limit:
            return None
        words = (
            f"prompt {number} has {self.tokens} tokens (begin and end included) and the model's "
            f"text encoder (CLIP) reads {self.limit} tokens: the rest is cut"
        )
        if self.beside:
            words += f" there; how much {self.beside} reads is measured in the run"
            return words
        dots = "…" if len(self.unread) > _SHOWN_CHARACTERS else ""
        quoted = f', from "{self.unread[:_SHOWN_CHARACTERS]}{dots}" on'
        return words + quoted if quoting else words


class Tokenizer(NamedTuple):
    """As much of a CLIP tokenizer as counting needs: what is merged, earliest first, and the limit.

    Every byte has a token of its own, so the vocabulary is not needed to count.
    """

    merges: dict[tuple[str, str], int]
    limit: int = CLIP_LIMIT
    beside: str = ""
    """Text encoders of another kind in the same model, of whose tokens nothing can be said."""

    def measure(self, text: str) -> TextLength:
        """The length of a prompt; of its first 50,000 characters where it has more."""
        text = re.sub(r"\s+", " ", unicodedata.normalize("NFC", text[:_MOST_CHARACTERS])).strip()
        tokens, unread = 2, ""
        for word in _WORDS.finditer(text):
            tokens += self._tokens_of(word[0].lower())
            if tokens > self.limit and not unread:
                unread = text[word.start() :]
        return TextLength(tokens, self.limit, unread, self.beside)

    def _tokens_of(self, word: str) -> int:
        if word in (BEGIN, END):
            return 1
        data = word.encode("utf-8", "replace")
        pieces = range(0, len(data), _LONGEST_WORD_BYTES)
        return sum(self._merged(data[at : at + _LONGEST_WORD_BYTES]) for at in pieces)

    def _merged(self, data: bytes) -> int:
        """Byte-pair encoding: merge the pair that was learnt first until none is left."""
        table = _symbol_of_byte()
        symbols = [table[byte] for byte in data]
        symbols[-1] += "</w>"
        while len(symbols) > 1:
            pairs = list(itertools.pairwise(symbols))
            best = min(pairs, key=lambda pair: self.merges.get(pair, len(self.merges)))
            if best not in self.merges:
                break
            symbols = list(_merge(symbols, best))
        return len(symbols)


def _merge(symbols: list[str], pair: tuple[str, str]) -> Iterator[str]:
    at = 0
    while at < len(symbols):
        if tuple(symbols[at : at + 2]) == pair:
            yield "".join(pair)
            at += 2
        else:
            yield symbols[at]
            at += 1


@functools.cache
def _symbol_of_byte() -> dict[int, str]:
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    symbols = [*map(chr, printable), *(chr(256 + index) for index in range(len(others)))]
    return dict(zip([*printable, *others], symbols, strict=True))


def read_tokenizer(folder: Path) -> Tokenizer | None:
    """CLIP's tokenizer of a pipeline folder; None where there is none or it cannot be read.

    A pipeline with two of them reads as much as the one that reads less. T5 and Qwen count
    otherwise and read more: how much of a prompt they are given is seen in the run only.
    """
    kinds = {name: _kind_of(folder / name) for name in _FOLDERS if (folder / name).is_dir()}
    if kinds.get(_FOLDERS[0], _CLIP) != _CLIP:
        return None
    try:
        path = folder / "tokenizer" / "merges.txt"
        if path.exists():
            lines = read_file(path, _MOST_MERGES_BYTES).decode("utf-8").splitlines()
            pairs = [line.split() for line in lines if not line.startswith("#version")]
        else:
            document = _json(folder / "tokenizer" / "tokenizer.json")
            pairs = [
                pair.split() if isinstance(pair, str) else pair
                for pair in document["model"]["merges"]
            ]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    merges = {(pair[0], pair[1]): rank for rank, pair in enumerate(pairs) if len(pair) == 2}
    limits = [_limit(folder / name) for name, kind in kinds.items() if kind == _CLIP]
    others = dict.fromkeys(kind for kind in kinds.values() if kind != _CLIP)
    return Tokenizer(merges, min(limits, default=CLIP_LIMIT), " and ".join(others))


def kind_of_tokenizer(class_name: object) -> str:
    """``CLIP``, ``T5``, ``Qwen`` or ``the other text encoder``, by a tokenizer's class."""
    kinds = (_CLIP, "T5", "Qwen")
    names = class_name if isinstance(class_name, str) else ""
    return next((kind for kind in kinds if names.startswith(kind)), "the other text encoder")


def _kind_of(folder: Path) -> str:
    try:
        name = _json(folder / "tokenizer_config.json")["tokenizer_class"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return _CLIP  # older folders do not say
    return kind_of_tokenizer(name)


def _limit(folder: Path) -> int:
    try:
        limit = _json(folder / "tokenizer_config.json")["model_max_length"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return CLIP_LIMIT
    # Absent limits are written as a number of thirty digits.
    return limit if isinstance(limit, int) and 2 < limit <= CLIP_LIMIT else CLIP_LIMIT


def _json(path: Path) -> Any:
    return json.loads(read_file(path, _MOST_MERGES_BYTES))
