"""How much memory a network needs in addition to its weights while it runs, from the shapes in its
configuration.

Numbers of elements, not bytes. They follow what PyTorch keeps alive in diffusers' modules, line by
line, when no gradients are kept: a residual and the input of a block are held by its caller, skip
connections by the U-Net, and a convolution may hold a copy of its input and its output in another
layout. ``tests/benchmarks/memory_prediction.py`` compares them with real runs; the numbers of the
transformers were counted on the meta device at full size (diffusers 0.42).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sdbench.models.networks import Network

Shapes = Mapping[str, Any]

# Of one transformer layer of a U-Net, in its width for each token: the input held outside, its
# residual, the norm, and a gated feed-forward of 4 widths (8 projected, 4 gated, 4 multiplied).
_UNET_FEED_FORWARD = 21
_UNET_ATTENTION = 7  # input, residual, norm, query, key, value, result
# Scores and their softmax.
_SCORES = 2
# Of a whole denoiser that is a transformer, in its width for each token.
_TRANSFORMER = {
    "SD3Transformer2DModel": 13,
    "FluxTransformer2DModel": 18,
    "Flux2Transformer2DModel": 23,
    "ZImageTransformer2DModel": 17,
}
# Twice what the widest of the above takes.
_UNKNOWN_TRANSFORMER = 45
# For each pixel of the image: an AutoencoderKL of 128 to 512 channels has 1,216.
_UNKNOWN_DECODER = 2_400
# For each latent pixel and image, where nothing is known of a denoiser: SD 1.5 has 8,300.
_UNKNOWN_DENOISER = 35_000
_UNKNOWN_TEXT_ENCODER = 1_000_000  # for each token
_DEFAULT_SCALE = 8
_DEFAULT_TILE = 512


class Elements(NamedTuple):
    """Numbers held at the highest point; ``known`` is False where no shapes were to be had."""

    total: float
    known: bool = True


def latent_scale(vae: Network | None) -> int:
    """Pixels of the image along one side of a latent pixel."""
    config = {} if vae is None else vae.config
    for name in ("block_out_channels", "decoder_block_out_channels"):
        widths = _widths(config.get(name))
        if widths:
            return int(2 ** (len(widths) - 1))
    return _DEFAULT_SCALE


# --- denoisers ------------------------------------------------------------------------------


def denoiser_elements(
    network: Network,
    vae: Network | None,
    width: int,
    height: int,
    samples: int,
    text_tokens: int,
    *,
    whole_scores: bool,
    sliced: bool,
    joined_images: int = 0,
) -> Elements:
    """Of one call of the denoiser.

    Args:
        width, height: of the image in pixels.
        samples: images, twice as many where they are guided.
        text_tokens: tokens of the prompt that a transformer joins to the image's.
        whole_scores: attention holds all its scores, as where it is not fused.
        sliced: attention slicing, which reaches U-Nets only and always holds scores.
        joined_images: input images of this size whose tokens a transformer joins as well.
    """
    scale = latent_scale(vae)
    if network.class_name == "UNet2DConditionModel":
        widths = _widths(network.config.get("block_out_channels"))
        if widths:
            unet = _UNet(network.config, widths, width // scale, height // scale)
            return Elements(unet.elements(samples, whole_scores=whole_scores, sliced=sliced))
        return Elements(_UNKNOWN_DENOISER * samples * width * height / scale**2, known=False)
    hidden, heads = _transformer_width(network.config)
    if not hidden:
        return Elements(_UNKNOWN_DENOISER * samples * width * height / scale**2, known=False)
    side = scale * _patch(network.config, vae)
    tokens = samples * ((1 + joined_images) * width * height / side**2 + text_tokens)
    per_token = _TRANSFORMER.get(network.class_name)
    count = (per_token or _UNKNOWN_TRANSFORMER) * hidden * tokens
    if whole_scores:
        count += _SCORES * heads * tokens**2 / samples
    return Elements(count, known=per_token is not None)


class _UNet:
    """The highest points of a ``UNet2DConditionModel``, block by block."""

    def __init__(
        self, config: Shapes, widths: Sequence[int], latent_width: int, latent_height: int
    ) -> None:
        self._widths = widths
        self._tokens: list[float] = [
            latent_width * latent_height / 4**level for level in range(len(widths))
        ]
        self._layers = _per_level(config.get("layers_per_block"), len(widths), 2)
        # A head's size by its name, and the number of heads by what diffusers does with it.
        heads = config.get("num_attention_heads") or config.get("attention_head_dim")
        self._heads = _per_level(heads, len(widths), 8)
        kinds = config.get("down_block_types")
        self._attends = [
            not isinstance(kinds, list) or level >= len(kinds) or "Attn" in str(kinds[level])
            for level in range(len(widths))
        ]
        self._skips = [widths[0] * self._tokens[0]]
        for level, width in enumerate(widths):
            self._skips += [width * self._tokens[level]] * self._layers[level]
            if level < len(widths) - 1:
                self._skips.append(width * self._tokens[level + 1])

    def elements(self, samples: int, *, whole_scores: bool, sliced: bool) -> float:
        scores = [self._scores(level, samples, whole_scores, sliced) for level in self._levels()]
        return max([*self._down(samples, scores), *self._up(samples, scores)])

    def _levels(self) -> range:
        return range(len(self._widths))

    def _scores(self, level: int, samples: int, whole: bool, sliced: bool) -> float:
        """What attention holds of scores: of all heads and samples, or of half the heads."""
        heads = self._heads[level]
        together = max(1, heads // 2) if sliced else samples * heads if whole else 0
        return _SCORES * together * self._tokens[level] ** 2

    def _attention(self, level: int, samples: int, scores: Sequence[float]) -> float:
        if not self._attends[level]:
            return 0.0
        each = samples * self._widths[level] * self._tokens[level]
        return max(_UNET_FEED_FORWARD * each, _UNET_ATTENTION * each + scores[level])

    def _down(self, samples: int, scores: Sequence[float]) -> list[float]:
        """The way down, with the skip connections so far, and the middle with all of them."""
        found, held, inputs, skip = [], self._skips[0], self._widths[0], 1
        for level in self._levels():
            width, tokens = self._widths[level], self._tokens[level]
            for _ in range(self._layers[level]):
                resnet = _resnet(inputs, width) * tokens
                highest = max(samples * resnet, self._attention(level, samples, scores))
                found.append(samples * held + highest)
                held, skip, inputs = held + self._skips[skip], skip + 1, width
            if level < len(self._widths) - 1:
                held, skip = held + self._skips[skip], skip + 1
        last = len(self._widths) - 1
        middle = samples * _resnet(inputs, inputs) * self._tokens[last]
        attention = samples * _UNET_FEED_FORWARD * inputs * self._tokens[last]
        return [*found, samples * held + max(middle, attention + scores[last])]

    def _up(self, samples: int, scores: Sequence[float]) -> list[float]:
        """The way up: a block's skip connections and its input are held until it ends."""
        found = []
        left = [size / self._tokens[0] for size in self._skips]  # per latent pixel
        below = self._widths[-1] * self._tokens[-1]
        inputs = self._widths[-1]
        for level in reversed(self._levels()):
            width, tokens, count = self._widths[level], self._tokens[level], self._layers[level] + 1
            held = sum(left) * self._tokens[0] + below
            for _ in range(count):
                joined = inputs + left.pop() * self._tokens[0] / tokens if left else inputs
                resnet = samples * _resnet(joined, width) * tokens
                highest = max(resnet, self._attention(level, samples, scores))
                found.append(samples * held + highest)
                inputs = width
            if level:
                above = self._tokens[level - 1]
                found.append(samples * (held + width * tokens + 4 * width * above))
                below = width * above
        return found


