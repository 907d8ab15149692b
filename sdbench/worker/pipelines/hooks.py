"""Look at, or change, what a network is called with, and take the hook away again."""

from typing import Any, Callable, Optional, Tuple

Undo = Callable[[], None]


def before_call(
    module: Any, seen: "Callable[[Any, dict[str, Any]], Optional[Tuple[Any, dict[str, Any]]]]"
) -> Undo:
    """Call ``seen`` with a module's arguments before each call; what it returns replaces them.

    Before torch 2.0 named arguments are not seen; only UNets run there, which take their sample by
    position.
    """
    try:
        hook = module.register_forward_pre_hook(
            lambda _module, inputs, named: seen(inputs, named), with_kwargs=True
        )
    except TypeError:

        def positional(_module: Any, inputs: Any) -> Any:
            changed = seen(inputs, {})
            return None if changed is None else changed[0]

        hook = module.register_forward_pre_hook(positional)
    return lambda: hook.remove()


def replace_method(
    owner: Any, name: str, wrapper: "Callable[[Callable[..., Any]], Callable[..., Any]]"
) -> Undo:
    """Replace a method of one instance by ``wrapper`` of it."""
    original = getattr(owner, name)
    # Offloading (accelerate) may have put a method of its own on the instance already.
    own = name in vars(owner)
    setattr(owner, name, wrapper(original))
    return lambda: setattr(owner, name, original) if own else delattr(owner, name)


def map_tensors(value: Any, change: "Callable[[Any], Any]") -> Any:
    """The same nest of containers with every tensor replaced."""
    import torch

    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)(map_tensors(entry, change) for entry in value)
    if isinstance(value, dict):
        return {name: map_tensors(entry, change) for name, entry in value.items()}
    return value
