"""An image as rounding alone makes it: a pipeline on the CPU that rounds as a device does.

An *arithmetic* is ``float16`` or ``bfloat16``, or what NVIDIA GPUs make of float32: ``tf32`` rounds
what convolutions multiply to TF32's ten bits after the binary point, ``tf32-linear`` what linear
layers multiply, too. Sums are float32, as on the device.
"""

from typing import Any, Callable

from .pipelines.calls import PipelineCall
from .pipelines.components import decoder_of, denoiser_of, networks_of
from .pipelines.hooks import Undo, before_call, map_tensors, replace_method
from .trace import on_host

_TF32 = "tf32"
_TF32_UNIT = 2.0**-10
_BITS_THAT_TF32_LACKS = 13  # of float32's 23


def rounding_of(arithmetic: str, pipeline: Any) -> "Rounding":
    """The pipeline, loaded as :func:`loaded_as` says, in this arithmetic."""
    import torch

    if not arithmetic.startswith(_TF32):
        return Rounding(pipeline, getattr(torch, arithmetic))
    return Tf32Rounding(pipeline, linear=arithmetic != _TF32)


def loaded_as(arithmetic: str) -> str:
    """The data type that the weights are rounded to as they are loaded."""
    return "float32" if arithmetic.startswith(_TF32) else arithmetic


class Rounding:
    """A pipeline whose models compute in float32 and round as a half-precision type does.

    The weights are rounded by how it was loaded; inside the context the output of every leaf module
    is rounded too, and latents are of the type itself outside the models. The hooks must be removed
    again: in older diffusers all models share one instance of each activation.
    """

    def __init__(self, pipeline: Any, dtype: Any) -> None:
        import torch

        self.pipeline = pipeline.to(torch.float32)
        self._dtype = dtype
        self._unit = torch.finfo(dtype).eps
        self._undo: "list[Undo]" = []

    def __enter__(self) -> "Rounding":
        self._undo = self._round()
        return self

    def __exit__(self, *_: Any) -> None:
        while self._undo:
            self._undo.pop()()

    def _round(self) -> "list[Undo]":
        undo = _round_outputs(self.pipeline, self._dtype)
        _, denoiser = denoiser_of(self.pipeline)
        undo.append(before_call(denoiser, _in_float32))
        hook = denoiser.register_forward_hook(self._in_its_type)
        undo.append(lambda: hook.remove())
        decoder = decoder_of(self.pipeline)
        if decoder is not None:
            undo.append(replace_method(decoder[1], "decode", _decoding_in_float32))
        return undo

    def _in_its_type(self, _module: Any, _inputs: Any, output: Any) -> Any:
        """Between two calls guidance and the scheduler compute in the type itself."""
        if isinstance(output, tuple):
            return (map_tensors(output[0], self._to_its_type), *output[1:])
        for name in list(output)[:1]:
            setattr(output, name, map_tensors(output[name], self._to_its_type))
        return output

    def _to_its_type(self, tensor: Any) -> Any:
        return tensor.to(self._dtype) if tensor.is_floating_point() else tensor

    def rounded(self, tensor: Any) -> Any:
        """The tensor with every number rounded to the type, in float32."""
        return tensor.to(self._dtype).float()

    def one_unit_away(self, tensor: Any, seed: int) -> Any:
        """Every number moved up or down by about one rounding unit, as ``seed`` says."""
        import torch

        generator = torch.Generator("cpu").manual_seed(seed)
        signs = torch.randint(0, 2, tensor.shape, generator=generator) * 2 - 1
        return self.rounded(tensor * (1 + signs * self._unit / 2))

    def cast(self, noise: Any) -> Any:
        """Initial noise in the type that the latents of a device have."""
        return noise.to(self._dtype)

    def run(self, call: PipelineCall, steps: int, number: int = 0) -> "tuple[Any, Any]":
        """Latents (1, steps + 1, …) and image (1, …) in float32; each number starts elsewhere.

        Number 0 starts from the call's noise, the others one rounding unit away from it.
        """
        import torch

        def begin(noise: Any) -> Any:
            rounded = self.rounded(noise)
            return self.cast(self.one_unit_away(rounded, number - 1) if number else rounded)

        path: "list[Any]" = []
        made = call.make(steps, lambda latents: path.append(on_host(latents)), begin)
        path.insert(0, on_host(call.noise))
        return torch.stack(path, dim=1), on_host(self.rounded(made))


class Tf32Rounding(Rounding):
    """A pipeline in float32 whose convolutions, and linear layers if asked, multiply in TF32.

    The weights stay rounded. What attention multiplies is left alone.
    """

    def __init__(self, pipeline: Any, *, linear: bool) -> None:
        import torch

        super().__init__(pipeline, torch.float32)
        self._unit = _TF32_UNIT
        modules = torch.nn.modules
        convolution = (modules.conv._ConvNd,)
        self._rounds = (*convolution, modules.linear.Linear) if linear else convolution

    def _round(self) -> "list[Undo]":
        undo: "list[Undo]" = []
        for component in networks_of(self.pipeline).values():
            for module in component.modules():
                if isinstance(module, self._rounds):
                    module.weight.data = to_tf32(module.weight.data)
                    undo.append(module.register_forward_pre_hook(_first_to_tf32).remove)
        return undo


def to_tf32(tensor: Any) -> Any:
    """Float32 numbers rounded to the nearest TF32 number, halves away from zero, in float32."""
    import torch

    bits = tensor.contiguous().view(torch.int32)
    half = 1 << (_BITS_THAT_TF32_LACKS - 1)
    rounded = ((bits + half) & -(1 << _BITS_THAT_TF32_LACKS)).view(torch.float32)
    return torch.where(torch.isfinite(tensor), rounded, tensor)


def _first_to_tf32(_module: Any, inputs: Any) -> Any:
    return (to_tf32(inputs[0]), *inputs[1:])


def _in_float32(inputs: Any, named: "dict[str, Any]") -> "tuple[Any, dict[str, Any]]":
    """Latents arrive in half precision; the model computes in float32."""
    return map_tensors(inputs, _to_float32), map_tensors(named, _to_float32)


def _to_float32(tensor: Any) -> Any:
    return tensor.float() if tensor.is_floating_point() else tensor


def _decoding_in_float32(decode: "Callable[..., Any]") -> "Callable[..., Any]":
    return lambda latents, *args, **kwargs: decode(latents.float(), *args, **kwargs)


def _round_outputs(pipeline: Any, dtype: Any) -> "list[Undo]":
    """Round what every leaf module gives, by hooks.

    A VAE that decodes in float32 although all else is float16 is left alone. The hooks must be
    removed again: in older diffusers all models share one instance of each activation.
    """
    import torch

    def round_output(_module: Any, _inputs: Any, output: Any) -> Any:
        is_number = isinstance(output, torch.Tensor) and output.is_floating_point()
        return output.to(dtype).float() if is_number else output

    undo: "list[Undo]" = []
    for name, component in networks_of(pipeline).items():
        if name == "vae" and dtype == torch.float16 and _decodes_in_float32(pipeline):
            continue
        for module in component.modules():
            if next(module.children(), None) is None:
                undo.append(module.register_forward_hook(round_output).remove)
    return undo


def _decodes_in_float32(pipeline: Any) -> bool:
    """SDXL's pipelines do, where the VAE asks for it (every VAE does by default)."""
    is_xl = type(pipeline).__name__.startswith("StableDiffusionXL")
    return is_xl and bool(pipeline.vae.config.force_upcast)
