"""An image as rounding alone makes it: a pipeline on the CPU that rounds as a device does.

An *arithmetic* is ``float16`` or ``bfloat16``, or what NVIDIA GPUs make of float32: ``tf32`` rounds
what convolutions multiply to TF32's ten bits after the binary point, ``tf32-linear`` what linear
layers multiply, too. Sums are float32, as on the device.
"""

from typing import Any, Callable

from .trace import on_host

_TF32 = "tf32"
_TF32_UNIT = 2.0**-10
_BITS_THAT_TF32_LACKS = 13  # of float32's 23


def run(pipeline: Any, call: "dict[str, Any]", steps: int, step: "Callable[[Any], Any]") -> Any:
    """The pictures; ``step`` sees the latents after each step and may return others."""

    def callback(
        _pipeline: Any, _step: int, _timestep: Any, tensors: "dict[str, Any]"
    ) -> "dict[str, Any]":
        others = step(tensors["latents"])
        return tensors if others is None else dict(tensors, latents=others)

    output = pipeline(**call, num_inference_steps=steps, callback_on_step_end=callback)
    return output.images


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
        self._hooks: "list[Any]" = []

    def __enter__(self) -> "Rounding":
        self._hooks = self._round()
        return self

    def _round(self) -> "list[Any]":
        hooks = _round_outputs(self.pipeline, self._dtype)
        vae = self.pipeline.vae
        for module in (self.pipeline.unet, vae.post_quant_conv, vae.decoder):
            if module is not None:
                hooks.append(module.register_forward_pre_hook(_in_float32))
        hooks.append(self.pipeline.unet.register_forward_hook(self._in_its_type))
        return hooks

    def __exit__(self, *_: Any) -> None:
        for hook in self._hooks:
            hook.remove()

    def _in_its_type(self, _module: Any, _inputs: Any, output: Any) -> Any:
        return (output[0].to(self._dtype), *output[1:])

    def rounded(self, tensor: Any) -> Any:
        """The tensor with every number rounded to the type, in float32."""
        return tensor.to(self._dtype).float()

    def one_unit_away(self, tensor: Any, seed: int) -> Any:
        """Every number moved up or down by about one rounding unit, as ``seed`` says."""
        import torch

        generator = torch.Generator("cpu").manual_seed(seed)
        signs = torch.randint(0, 2, tensor.shape, generator=generator) * 2 - 1
        return self.rounded(tensor * (1 + signs * self._unit / 2))

    def run(self, call: "dict[str, Any]", steps: int, noise: Any) -> "tuple[Any, Any]":
        """Latents (1, steps + 1, …) and picture (1, …) from this noise, in float32."""
        import torch

        path = [noise]

        def step(made: Any) -> None:
            path.append(on_host(made))

        made = run(self.pipeline, dict(call, latents=noise.to(self._dtype)), steps, step)
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

    def _round(self) -> "list[Any]":
        import torch

        hooks = []
        for component in self.pipeline.components.values():
            if isinstance(component, torch.nn.Module):
                for module in component.modules():
                    if isinstance(module, self._rounds):
                        module.weight.data = to_tf32(module.weight.data)
                        hooks.append(module.register_forward_pre_hook(_first_to_tf32))
        return hooks


def to_tf32(tensor: Any) -> Any:
    """Float32 numbers rounded to the nearest TF32 number, halves away from zero, in float32."""
    import torch

    bits = tensor.contiguous().view(torch.int32)
    half = 1 << (_BITS_THAT_TF32_LACKS - 1)
    rounded = ((bits + half) & -(1 << _BITS_THAT_TF32_LACKS)).view(torch.float32)
    return torch.where(torch.isfinite(tensor), rounded, tensor)


def _first_to_tf32(_module: Any, inputs: Any) -> Any:
    return (to_tf32(inputs[0]), *inputs[1:])


def _in_float32(_module: Any, inputs: Any) -> Any:
    """Latents arrive in half precision; the model computes in float32."""
    return (inputs[0].float(), *inputs[1:])


def _round_outputs(pipeline: Any, dtype: Any) -> "list[Any]":
    """Round what every leaf module gives, by hooks.

    A VAE that decodes in float32 although all else is float16 is left alone.
    """
    import torch

    def round_output(_module: Any, _inputs: Any, output: Any) -> Any:
        is_number = isinstance(output, torch.Tensor) and output.is_floating_point()
        return output.to(dtype).float() if is_number else output

    hooks = []
    for name, component in pipeline.components.items():
        if not isinstance(component, torch.nn.Module):
            continue
        if name == "vae" and dtype == torch.float16 and _decodes_in_float32(pipeline):
            continue
        for module in component.modules():
            if next(module.children(), None) is None:
                hooks.append(module.register_forward_hook(round_output))
    return hooks


def _decodes_in_float32(pipeline: Any) -> bool:
    """SDXL's pipeline does, where the VAE asks for it (every VAE does by default)."""
    is_xl = type(pipeline).__name__ == "StableDiffusionXLPipeline"
    return is_xl and bool(pipeline.vae.config.force_upcast)
