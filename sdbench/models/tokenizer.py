"""A real CLIP tokenizer without a download: the byte-level vocabulary, with no merges.

CLIP's vocabulary starts with 256 byte symbols and the same 256 ending a word; the learnt merges
follow. Leaving those out gives a tokenizer that any text passes through, one token a byte. The
first ids, and so the first rows of the embedding, mean the same as in the published vocabulary.
"""

import json
from typing import Any

BEGIN, END = "<|startoftext|>", "<|endoftext|>"


def byte_symbols() -> list[str]:
    """The printable character that stands for each byte, in vocabulary order (GPT-2's table)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(others))]


def tokenizer_files(padding: str = END) -> dict[str, bytes]:
    """File name to content of a ``CLIPTokenizer`` folder; SDXL's second one pads with ``!``."""
    symbols = byte_symbols()
    tokens = [*symbols, *(f"{symbol}</w>" for symbol in symbols), BEGIN, END]
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
        "merges.txt": b"#version: 0.2\n",
        "special_tokens_map.json": json.dumps(special, indent=2).encode(),
        "tokenizer_config.json": json.dumps(config, indent=2).encode(),
    }
