"""Where a pipeline's networks lie, and in which type its VAE decodes."""

from typing import Any

from ..devices import Device
from .components import decoder_of, denoiser_of, networks_of, text_encoders_of
from .hooks import before_call, replace_method
from .stack import CaseImpossibleError


def place(pipeline: Any, case: "dict[str, Any]", device: Device) -> None:
    """Put every network where the case wants it, or have it moved as it is needed.

    Raises:
        CaseImpossibleError: this diffusers, or this pipeline, does not offer that.
    """
    if case["offload"] != "none":
        _offload(pipeline, case["offload"], device)
    else:
        apart = _apart(pipeline, case)
        if not apart:
            pipeline.to(device.kind)
        else:
            for name, network in networks_of(pipeline).items():
                if name not in apart and not _is_placed(network):
                    network.to(device.kind)
            _compute_on(pipeline, device)
    if case["vae_dtype"] != "same" or case["vae_device"] != "same":
        _decode_apart(pipeline, case)
    if case["text_encoder"] == "offloaded":
        _leave_after_encoding(pipeline, device)


def _offload(pipeline: Any, kind: str, device: Device) -> None:
    import torch

    onto = device.kind
    if onto == "cuda" and torch.cuda.current_device():  # diffusers takes the first GPU by itself
        onto = f"cuda:{torch.cuda.current_device()}"
    if kind == "model":
        pipeline.enable_model_cpu_offload(device=onto)
    elif kind == "sequential":
        pipeline.enable_sequential_cpu_offload(device=onto)
    elif not hasattr(pipeline, "enable_group_offload"):
        raise CaseImpossibleError("this diffusers has no enable_group_offload for pipelines")
    else:
        pipeline.enable_group_offload(
            onload_device=torch.device(onto),
            offload_type="block_level",
            num_blocks_per_group=1,
            use_stream=device.kind == "cuda",
        )


def _apart(pipeline: Any, case: "dict[str, Any]") -> "set[str]":
    """The networks that stay on the CPU as long as nothing needs them."""
    apart: "set[str]" = set()
    if case["vae_device"] == "cpu":
        apart.add(_vae_of(pipeline)[0])
    if case["text_encoder"] == "offloaded":
        apart.update(text_encoders_of(pipeline))
    return apart


def _vae_of(pipeline: Any) -> "tuple[str, Any]":
    found = decoder_of(pipeline)
    if found is None:
        raise CaseImpossibleError(f"{type(pipeline).__name__} has no VAE")
    return found


def _is_placed(network: Any) -> bool:
    """Whether its loader has put it where it belongs, as bitsandbytes does."""
    return bool(
        getattr(network, "is_loaded_in_8bit", False) or getattr(network, "is_loaded_in_4bit", False)
    )


def _compute_on(pipeline: Any, device: Device) -> None:
    """Have the pipeline make its tensors on the device, wherever its first network lies.

    diffusers asks any of its networks for the device; newer releases prefer one that is no CPU.
    """
    import torch

    kind = type(pipeline)
    answer = property(lambda _: torch.device(device.kind))
    pipeline.__class__ = type(
        kind.__name__,
        (kind,),
        {"device": answer, "_execution_device": answer, "__module__": kind.__module__},
    )


def _decode_apart(pipeline: Any, case: "dict[str, Any]") -> None:
    """Decode and encode images in another type or on another device than the steps are made in.

    Some pipelines (SDXL on a Mac) cast the VAE back to the type of the latents, so it is cast at
    each call. What an encode gives goes on where, and in the type that, its image came in.
    """
    import torch

    _, vae = _vae_of(pipeline)
    dtype = torch.float32 if case["vae_dtype"] == "float32" else None
    device = "cpu" if case["vae_device"] == "cpu" else None
    if dtype is not None:
        vae.to(dtype)

    def wrapper(decode: Any) -> Any:
        def decode_apart(latents: Any, *args: Any, **kwargs: Any) -> Any:
            if latents.is_meta:  # operations are being counted
                return decode(latents, *args, **kwargs)
            if dtype is not None:
                vae.to(dtype)
            return decode(latents.to(device=device, dtype=dtype), *args, **kwargs)

        return decode_apart

    def encoding(encode: Any) -> Any:
        def encode_apart(image: Any, *args: Any, **kwargs: Any) -> Any:
            if image.is_meta:
                return encode(image, *args, **kwargs)
            if dtype is not None:
                vae.to(dtype)
            encoded = encode(image.to(device=device, dtype=dtype), *args, **kwargs)
            distribution = getattr(encoded, "latent_dist", None)
            if distribution is None:
                raise CaseImpossibleError(
                    f"what a {type(vae).__name__} encodes stays on its device"
                )
            numbers = distribution.parameters.to(device=image.device, dtype=image.dtype)
            encoded.latent_dist = type(distribution)(numbers)
            return encoded

        return encode_apart

    replace_method(vae, "decode", wrapper)
    if callable(getattr(vae, "encode", None)):
        replace_method(vae, "encode", encoding)


def _leave_after_encoding(pipeline: Any, device: Device) -> None:
    """Bring the text encoders to the device for their calls, and away before the first step."""
    encoders = text_encoders_of(pipeline)
    if not encoders:
        raise CaseImpossibleError(f"{type(pipeline).__name__} has no text encoder")

    for encoder in encoders.values():
        before_call(encoder, _mover(encoder, device.kind))
    away = [_mover(encoder, "cpu") for encoder in encoders.values()]

    def leave(_inputs: Any, _named: "dict[str, Any]") -> None:
        for move in away:
            move(_inputs, _named)

    before_call(denoiser_of(pipeline)[1], leave)


def _mover(network: Any, device: str) -> Any:
    def move(_inputs: Any, _named: "dict[str, Any]") -> None:
        lies = next(network.parameters()).device
        if lies.type not in (device, "meta"):
            network.to(device)

    return move
