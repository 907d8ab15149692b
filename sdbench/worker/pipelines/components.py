"""Which component of a pipeline does what, whatever the pipeline's family calls it."""

import inspect
from typing import Any, Optional, Tuple

_DENOISERS = ("unet", "transformer")
_NO_DENOISER = ("text_encoder", "image_encoder", "safety_checker", "vae", "vqvae", "movq", "vqgan")


def networks_of(pipeline: Any) -> "dict[str, Any]":
    """The components that are networks, by name."""
    import torch

    return {
        name: part
        for name, part in pipeline.components.items()
        if isinstance(part, torch.nn.Module)
    }


def denoiser_of(pipeline: Any) -> "Tuple[str, Any]":
    """Name and module of the network that is called in every denoising step.

    Raises:
        LookupError: the pipeline has no such network.
    """
    networks = networks_of(pipeline)
    for name in _DENOISERS:
        if name in networks:
            return name, networks[name]
    others = [
        (sum(weight.numel() for weight in network.parameters()), name)
        for name, network in networks.items()
        if not name.startswith(_NO_DENOISER)
    ]
    if not others:
        raise LookupError(f"{type(pipeline).__name__} has no network that could be a denoiser")
    name = max(others)[1]
    return name, networks[name]


def decoder_of(pipeline: Any) -> "Optional[Tuple[str, Any]]":
    """Name and module of the network that makes the image; None: the denoiser makes it itself."""
    for name, network in networks_of(pipeline).items():
        if name.startswith(_NO_DENOISER[3:]) and callable(getattr(network, "decode", None)):
            return name, network
    return None


def text_encoders_of(pipeline: Any) -> "dict[str, Any]":
    """The text encoders, by name."""
    return {
        name: network
        for name, network in networks_of(pipeline).items()
        if name.startswith("text_encoder")
    }


# What every text-to-image pipeline of diffusers takes.
_USUAL_OPTIONS = ("prompt", "width", "height", "guidance_scale", "generator", "output_type")


def call_options(kind: Any) -> "frozenset[str]":
    """Names of the options that a pipeline class can be called with.

    A call that takes any keyword (a class that somebody has wrapped) is taken to accept what every
    text-to-image pipeline accepts.
    """
    parameters = inspect.signature(kind.__call__).parameters
    open_ended = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    return frozenset(parameters) | frozenset(_USUAL_OPTIONS if open_ended else ())
