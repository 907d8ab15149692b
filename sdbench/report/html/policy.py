"""What a page allows itself: its own style, its own script, images inside it. Nothing else."""

import base64
import hashlib


def content_security_policy(css: str, script: str) -> str:
    """The policy for a page with exactly this text in its ``<style>`` and its ``<script>``.

    Nothing is fetched, from the network or from the disk; style attributes and handlers in the
    markup are refused too, so text of others that got past the escaping could do nothing.
    Source: https://www.w3.org/TR/CSP3/
    """
    return "; ".join(
        (
            "default-src 'none'",
            f"style-src '{_digest(css)}'",
            f"script-src '{_digest(script)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