def _resnet(inputs: float, outputs: float) -> float:
    """Channels that a residual block holds for each pixel, its own input included.

    The norm and its activation; the first convolution with its input and output in another layout;
    the second one; the shortcut.
    """
    return max(
        3 * inputs + 2 * outputs,
        inputs + 4 * outputs,
        2 * inputs + 3 * outputs if inputs != outputs else 0,
    )


def _transformer_width(config: Shapes) -> tuple[int, int]:
    """Width of a token, and heads; 0 where the configuration has no such name."""
    heads = _number(config, "num_attention_heads", "n_heads", "num_heads")
    size = _number(config, "attention_head_dim", "head_dim")
    wide = _number(config, "inner_dim", "dim", "hidden_size", "hidden_dim", "d_model")
    return max(wide, heads * size), max(heads, 1)


def _patch(config: Shapes, vae: Network | None) -> int:
    """Latent pixels along one side of a token: by patch, or packed two by two before."""
    patch = _number(config, "patch_size") or max(_widths(config.get("all_patch_size")), default=1)
    channels = _number(config, "in_channels")
    latent = _number({} if vae is None else vae.config, "latent_channels")
    packed = patch == 1 and latent and channels == 4 * latent
    return 2 if packed else patch


# --- autoencoders ---------------------------------------------------------------------------


