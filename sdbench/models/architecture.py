"""Names and shapes of every stored tensor of the synthetic models' networks, without torch.

The synthetic models must be byte-identical on every platform and under every diffusers release,
so their parameter lists cannot come from whichever classes happen to be installed (transformers 5,
for one, renamed the text encoder's). The names here are those of the published checkpoints, which
old and new releases both read; a test compares them with the real classes.

The networks of Stable Diffusion are described by functions, all others by a table in ``data``,
which ``tools/make_architectures.py`` writes.

Shapes follow torch: linear weights are (out, in), convolutions (out, in, height, width).
"""

import functools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TABLES = Path(__file__).parent / "data" / "architectures.json"

Parameter = tuple[str, tuple[int, ...]]
Parameters = Iterator[Parameter]


def _linear(name: str, inputs: int, outputs: int, *, bias: bool = True) -> Parameters:
    yield f"{name}.weight", (outputs, inputs)
    if bias:
        yield f"{name}.bias", (outputs,)


def _conv(name: str, inputs: int, outputs: int, kernel: int = 3) -> Parameters:
    yield f"{name}.weight", (outputs, inputs, kernel, kernel)
    yield f"{name}.bias", (outputs,)


def _norm(name: str, width: int) -> Parameters:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _resnet(name: str, inputs: int, outputs: int, time_width: int | None) -> Parameters:
    yield from _norm(f"{name}.norm1", inputs)
    yield from _conv(f"{name}.conv1", inputs, outputs)
    if time_width is not None:
        yield from _linear(f"{name}.time_emb_proj", time_width, outputs)
    yield from _norm(f"{name}.norm2", outputs)
    yield from _conv(f"{name}.conv2", outputs, outputs)
    if inputs != outputs:
        yield from _conv(f"{name}.conv_shortcut", inputs, outputs, kernel=1)


def _cross_attention(name: str, width: int, context: int) -> Parameters:
    yield from _linear(f"{name}.to_q", width, width, bias=False)
    yield from _linear(f"{name}.to_k", context, width, bias=False)
    yield from _linear(f"{name}.to_v", context, width, bias=False)
    yield from _linear(f"{name}.to_out.0", width, width)


def _transformer(
    name: str, width: int, context: int, depth: int, *, linear_projection: bool
) -> Parameters:
    def project(which: str) -> Parameters:
        if linear_projection:
            return _linear(f"{name}.{which}", width, width)
        return _conv(f"{name}.{which}", width, width, kernel=1)

    yield from _norm(f"{name}.norm", width)
    yield from project("proj_in")
    for layer in range(depth):
        block = f"{name}.transformer_blocks.{layer}"
        yield from _norm(f"{block}.norm1", width)
        yield from _cross_attention(f"{block}.attn1", width, width)
        yield from _norm(f"{block}.norm2", width)
        yield from _cross_attention(f"{block}.attn2", width, context)
        yield from _norm(f"{block}.norm3", width)
        yield from _linear(f"{block}.ff.net.0.proj", width, 8 * width)
        yield from _linear(f"{block}.ff.net.2", 4 * width, width)
    yield from project("proj_out")


