"""Tokenizers of T5 and Qwen for synthetic models, without a download.

As with CLIP's (:mod:`sdbench.models.tokenizer`) any text passes through, one token a character or a
byte, and the first ids are those of the published vocabularies where that is possible.
"""

import json
from typing import Any

from sdbench.models.tokenizer import byte_symbols

T5_LIMIT = 512
_SPACE = "\u2581"
_T5_SPECIAL = ("<pad>", "</s>", "<unk>")
# What T5's published vocabulary covers for certain; other characters become <unk>, as there.
_T5_CHARACTERS = (*map(chr, range(0x21, 0x7F)), *map(chr, range(0xA1, 0x180)))
T5_VOCABULARY = len(_T5_SPECIAL) + 1 + len(_T5_CHARACTERS)
"""Ids that the T5 tokenizer gives."""

_END_OF_TEXT = "<|endoftext|>"
_QWEN_SPECIAL = (_END_OF_TEXT, "<|im_start|>", "<|im_end|>", "<think>", "</think>")
QWEN_VOCABULARY = 256 + len(_QWEN_SPECIAL)
"""Ids that the Qwen tokenizer gives."""
QWEN_END_ID = 256
# What Qwen3's published template gives for messages without tools.
_CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}"
    "{{- '<think>\n\n</think>\n\n' }}"
    "{%- endif %}"
    "{%- endif %}"
)


def t5_tokenizer_files() -> dict[str, bytes]:
    """File name to content of a ``T5TokenizerFast`` folder: a unigram of characters."""
    characters = [[symbol, -2.0] for symbol in (_SPACE, *_T5_CHARACTERS)]
    metaspace = {
        "type": "Metaspace",
        "replacement": _SPACE,
        "prepend_scheme": "always",
        "split": True,
    }
    end = {"SpecialToken": {"id": "</s>", "type_id": 0}}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(index, token) for index, token in enumerate(_T5_SPECIAL)],
        "normalizer": {"type": "NFKC"},
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace],
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}, end],
            "pair": [
                {"Sequence": {"id": "A", "type_id": 0}},
                end,
                {"Sequence": {"id": "B", "type_id": 0}},
                end,
            ],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}},
        },
        "decoder": metaspace,
        "model": {
            "type": "Unigram",
            "unk_id": 2,
            "vocab": [*([token, 0.0] for token in _T5_SPECIAL), *characters],
            "byte_fallback": False,
        },
    }
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    config = {
        "tokenizer_class": "T5Tokenizer",
        "model_max_length": T5_LIMIT,
        "extra_ids": 0,
        "additional_special_tokens": [],
        "clean_up_tokenization_spaces": False,
        **special,
    }
    return {
        "tokenizer.json": _json(tokenizer),
        "special_tokens_map.json": _json(special),
        "tokenizer_config.json": _json(config),
    }


def qwen_tokenizer_files() -> dict[str, bytes]:
    """File name to content of a ``Qwen2Tokenizer`` folder: every byte a token, and a template."""
    added = {str(256 + index): _added(None, token) for index, token in enumerate(_QWEN_SPECIAL)}
    special = {"eos_token": "<|im_end|>", "pad_token": _END_OF_TEXT}
    config = {
        "tokenizer_class": "Qwen2Tokenizer",
        "model_max_length": 131_072,
        "add_prefix_space": False,
        "bos_token": None,
        "unk_token": None,
        "errors": "replace",
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": False,
        "chat_template": _CHAT_TEMPLATE,
        "added_tokens_decoder": added,
        **special,
    }
    symbols = {symbol: index for index, symbol in enumerate(byte_symbols())}
    return {
        "vocab.json": _json(symbols),
        "merges.txt": b"#version: 0.2\n",
        "special_tokens_map.json": _json(special),
        "tokenizer_config.json": _json(config),
    }


def _added(index: int | None, token: str) -> dict[str, Any]:
    where = {} if index is None else {"id": index}
    return {
        **where,
        "content": token,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def _json(document: Any) -> bytes:
    return json.dumps(document, indent=1).encode()
