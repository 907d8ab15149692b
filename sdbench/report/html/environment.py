"""How pages are rendered, a report's and a board's: what is escaped, and what must exist."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sdbench.words import printable

if TYPE_CHECKING:
    from jinja2 import Environment


def page_environment(text_of: Callable[[str], str]) -> "Environment":
    """Everything is escaped, everything must exist, and what does not print is made visible.

    ``text_of`` gives a template by its name.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    return Environment(
        loader=FunctionLoader(text_of),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )


def _shown(value: Any) -> Any:
    """The one place where text of others is made printable; markup is ours."""
    return printable(value) if type(value) is str else value
