"""All that knows diffusers: the environment, loading, settings, calls, stages."""

from .load import load
from .settings import Applied, apply_settings
from .stack import STACK_CLASSES, CaseImpossibleError, import_stack, torch_dtype

__all__ = [
    "STACK_CLASSES",
    "Applied",
    "CaseImpossibleError",
    "apply_settings",
    "import_stack",
    "load",
    "torch_dtype",
]
