"""How many floating-point operations a pipeline call takes, from the shapes alone.

While the profiling pass runs, what its networks are called with is noted: shapes and types, and the
values of whole numbers and masks. Afterwards each kind of call is made once more under
torch.utils.flop_counter. That counts products, convolutions and attention, a multiply-add as two.
So nothing is timed with a counter in its way, and attention slicing, batches and tiles are counted
as they were called.

The calls are made with weights on the meta device, where nothing is computed. There fused attention
falls apart into its products, whatever kernel a device has for it: the kernels of some devices
(mps, the CPU) are unknown to the counter. A network that looks at its numbers on the way (at a
mask's length) cannot be called so; it is called once with its own weights, random inputs and
attention as products.
"""

from typing import Any, Callable

from .pipelines.compiled import uncompiled
from .pipelines.components import decoder_of, denoiser_of, text_encoders_of
from .pipelines.hooks import Undo, map_tensors, replace_method

_STAGES = ("text_encoder", "vae_encode", "denoising", "vae_decode")
_NO_COUNTER = "this torch has no flop counter (it came with 2.1)"


class NetworkCalls:
    """Notes how the networks of a pipeline are called; a context manager around one call."""

    def __init__(self, pipeline: Any) -> None:
        # Networks and the method that a pipeline calls, by the stage they belong to.
        self._methods = [
            ("text_encoder", encoder, "forward") for encoder in text_encoders_of(pipeline).values()
        ]
        self._methods.append(("denoising", denoiser_of(pipeline)[1], "forward"))
        decoder = decoder_of(pipeline)
        if decoder is not None:
            self._methods.append(("vae_decode", decoder[1], "decode"))
            if callable(getattr(decoder[1], "encode", None)):
                self._methods.append(("vae_encode", decoder[1], "encode"))
        self._undo: "list[Undo]" = []
        self._noted: "dict[str, _Call]" = {}

    def __enter__(self) -> "NetworkCalls":
        for stage, network, method in self._methods:
            self._undo.append(replace_method(network, method, self._noting(stage, network, method)))
        return self

    def __exit__(self, *_: Any) -> None:
        while self._undo:
            self._undo.pop()()

    def count(self, calls: int) -> "dict[str, Any]":
        """The operations by stage, and of a pass of so many pipeline calls; or why not."""
        try:
            from torch.utils.flop_counter import FlopCounterMode  # noqa: F401
        except ImportError:
            return {"flops": None, "reason": _NO_COUNTER}
        import torch

        stages = dict.fromkeys(_STAGES, 0)
        try:
            with torch.no_grad():
                for call in self._noted.values():
                    stages[call.stage] += call.times * _operations(call)
        except Exception as error:  # whatever a library does with such inputs
            reason = f"{type(error).__name__} while counting: {str(error)[:200]}"
            return {"flops": None, "reason": reason}
        return {"flops": {**stages, "measured_pass": calls * sum(stages.values())}}

    def _noting(
        self, stage: str, network: Any, method: str
    ) -> "Callable[[Callable[..., Any]], Callable[..., Any]]":
        def wrapper(original: "Callable[..., Any]") -> "Callable[..., Any]":
            def noting(*args: Any, **kwargs: Any) -> Any:
                key = f"{id(network)} {_shape_of((args, kwargs))}"
                if key not in self._noted:
                    noted = map_tensors((args, kwargs), _noted_value)
                    self._noted[key] = _Call(stage, network, method, *noted)
                self._noted[key].times += 1
                return original(*args, **kwargs)

            return noting

        return wrapper


class _Call:
    """A kind of call, and how often it was made."""

    def __init__(self, stage: str, network: Any, method: str, args: Any, kwargs: Any) -> None:
        self.stage = stage
        self.network = uncompiled(network)
        self.method = method
        self.args = args
        self.kwargs = kwargs
        self.times = 0


def _shape_of(value: Any) -> str:
    return repr(map_tensors(value, lambda tensor: (tuple(tensor.shape), tensor.dtype)))


def _noted_value(tensor: Any) -> Any:
    """Numbers as their shape and type; what decides the course of a call (ids, masks) whole."""
    import torch

    if tensor.is_floating_point() or tensor.is_complex():
        return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
    return tensor.detach().cpu()


def _operations(call: _Call) -> int:
    """The operations of one call."""
    _without_offloading(call.network)
    try:
        return _on_meta(call)
    except Exception:  # it looks at its numbers, or holds tensors that are not registered
        return _where_it_is(call)


def _on_meta(call: _Call) -> int:
    """In float32: the VAE of SDXL is moved to another type for its call only."""
    import torch
    from torch.func import functional_call
    from torch.utils.flop_counter import FlopCounterMode

    def without_data(tensor: Any) -> Any:
        dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
        return torch.empty(tensor.shape, dtype=dtype, device="meta")

    module = _as_module(call.network, call.method)
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    weights = {name: without_data(tensor) for name, tensor in state.items()}
    args, kwargs = map_tensors((call.args, call.kwargs), without_data)
    with FlopCounterMode(display=False) as counter:
        functional_call(module, weights, args, kwargs)
    return int(counter.get_total_flops())


def _where_it_is(call: _Call) -> int:
    """With the weights that it has and random numbers."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    device = next(call.network.parameters()).device

    def with_data(tensor: Any) -> Any:
        if tensor.is_meta:
            return torch.randn(tensor.shape, dtype=tensor.dtype, device=device)
        return tensor.to(device)

    args, kwargs = map_tensors((call.args, call.kwargs), with_data)
    fused = torch.nn.functional.scaled_dot_product_attention
    torch.nn.functional.scaled_dot_product_attention = _attention_as_products
    try:
        with FlopCounterMode(display=False) as counter:
            getattr(call.network, call.method)(*args, **kwargs)
    finally:
        torch.nn.functional.scaled_dot_product_attention = fused
    return int(counter.get_total_flops())


def _attention_as_products(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> Any:
    """The two products of attention; masks change no count."""
    if key.shape[-3] != query.shape[-3]:  # heads that share keys
        shared = query.shape[-3] // key.shape[-3]
        key, value = (one.repeat_interleave(shared, dim=-3) for one in (key, value))
    return (query @ key.transpose(-2, -1)).softmax(dim=-1) @ value


def _as_module(network: Any, method: str) -> Any:
    """A module whose forward is a method of the network, with the network's weights."""
    import torch

    class Method(torch.nn.Module):  # type: ignore[misc]  # torch is not there to be checked
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return getattr(self.network, method)(*args, **kwargs)

    return Method()


def _without_offloading(network: Any) -> None:
    """Take offloading's hooks away, which would bring the weights to a device."""
    if any(hasattr(module, "_hf_hook") for module in network.modules()):
        from accelerate.hooks import remove_hook_from_module

        remove_hook_from_module(network, recurse=True)
