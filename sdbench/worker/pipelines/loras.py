"""Add LoRAs to a loaded pipeline, and see whether they change it."""

import os
from typing import Any, Dict, List

from .stack import CaseImpossibleError


def add_loras(pipeline: Any, loras: "List[Dict[str, Any]]") -> None:
    """Load LoRAs (``path``, ``name``, ``weight``) as adapters, each with its weight.

    Raises:
        CaseImpossibleError: this environment or this pipeline takes none, or one does not fit or
            changes nothing.
    """
    if not loras:
        return
    if not hasattr(pipeline, "load_lora_weights"):
        raise CaseImpossibleError(f"{type(pipeline).__name__} takes no LoRA")
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise CaseImpossibleError(f"a LoRA needs peft, which cannot be imported: {error}") from None
    adapters = {}
    for number, lora in enumerate(loras):
        adapter = f"sdbench_{number}"
        folder, file = os.path.split(lora["path"])
        try:
            pipeline.load_lora_weights(
                folder,
                weight_name=file,
                adapter_name=adapter,
                local_files_only=True,
                use_safetensors=True,
            )
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
            raise CaseImpossibleError(
                f"the LoRA {lora['name']} does not fit this model: {first}"
            ) from error
        if not changed_modules(pipeline, adapter):
            raise CaseImpossibleError(f"the LoRA {lora['name']} changes nothing on this model")
        adapters[adapter] = lora["weight"]
    pipeline.set_adapters(list(adapters), adapter_weights=list(adapters.values()))


def changed_modules(pipeline: Any, adapter: str) -> int:
    """How many modules of the pipeline an adapter has weights in."""
    return sum(
        adapter in getattr(module, "lora_A", ())
        for component in pipeline.components.values()
        if hasattr(component, "modules")
        for module in component.modules()
    )