def decode_elements(
    vae: Network, width: int, height: int, *, tiled: bool, whole_scores: bool
) -> Elements:
    """Of the decoding of one image, width and height in pixels; tiles where they have an effect."""
    if tiled and tiles(vae, width, height):
        tile = _tile(vae)
        once = decode_elements(
            vae, min(width, tile), min(height, tile), tiled=False, whole_scores=whole_scores
        )
        # Tiles overlap by a quarter; all of them and the image that they are put into are held.
        return Elements(once.total + 3 * width * height * (16 / 9 + 2), once.known)
    widths = _widths(vae.config.get("block_out_channels"))
    if not widths or not vae.class_name.startswith("AutoencoderKL"):
        return Elements(_UNKNOWN_DECODER * width * height, known=False)
    pixels = width * height / 4 ** (len(widths) - 1)
    scores = _SCORES * pixels**2 if whole_scores else 0.0
    inputs = held = widths[-1]
    found = [_resnet(inputs, inputs) * pixels, _UNET_ATTENTION * inputs * pixels + scores]
    for level, channels in enumerate(reversed(widths)):
        found.append(_resnet(inputs, channels) * pixels)
        if level < len(widths) - 1:
            # The block's input, its result, that at twice the size, and the convolution's three.
            found.append(held * pixels + channels * pixels + 4 * channels * 4 * pixels)
            pixels *= 4
        inputs = held = channels
    return Elements(max(found))


def encode_elements(
    vae: Network, width: int, height: int, *, tiled: bool, whole_scores: bool
) -> Elements:
    """Of the encoding of one image, as :func:`decode_elements`."""
    if tiled and tiles(vae, width, height):
        tile = min(width, _tile(vae)), min(height, _tile(vae))
        once = encode_elements(vae, *tile, tiled=False, whole_scores=whole_scores)
        return Elements(once.total + 3 * width * height, once.known)
    widths = _widths(vae.config.get("block_out_channels"))
    if not widths or not vae.class_name.startswith("AutoencoderKL"):
        return Elements(_UNKNOWN_DECODER * width * height, known=False)
    pixels = float(width * height)
    inputs, found = widths[0], []
    for level, channels in enumerate(widths):
        found.append(_resnet(inputs, channels) * pixels)
        inputs = channels
        if level < len(widths) - 1:
            # Held outside, padded, and the convolution's input and output in another layout.
            found.append(3 * channels * pixels + 2 * channels * pixels / 4)
            pixels /= 4
    scores = _SCORES * pixels**2 if whole_scores else 0.0
    return Elements(max(*found, _UNET_ATTENTION * inputs * pixels + scores))


def tiles(vae: Network | None, width: int, height: int) -> bool:
    """Whether VAE tiling has an effect: only above the size of a tile."""
    if vae is None or vae.class_name in ("VQModel", "AsymmetricAutoencoderKL", "PaellaVQModel"):
        return False
    return max(width, height) > _tile(vae)


def _tile(vae: Network) -> int:
    sizes = _widths(vae.config.get("sample_size"))
    return sizes[0] if sizes else _DEFAULT_TILE


# --- text encoders --------------------------------------------------------------------------


def text_elements(network: Network, tokens: int) -> Elements:
    """Of one prompt; all layers' results are kept, and logits where the class makes some."""
    config = network.config
    text = config.get("text_config")
    if isinstance(text, dict):
        config = text
    hidden = _number(config, "hidden_size", "d_model")
    if not hidden:
        return Elements(_UNKNOWN_TEXT_ENCODER * tokens, known=False)
    layers = _number(config, "num_hidden_layers", "num_layers")
    inner = _number(config, "intermediate_size", "d_ff") or 4 * hidden
    logits = _number(config, "vocab_size") if "LM" in network.class_name else 0
    if "ForConditionalGeneration" in network.class_name:
        logits = _number(config, "vocab_size")
    return Elements(tokens * ((layers + 8) * hidden + 3 * inner + logits))


# --- reading configurations -----------------------------------------------------------------


def _number(config: Shapes, *names: str) -> int:
    """The first of these that is a positive whole number, else 0."""
    for name in names:
        value = config.get(name)
        if type(value) is int and value > 0:
            return value
    return 0


def _widths(value: object) -> list[int]:
    """Positive whole numbers, from a list or from one of them; nothing of anything else."""
    values = value if isinstance(value, (list, tuple)) else [value]
    return [*values] if all(type(one) is int and one > 0 for one in values) else []


def _per_level(value: object, levels: int, default: int) -> list[int]:
    found = _widths(value)
    if len(found) == levels:
        return found
    return [found[0] if len(found) == 1 else default] * levels
