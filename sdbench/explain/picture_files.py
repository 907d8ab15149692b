"""Reads an image file: its pixels, and the settings that a program wrote into it.

It is read as data only and within limits, because a small file can claim to be an enormous image.
Where settings are stored: A1111, Forge and SD.Next write a text called ``parameters`` (in JPEG and
WebP the EXIF field UserComment), ComfyUI two JSON documents called ``prompt`` and ``workflow``,
InvokeAI ``invokeai_metadata`` (before: ``sd-metadata``, ``dream``), Draw Things JSON in the XMP
packet, NovelAI ``Comment``.
"""

import html
import io
import json
import re
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from sdbench.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[Any]

_MOST_PIXELS = 64 * 1024 * 1024
_LONGEST_TEXT = 1024 * 1024
_LONGEST_VALUE = 300
_MOST_SETTINGS = 40
_USER_COMMENT = 0x9286
_EXIF_IFD = 0x8769


class PictureSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The embedded metadata: the program that wrote it, and settings under the program's names, as
    text."""

    program: str
    values: dict[str, str]


class PictureFile(msgspec.Struct, frozen=True, kw_only=True):
    """A decoded image. ``pixels`` is 8-bit (height, width, 3)."""

    format: str
    width: int
    height: int
    pixels: Any
    settings: PictureSettings | None


def picture_format(data: bytes) -> str | None:
    """``PNG``, ``JPEG`` or ``WEBP`` according to the first bytes, independent of the file name;
    else None."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    return "WEBP" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def read_picture(data: bytes, name: str) -> PictureFile:
    """Decode an image and read what is embedded in it.

    Raises:
        UsageError: the file is not an image, is damaged, or is too large to decode safely.
    """
    import numpy as np
    from PIL import Image

    kind = picture_format(data)
    if kind is None:
        raise UsageError(f"{name}: expected a PNG, JPEG or WebP image")
    too_many = f"expected at most {_MOST_PIXELS} pixels"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large ones too: they are refused in a sentence
            with Image.open(io.BytesIO(data), formats=[kind]) as image:
                width, height = image.size
                if width * height > _MOST_PIXELS:
                    raise UsageError(f"{name}: it has {width}x{height} pixels; {too_many}")
                pixels = np.asarray(_flattened(image))
                texts = _texts(image)
    except Image.DecompressionBombError:
        raise UsageError(f"{name}: the {kind} image is too large; {too_many}") from None
    except UsageError:
        raise
    except Exception as error:  # whatever its parsers meet in a damaged chunk: IndexError, too
        raise UsageError(f"{name}: the {kind} image cannot be decoded ({error})") from None
    return PictureFile(
        format=kind, width=width, height=height, pixels=pixels, settings=embedded_settings(texts)
    )


def embedded_settings(texts: Mapping[str, str]) -> PictureSettings | None:
    """Settings from the texts of an image file, by name; None if no known program wrote any."""
    for names, program, read in _READERS:
        for name in names:
            values = read(texts[name]) if name in texts else {}
            if values:
                return PictureSettings(program=program, values=_bounded(values))
    return None


def _flattened(image: Any) -> Any:
    """The image as RGB, with transparent areas on white as viewers show them, so that they do not
    count as black."""
    from PIL import Image

    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layered = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered).convert(
            "RGB"
        )
    if image.mode.startswith("I"):  # 16 bits a channel
        return image.point(lambda value: value / 256).convert("L").convert("RGB")
    return image.convert("RGB")


def _texts(image: Any) -> dict[str, str]:
    found = {
        str(name): value[:_LONGEST_TEXT]
        for name, value in image.info.items()
        if isinstance(value, str)
    }
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    if xmp:
        packet = xmp.decode("utf-8", "replace") if isinstance(xmp, bytes) else str(xmp)
        found["xmp"] = packet[:_LONGEST_TEXT]
    comment = image.getexif().get_ifd(_EXIF_IFD).get(_USER_COMMENT)
    if comment is not None:
        found["UserComment"] = _user_comment(comment)[:_LONGEST_TEXT]
    return found


