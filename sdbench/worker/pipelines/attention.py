"""The attention of a denoiser: which implementation computes it, sliced or not, in which type."""

from typing import Any, Iterator

from .components import networks_of
from .effects import Effect
from .hooks import replace_method
from .stack import CaseImpossibleError

# Networks whose attention layers have these take the processors below; others take backends.
_PLAIN = ("AttnProcessor", "AttnProcessor2_0")
_PROCESSORS = {"math": "AttnProcessor", "sdpa": "AttnProcessor2_0"}
_SLICED = ("SlicedAttnProcessor", "SlicedAttnAddedKVProcessor")
# What ``set_attention_backend`` of diffusers calls the values of the axis.
_BACKENDS = {
    "math": "_native_math",
    "sdpa": "native",
    "native-flash": "_native_flash",
    "native-efficient": "_native_efficient",
    "native-cudnn": "_native_cudnn",
    "flash": "flash",
    "flash-3": "_flash_3",
    "sage": "sage",
    "xformers": "xformers",
    "flex": "flex",
}


def set_attention(denoiser: Any, name: str) -> Effect:
    """Have the denoiser's attention computed by another implementation.

    Raises:
        CaseImpossibleError: the environment has no such implementation.
    """
    from torch.nn import functional

    if name == "sdpa" and not hasattr(functional, "scaled_dot_product_attention"):
        raise CaseImpossibleError(
            "this torch has no scaled_dot_product_attention (it came with 2.0)"
        )
    before = _implementations(denoiser)
    processors = [type(processor).__name__ for processor in _processors(denoiser)]
    if name in _PROCESSORS and all(one in _PLAIN for one in processors):
        _set_processor(denoiser, _PROCESSORS[name])
    elif name == "xformers" and hasattr(denoiser, "set_attn_processor"):
        try:
            denoiser.enable_xformers_memory_efficient_attention()
        except (ImportError, ValueError, RuntimeError) as error:
            raise CaseImpossibleError(f"attention {name}: {error}") from error
    elif not hasattr(denoiser, "set_attention_backend"):
        raise CaseImpossibleError(
            f"this diffusers has no set_attention_backend for a {type(denoiser).__name__}"
        )
    else:
        try:
            denoiser.set_attention_backend(_BACKENDS[name])
        except (ImportError, ValueError, RuntimeError) as error:
            raise CaseImpossibleError(f"attention {name}: {error}") from error
    if _implementations(denoiser) == before:
        return Effect(False, "the attention is computed by the same implementation without it")
    return Effect(True)


def _set_processor(denoiser: Any, name: str) -> None:
    from diffusers.models import attention_processor

    processor = getattr(attention_processor, name)
    if hasattr(denoiser, "set_attn_processor"):
        denoiser.set_attn_processor(processor())
        return
    for module in _attention_layers(denoiser):
        module.set_processor(processor())


def _attention_layers(network: Any) -> "Iterator[Any]":
    for module in network.modules():
        if getattr(module, "processor", None) is not None:
            yield module


def _processors(network: Any) -> "Iterator[Any]":
    return (module.processor for module in _attention_layers(network))


def _implementations(network: Any) -> "list[tuple[str, str]]":
    """Class and backend of each attention layer's processor; no backend is torch's own choice."""
    found = []
    for processor in _processors(network):
        backend = getattr(processor, "_attention_backend", None)
        found.append((type(processor).__name__, getattr(backend, "value", None) or "native"))
    return found


def slice_attention(pipeline: Any) -> Effect:
    """Have the attention scores computed in slices; transformers ignore it without a word."""
    networks = networks_of(pipeline).values()
    before = [_implementations(network) for network in networks]
    pipeline.enable_attention_slicing()
    if [_implementations(network) for network in networks] == before:
        return Effect(False, "no network of this pipeline slices its attention")
    return Effect(True)


class Upcast:
    """The denoiser's attention in float32, whatever the case's type.

    ``used``: whether any was computed in another type than it would have been.
    """

    def __init__(self, denoiser: Any) -> None:
        self.used = False
        for layer in _attention_layers(denoiser):
            if hasattr(layer, "upcast_attention"):
                layer.upcast_attention = True
                layer.upcast_softmax = True
                # Only these look at it.
                if type(layer.processor).__name__ in (*_SLICED, "AttnProcessor"):
                    self.used = self.used or _is_half(next(layer.parameters()))
        replace_method(denoiser, "forward", self._upcasting)

    def _upcasting(self, forward: Any) -> Any:
        from torch.nn import functional

        def in_float32(*args: Any, **kwargs: Any) -> Any:
            fused = getattr(functional, "scaled_dot_product_attention", None)
            if fused is None:
                return forward(*args, **kwargs)
            functional.scaled_dot_product_attention = self._wide(fused)
            try:
                return forward(*args, **kwargs)
            finally:
                functional.scaled_dot_product_attention = fused

        return in_float32

    def _wide(self, fused: Any) -> Any:
        def attention(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
            if not _is_half(query):
                return fused(query, key, value, *args, **kwargs)
            self.used = True
            wide = [one.float() for one in (query, key, value)]
            more = [_widened(one) for one in args]
            named = {name: _widened(one) for name, one in kwargs.items()}
            return fused(*wide, *more, **named).to(query.dtype)

        return attention


def _widened(value: Any) -> Any:
    """A mask of numbers in float32, as the products that it is added to are."""
    return value.float() if getattr(value, "dtype", None) is not None and _is_half(value) else value


def _is_half(tensor: Any) -> bool:
    import torch

    return tensor.dtype in (torch.float16, torch.bfloat16)
