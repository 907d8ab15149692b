"""How much of the prompts the text encoders of one call are given, and how much is cut off."""

from typing import Any, Callable, Dict, List, Optional, Tuple

from .components import denoiser_of, text_encoders_of
from .hooks import Undo, before_call

_TOKENIZER = "tokenizer"
_TEXT_ENCODER = "text_encoder"
# What only shapes the result; the rest decides which tokens a text has.
_OF_SHAPE = ("padding", "return_tensors", "return_attention_mask", "return_length")
_OF_LENGTH = ("truncation", "max_length", "return_overflowing_tokens")


class PromptTokens:
    """Sees what a pipeline call tokenizes and hands to its text encoders; a context manager.

    Attributes:
        widths: of ``input_ids`` by text encoder, in the order of its calls, each width once.
        masked: whether the denoiser is given a mask of the text; None: it was not called.
    """

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        self._undo: "list[Undo]" = []
        self._calls: "Dict[str, List[Tuple[str, Dict[str, Any]]]]" = {}
        self.widths: "dict[str, list[int]]" = {}
        self.masked: Optional[bool] = None

    def __enter__(self) -> "PromptTokens":
        for name, encoder in text_encoders_of(self._pipeline).items():
            self._undo.append(before_call(encoder, self._encoding(name)))
        self._undo.append(before_call(denoiser_of(self._pipeline)[1], self._denoising))
        for name, part in self._pipeline.components.items():
            if name.startswith(_TOKENIZER) and callable(part):
                self._undo.append(_watch_calls(part, self._tokenizing(name)))
        return self

    def __exit__(self, *_: Any) -> None:
        while self._undo:
            self._undo.pop()()

    def _encoding(self, name: str) -> "Callable[[Any, dict[str, Any]], None]":
        def seen(inputs: Any, named: "dict[str, Any]") -> None:
            ids = named.get("input_ids", inputs[0] if inputs else None)
            shape = getattr(ids, "shape", None)
            widths = self.widths.setdefault(name, [])
            if shape and int(shape[-1]) not in widths:
                widths.append(int(shape[-1]))

        return seen

    def _denoising(self, _inputs: Any, named: "dict[str, Any]") -> None:
        masked = any("mask" in name and value is not None for name, value in named.items())
        self.masked = bool(self.masked) or masked

    def _tokenizing(self, name: str) -> "Callable[[Any, dict[str, Any]], None]":
        def seen(text: Any, named: "dict[str, Any]") -> None:
            texts = [text] if isinstance(text, str) else text
            if isinstance(texts, (list, tuple)):
                given = [(one, named) for one in texts if isinstance(one, str)]
                self._calls.setdefault(name, []).extend(given)

        return seen

    def counted(self, prompts: "list[str]") -> "list[dict[str, Any]]":
        """How many tokens each prompt has for each text encoder, and how many that is given.

        Prompts that the call did not make an image of are counted as it counted those it did, with
        the same words around them. What cannot be counted is left out.
        """
        found = []
        for name, calls in self._calls.items():
            tokenizer = self._pipeline.components[name]
            template = _template(calls, prompts)
            for number, prompt in enumerate(prompts):
                if template is None or not prompt:
                    continue
                before, after, named = template
                try:
                    tokens, read = _lengths(tokenizer, before + prompt + after, named)
                except Exception:  # whatever a tokenizer of somebody else's does: unknown
                    continue
                encoder = _TEXT_ENCODER + name[len(_TOKENIZER) :]
                found.append({"prompt": number, "encoder": encoder, "tokens": tokens, "read": read})
        return found


def _watch_calls(tokenizer: Any, seen: "Callable[[Any, dict[str, Any]], None]") -> Undo:
    """Call ``seen`` before each call of a tokenizer.

    Calls are looked up on the class, so it gets one of its own meanwhile, of the same name.
    """
    original = type(tokenizer)

    def watched(self: Any, text: Any = None, *args: Any, **named: Any) -> Any:
        seen(text, named)
        return original.__call__(self, text, *args, **named)

    try:
        tokenizer.__class__ = type(original.__name__, (original,), {"__call__": watched})
    except TypeError:  # an object of another kind: what it is asked is unknown
        return lambda: None

    def undo() -> None:
        tokenizer.__class__ = original

    return undo


def _template(
    calls: "list[tuple[str, dict[str, Any]]]", prompts: "list[str]"
) -> "Optional[tuple[str, str, dict[str, Any]]]":
    """What a tokenizer is given before and after a prompt, and how it is called; None: not known.

    Some pipelines tokenize twice, once without a limit to find what is cut off.
    """
    limited = [call for call in calls if call[1].get("truncation")] or calls
    for prompt in sorted(filter(None, prompts), key=len, reverse=True):
        for text, named in limited:
            before, found, after = text.partition(prompt)
            if found:
                return before, after, named
    return None


def _lengths(tokenizer: Any, text: str, named: "dict[str, Any]") -> "tuple[int, int]":
    """Tokens of a text, and those of it that are left within the limit."""
    plain = {name: value for name, value in named.items() if name not in _OF_SHAPE}
    whole = {name: value for name, value in plain.items() if name not in _OF_LENGTH}
    return len(tokenizer(text, **whole)["input_ids"]), len(tokenizer(text, **plain)["input_ids"])
