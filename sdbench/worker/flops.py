"""How many floating-point operations a pipeline call takes, from the shapes alone.

While the profiling pass runs, what its networks are called with is noted: shapes and types, no
data. Afterwards the networks are moved to the meta device, where a call computes nothing, and each
kind of call is made once more under torch.utils.flop_counter. That counts products, convolutions
and attention, a multiply-add as two. So nothing is timed with a counter in its way, and attention
slicing, batches and tiles are counted as they were called.

On the meta device fused attention falls apart into its products, whatever kernel a device has for
it: the kernels of some devices (mps, the CPU) are unknown to the counter.
"""

from typing import Any, Callable

from .pipelines.components import decoder_of, denoiser_of, text_encoders_of
from .pipelines.hooks import Undo, map_tensors, replace_method

_STAGES = ("text_encoder", "denoising", "vae_decode")
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
        """The operations by stage, and of a pass of so many pipeline calls; or why not.

        Afterwards the networks are of no more use: their weights are gone.
        """
        try:
            from torch.utils.flop_counter import FlopCounterMode
        except ImportError:
            return {"flops": None, "reason": _NO_COUNTER}
        import torch

        stages = dict.fromkeys(_STAGES, 0)
        try:
            for _, network, _ in self._methods:
                _to_meta(network)
            with torch.no_grad():
                for call in self._noted.values():
                    with FlopCounterMode(display=False) as counter:
                        getattr(call.network, call.method)(*call.args, **call.kwargs)
                    stages[call.stage] += call.times * counter.get_total_flops()
        except Exception as error:  # whatever a library does on the meta device
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
                    on_meta = _on_meta(args), _on_meta(kwargs)
                    self._noted[key] = _Call(stage, network, method, *on_meta)
                self._noted[key].times += 1
                return original(*args, **kwargs)

            return noting

        return wrapper


class _Call:
    """A kind of call, and how often it was made."""

    def __init__(self, stage: str, network: Any, method: str, args: Any, kwargs: Any) -> None:
        self.stage = stage
        self.network = network
        self.method = method
        self.args = args
        self.kwargs = kwargs
        self.times = 0


def _shape_of(value: Any) -> str:
    return repr(map_tensors(value, lambda tensor: (tuple(tensor.shape), tensor.dtype)))


def _on_meta(value: Any) -> Any:
    """In float32: the VAE of SDXL is moved to another type for its call only."""
    import torch

    def without_data(tensor: Any) -> Any:
        dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
        return torch.empty(tensor.shape, dtype=dtype, device="meta")

    return map_tensors(value, without_data)


def _to_meta(network: Any) -> None:
    """Without its hooks for offloading, which would bring the weights to a device."""
    import torch

    if any(hasattr(module, "_hf_hook") for module in network.modules()):
        from accelerate.hooks import remove_hook_from_module

        remove_hook_from_module(network, recurse=True)
    network.to(device="meta", dtype=torch.float32)