def _user_comment(comment: Any) -> str:
    """Decode an EXIF field: eight bytes that name the encoding, then the text."""
    if not isinstance(comment, bytes):
        return str(comment)
    encoding, text = comment[:8], comment[8:]
    if encoding.startswith(b"UNICODE"):
        likely = "utf-16-be" if text[:1] == b"\x00" else "utf-16-le"
        return text.decode(likely, "replace")
    return (text if encoding.startswith((b"ASCII", b"\x00" * 8)) else comment).decode(
        "utf-8", "replace"
    )


def _bounded(values: Mapping[str, str]) -> dict[str, str]:
    """A limited number of values, each shortened to one line."""
    return {
        name[:_LONGEST_VALUE]: " ".join(value.split())[:_LONGEST_VALUE]
        for name, value in [*values.items()][:_MOST_SETTINGS]
    }


_PAIR = re.compile(r'([A-Z][\w &./-]{0,60}): ("(?:[^"\\]|\\.){0,2000}"|[^,]{0,400})(?:, |$)')
_XMP_COMMENT = re.compile(
    r"<exif:UserComment>.{0,400}?<rdf:li[^>]{0,100}>(.*?)</rdf:li>", re.DOTALL
)


def _webui(text: str) -> dict[str, str]:
    """``prompt``, ``Negative prompt: …`` and a last line ``Steps: 20, Sampler: Euler a, …``."""
    start = re.search(r"^Steps: \d{1,6}, ", text, re.MULTILINE)
    if start is None:
        return {}
    prompt, _, negative = text[: start.start()].partition("Negative prompt:")
    line = text[start.start() :].split("\n", 1)[0]
    pairs = _PAIR.findall(line)
    values = {name: value.strip('" ') for name, value in pairs}
    return {"prompt": prompt.strip(), "negative prompt": negative.strip(), **values}


_COMFY_INPUTS = {
    *("seed", "noise_seed", "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    *("ckpt_name", "unet_name", "vae_name", "clip_name", "lora_name", "control_net_name"),
    *("width", "height", "batch_size", "weight_dtype", "tile_size", "text"),
}


def _comfy(text: str) -> dict[str, str]:
    """The relevant inputs of ComfyUI's graph, as ``class.input``; links between nodes
    are omitted."""
    values: dict[str, str] = {}
    for node in _object(text).values():
        inputs = node.get("inputs") if isinstance(node, dict) else None
        if not isinstance(inputs, dict):
            continue
        kind = str(node.get("class_type"))
        for name, value in inputs.items():
            if name in _COMFY_INPUTS and isinstance(value, (str, int, float)):
                values.setdefault(f"{kind}.{name}", str(value))
    return values


def _flat(text: str) -> dict[str, str]:
    """The top-level values of a JSON document, and of nested ones the name of a model."""
    values: dict[str, str] = {}
    for name, value in _object(text).items():
        if isinstance(value, (str, int, float)):
            values[name] = str(value)
        elif isinstance(value, dict):
            inner = value.get("name") or value.get("model_name") or value.get("key")
            if isinstance(inner, str):
                values[name] = inner
    return values


def _xmp(text: str) -> dict[str, str]:
    """Draw Things: a JSON document in the packet's exif:UserComment."""
    comment = _XMP_COMMENT.search(text)
    return {} if comment is None else _flat(html.unescape(comment[1]))


def _comment(text: str) -> dict[str, str]:
    return _webui(text) or _flat(text)


def _object(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


# Names of the texts, the program, and how its text is read; the first that gives anything counts.
_READERS = (
    (("parameters", "Parameters"), "A1111 web UI or Forge", _webui),
    (("prompt",), "ComfyUI", _comfy),
    (("invokeai_metadata", "sd-metadata"), "InvokeAI", _flat),
    (("UserComment",), "A1111 web UI, Forge or DiffusionBee", _comment),
    (("xmp",), "Draw Things", _xmp),
    (("Comment", "comment"), "another program", _comment),
)
