"""Why a bundle is refused: a code for scripts and a sentence for people."""

from typing import Literal

RefusalCode = Literal[
    "unsafe-archive",
    "hash",
    "schema",
    "not-finite",
    "figures-differ",
    "record-missing",
    "record-duplicate",
    "picture-differs",
    "order",
    "implausible",
]


class RefusedError(Exception):
    """A bundle that is not accepted; the first reason ends the reading of it."""

    def __init__(self, code: RefusalCode, reason: str) -> None:
        super().__init__(reason)
        self.code: RefusalCode = code
        self.reason = reason
