"""The file names of pages. Machine ids and model names are others' text. Pure."""

import functools
import hashlib
import re

from sdbench.bundles.format import MACHINE_ID

_NOT_IN_A_NAME = re.compile(r"[^a-z0-9]+")
_MOST_LETTERS = 40


def machine_page(machine_id: str) -> str:
    """``machines/m-0123456789abcdef.html``."""
    if MACHINE_ID.fullmatch(machine_id):
        return f"machines/{machine_id}.html"
    return f"machines/x-{_digest(machine_id)}.html"


@functools.lru_cache(maxsize=1 << 12)
def model_page(model: str, sha256: str | None) -> str:
    """``models/synthetic-sd15-0a1b2c3d4e5f.html``: its name, and a digest of name and content."""
    word = _NOT_IN_A_NAME.sub("-", model.lower())[:_MOST_LETTERS].strip("-")
    content = "\n".join([model, sha256 or ""])
    return f"models/{word or 'model'}-{_digest(content)}.html"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12]