@dataclass(frozen=True)
class UNet:
    """A ``UNet2DConditionModel``: ``depths[i]`` transformer layers at level i, 0 for none."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    context: int
    layers_per_block: int = 2
    linear_projection: bool = False
    added_embedding: int | None = None
    guidance_embedding: int | None = None
    """Width of the embedded guidance scale of a latent consistency model."""

    def parameters(self) -> Parameters:
        """Every parameter, in no particular order."""
        first, deepest = self.widths[0], self.widths[-1]
        time_width = 4 * first
        yield from _conv("conv_in", 4, first)
        yield from _linear("time_embedding.linear_1", first, time_width)
        yield from _linear("time_embedding.linear_2", time_width, time_width)
        if self.guidance_embedding is not None:
            yield from _linear(
                "time_embedding.cond_proj", self.guidance_embedding, first, bias=False
            )
        if self.added_embedding is not None:
            yield from _linear("add_embedding.linear_1", self.added_embedding, time_width)
            yield from _linear("add_embedding.linear_2", time_width, time_width)
        yield from self._down(time_width)
        middle_depth = max(self.depths)
        yield from _resnet("mid_block.resnets.0", deepest, deepest, time_width)
        yield from self._attention("mid_block.attentions.0", deepest, middle_depth)
        yield from _resnet("mid_block.resnets.1", deepest, deepest, time_width)
        yield from self._up(time_width)
        yield from _norm("conv_norm_out", first)
        yield from _conv("conv_out", first, 4)

    def _attention(self, name: str, width: int, depth: int) -> Parameters:
        return _transformer(
            name, width, self.context, depth, linear_projection=self.linear_projection
        )

    def _down(self, time_width: int) -> Parameters:
        inputs = self.widths[0]
        for level, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True)):
            block = f"down_blocks.{level}"
            for layer in range(self.layers_per_block):
                yield from _resnet(f"{block}.resnets.{layer}", inputs, width, time_width)
                if depth:
                    yield from self._attention(f"{block}.attentions.{layer}", width, depth)
                inputs = width
            if level < len(self.widths) - 1:
                yield from _conv(f"{block}.downsamplers.0.conv", width, width)

    def _up(self, time_width: int) -> Parameters:
        skips = self._skip_widths()
        inputs = self.widths[-1]
        levels = list(zip(self.widths, self.depths, strict=True))[::-1]
        for level, (width, depth) in enumerate(levels):
            block = f"up_blocks.{level}"
            for layer in range(self.layers_per_block + 1):
                joined = inputs + skips.pop()
                yield from _resnet(f"{block}.resnets.{layer}", joined, width, time_width)
                if depth:
                    yield from self._attention(f"{block}.attentions.{layer}", width, depth)
                inputs = width
            if level < len(self.widths) - 1:
                yield from _conv(f"{block}.upsamplers.0.conv", width, width)

    def _skip_widths(self) -> list[int]:
        """Widths of the skip connections, in the order the down path makes them."""
        skips = [self.widths[0]]
        for level, width in enumerate(self.widths):
            skips += [width] * self.layers_per_block
            if level < len(self.widths) - 1:
                skips.append(width)
        return skips


@dataclass(frozen=True)
class VAE:
    """An ``AutoencoderKL`` with a single attention layer in the middle.

    SD 1.x and SDXL have a convolution before and after the latents, later families have none.
    """

    widths: tuple[int, ...]
    layers_per_block: int = 2
    latent_channels: int = 4
    quant_convs: bool = True

    def parameters(self) -> Parameters:
        """Every parameter, in no particular order."""
        z, deepest = self.latent_channels, self.widths[-1]
        yield from _conv("encoder.conv_in", 3, self.widths[0])
        yield from self._levels("encoder.down_blocks", self.widths, self.layers_per_block, "down")
        yield from self._middle("encoder.mid_block", deepest)
        yield from _norm("encoder.conv_norm_out", deepest)
        yield from _conv("encoder.conv_out", deepest, 2 * z)
        if self.quant_convs:
            yield from _conv("quant_conv", 2 * z, 2 * z, kernel=1)
            yield from _conv("post_quant_conv", z, z, kernel=1)
        yield from _conv("decoder.conv_in", z, deepest)
        yield from self._middle("decoder.mid_block", deepest)
        upward = self.widths[::-1]
        yield from self._levels("decoder.up_blocks", upward, self.layers_per_block + 1, "up")
        yield from _norm("decoder.conv_norm_out", self.widths[0])
        yield from _conv("decoder.conv_out", self.widths[0], 3)

    @staticmethod
    def _levels(name: str, widths: Sequence[int], layers: int, direction: str) -> Parameters:
        inputs = widths[0]
        for level, width in enumerate(widths):
            for layer in range(layers):
                yield from _resnet(f"{name}.{level}.resnets.{layer}", inputs, width, None)
                inputs = width
            if level < len(widths) - 1:
                yield from _conv(f"{name}.{level}.{direction}samplers.0.conv", width, width)

    @staticmethod
    def _middle(name: str, width: int) -> Parameters:
        yield from _resnet(f"{name}.resnets.0", width, width, None)
        yield from _norm(f"{name}.attentions.0.group_norm", width)
        for projection in ("to_q", "to_k", "to_v", "to_out.0"):
            yield from _linear(f"{name}.attentions.0.{projection}", width, width)
        yield from _resnet(f"{name}.resnets.1", width, width, None)


@dataclass(frozen=True)
class TextEncoder:
    """A ``CLIPTextModel`` (``projection`` adds the text projection of SDXL's second encoder)."""

    width: int
    layers: int
    heads: int
    vocabulary: int = 49408
    positions: int = 77
    activation: str = "quick_gelu"
    projection: int | None = None

    def parameters(self) -> Parameters:
        """Every parameter, in no particular order."""
        width = self.width
        yield "text_model.embeddings.token_embedding.weight", (self.vocabulary, width)
        yield "text_model.embeddings.position_embedding.weight", (self.positions, width)
        for index in range(self.layers):
            layer = f"text_model.encoder.layers.{index}"
            for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
                yield from _linear(f"{layer}.self_attn.{projection}", width, width)
            yield from _norm(f"{layer}.layer_norm1", width)
            yield from _norm(f"{layer}.layer_norm2", width)
            yield from _linear(f"{layer}.mlp.fc1", width, 4 * width)
            yield from _linear(f"{layer}.mlp.fc2", 4 * width, width)
        yield from _norm("text_model.final_layer_norm", width)
        if self.projection is not None:
            yield from _linear("text_projection", width, self.projection, bias=False)


@dataclass(frozen=True)
class Tabled:
    """A network whose tensors are listed under ``name`` in :data:`TABLES`."""

    name: str

    def parameters(self) -> Parameters:
        """Every stored tensor, in no particular order."""
        return unfold(_tables()[self.name])


@functools.cache
def _tables() -> dict[str, Any]:
    tables: dict[str, Any] = json.loads(TABLES.read_text(encoding="utf-8"))
    return tables


def unfold(tree: dict[str, Any], prefix: str = "") -> Parameters:
    """Names and shapes of a tree whose keys are the parts of the names between dots.

    A key ``0..18`` stands for the layers 0 to 18, which are alike.
    """
    for key, below in tree.items():
        for part in _layers(key):
            if isinstance(below, list):
                yield prefix + part, tuple(below)
            else:
                yield from unfold(below, f"{prefix}{part}.")


def _layers(key: str) -> list[str]:
    first, dots, last = key.partition("..")
    return [str(index) for index in range(int(first), int(last) + 1)] if dots else [key]


Network = UNet | VAE | TextEncoder | Tabled


def stored_as(name: str) -> tuple[str, int]:
    """The safetensors type of a tensor and its bytes per element: float16, but for a counter."""
    return ("I64", 8) if name.endswith("num_batches_tracked") else ("F16", 2)


def stored_bytes(network: Network) -> int:
    """Size of the network's tensors as stored."""
    return sum(stored_as(name)[1] * math.prod(shape) for name, shape in network.parameters())


def parameter_count(network: Network) -> int:
    """How many numbers the network's tensors hold."""
    return sum(math.prod(shape) for _, shape in network.parameters())
