"""Recognises, from the operators alone, where one run of a diffusion pipeline ends and the next begins.

The signals, all of them ops that the Stable Diffusion pipelines cannot do without:

- ``embedding``: the text encoder looks up its tokens, before the first step.
- ``sin``: the UNet embeds its timestep, once per step. The embedding's first frequency is 1, so the first
  number of the operand is the timestep itself; within a pass it never rises.
- ``convolution`` to three channels: the VAE decoder's last layer, after the last step (several times when
  the decode is sliced or tiled).
- ``cat`` of a 4-D tensor with itself: guidance doubles the latents. Without it, "two pictures" and "one
  picture with guidance" would look the same to the UNet.

So a pass begins with a token look-up or a timestep after steps have been taken or a picture decoded, or
with a timestep that rose. Pipelines called in a loop are one pass each.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from .interception import Interceptor, OperatorCall, host_view

_RGB = 3


class PassWatcher:
    """Where the pipeline is. Effects read it; nothing here changes a result."""

    def __init__(self, interceptor: Interceptor) -> None:
        self.number = 0
        """The pass going on, counted from 1; 0 before the first."""
        self.pictures = 1
        """How many pictures the UNet works on, guidance taken out."""
        self.in_unet = False
        """Whether the convolution going on is one of the UNet's."""
        self.at_unet_output = False
        """Whether it is the UNet's last: back to as many channels as the latents have."""
        self._at_begin: list[Callable[[int], None]] = []
        self._timesteps: dict[int, float] = {}
        self._decoded = False
        self._guided_pictures = 0
        self._timestep_embedded = False
        self._latent_channels = 0
        interceptor.before("aten::embedding", self._see_embedding)
        interceptor.before("aten::sin", self._see_sin)
        interceptor.before("aten::cat", self._see_cat)
        interceptor.before("aten::convolution", self._see_convolution)

    def at_begin(self, act: Callable[[int], None]) -> None:
        """Calls ``act`` with the number of each pass as it begins."""
        self._at_begin.append(act)

    def _begin(self) -> None:
        self.number += 1
        self._timesteps.clear()
        self._decoded = False
        for act in self._at_begin:
            act(self.number)

    def _see_embedding(self, call: OperatorCall) -> None:
        if self.number == 0 or self._timesteps:
            self._begin()

    def _see_sin(self, call: OperatorCall) -> None:
        operand: torch.Tensor = call.arguments[0]
        if operand.dim() != 2 or operand.numel() == 0:
            return
        # SDXL embeds its picture sizes in the same way, with more rows: they are followed separately.
        rows, timestep = operand.shape[0], float(host_view(operand)[0, 0])
        if self.number == 0 or self._decoded or timestep > self._timesteps.get(rows, float("inf")):
            self._begin()
        self._timesteps[rows] = timestep
        self._timestep_embedded = True

    def _see_cat(self, call: OperatorCall) -> None:
        parts = call.arguments[0]
        if len(parts) == 2 and parts[0].dim() == 4 and parts[0].data_ptr() == parts[1].data_ptr():
            self._guided_pictures = parts[0].shape[0]

    def _see_convolution(self, call: OperatorCall) -> None:
        operand, weight = call.arguments[0], call.arguments[1]
        if self._timestep_embedded:
            self._timestep_embedded = False
            self.in_unet, self.at_unet_output = True, False
            self.pictures = self._guided_pictures or operand.shape[0]
            self._guided_pictures = 0
            self._latent_channels = operand.shape[1]
            return
        self.in_unet = self.in_unet and not self.at_unet_output
        self.at_unet_output = self.in_unet and weight.shape[0] == self._latent_channels
        if not self.in_unet and weight.dim() == 4 and weight.shape[0] == _RGB:
            self._decoded = bool(self._timesteps)
