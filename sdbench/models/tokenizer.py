"""A real CLIP tokenizer without a download: the byte-level vocabulary, with few merges or none.

CLIP's vocabulary starts with 256 byte symbols and the same 256 ending a word; the learnt merges
follow. Leaving those out gives a tokenizer that any text passes through, one token a byte. The
first ids, and so the first rows of the embedding, mean the same as in the published vocabulary.
"""

import json
from collections.abc import Sequence
from typing import Any

BEGIN, END = "<|startoftext|>", "<|endoftext|>"


def byte_symbols() -> list[str]:
    """The printable character that stands for each byte, in vocabulary order (GPT-2's table)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(others))]


def tokenizer_files(padding: str = END, merges: Sequence[tuple[str, str]] = ()) -> dict[str, bytes]:
    """File name to content of a ``CLIPTokenizer`` folder; SDXL's second one pads with ``!``.

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
        "model_max_length": 77,
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
