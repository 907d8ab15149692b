"""Where device and CPU part: each operator of a pass on the CPU is done again on the device.

The pass runs on the CPU in float32. Every operator call in it that computes something is repeated
on the device with the same operands, and the results are compared. So an error is that of one call
and no other: nothing that went wrong earlier on the device is in its operands.

*Operands* are rebuilt as they lie in memory (:mod:`.repeated_call`), so faults with strides, views
and offsets are seen, and one in copying strided tensors is blamed on the copies and nothing else.
One call's copies are alive at a time. A view computes nothing, but may be of the wrong place: each
is repeated once for each geometry of its operand.

*What is seen.* Outside inference mode torch takes an operator that is made of others (``linear``,
``scaled_dot_product_attention``) apart before a dispatch mode sees it, and in the CPU's way. Inside
it, such an operator arrives whole. Those that a device does in a way of its own are repeated whole;
then each is taken apart here and its parts are repeated too.

*Floor*: how far from the truth the CPU's own result is bound to be. For float32, float32 against
float64; for half precision, what remains of a float32 result when it is rounded to that type, its
operands being rounded before. Never less than the unit roundoff of the result's type.

*Bound*: the rounding error expected from the length of the operator's sums
(:mod:`.reduction_bounds`), of the worst call of each operator in each module: one more computation
of it on the CPU.
"""

import os
from collections import Counter
from typing import Any, Optional

import torch
from torch.nn.modules import module as module_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from .channel import Channel
from .devices import Device
from .pipelines import torch_dtype
from .pipelines.calls import is_from_image, pipeline_calls
from .pipelines.components import decoder_of, denoiser_of, networks_of
from .reduction_bounds import bounds_of
from .repeated_call import (
    LAYOUTS,
    Call,
    compare_results,
    exact_results,
    laid_out,
    mapped,
    operator_name,
    signature_of,
    tensors_in,
    written,
)

# Made of others, and torch decides how by looking at the device. What has a kernel of its own on
# the device (linear on mps) is found by asking the dispatcher.
_DONE_BY_DEVICE = {
    "aten::scaled_dot_product_attention",
    "aten::layer_norm",
    "aten::group_norm",
    "aten::batch_norm",
}
# Done once more with an operand laid out in another way: on a device results lie in memory as the
# device likes it, so an operator may meet there what it does not meet on the CPU, and these have
# gone wrong with it (pytorch#163597, #169342, #174345, #180984, #192212).
_TRIED_IN_LAYOUTS = {
    "aten::convolution",
    "aten::group_norm",
    "aten::layer_norm",
    "aten::scaled_dot_product_attention",
    "aten::_softmax",
    "aten::bmm",
    "aten::upsample_nearest2d",
}
_COMPOSITE = "CompositeImplicitAutograd"
_UNWRITTEN = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}
_NOTHING_COMPUTED = {"detach_", "set_", "resize_", "resize_as_"}


def localise(pipeline: Any, device: Device, job: "dict[str, Any]", channel: Channel) -> None:
    """Run one pass on the CPU and repeat its operators on the device.

    ``job`` has, beyond what a pass needs: ``compute_dtype`` (the type under test), ``first`` (the
    call to begin with), ``avoid`` (signatures of calls that must not be repeated) and ``capture``
    (None, or ``{"call", "path"}``: only write the operands of that call, as safetensors).
    """
    owners = _Owners(pipeline, job)
    repeater = _Repeater(device, owners, job, channel)
    (call,) = pipeline_calls(pipeline, job)
    with torch.inference_mode(), owners, repeater:
        call.make(job["steps"])
    channel.send("localised", skipped=dict(repeater.skipped), notes=_notes(device, job))


def _notes(device: Device, job: "dict[str, Any]") -> "list[str]":
    if job["compute_dtype"] != "float32":
        return []
    return [
        f"{what} use TF32 here (10 bits of precision): NVIDIA_TF32_OVERRIDE=0 turns that off"
        for what in ("convolutions", "matrix products")
        if _multiplies_in_tf32(device, what)
    ]


def _multiplies_in_tf32(device: Device, what: str) -> bool:
    """Whether the device may multiply float32 in TF32, in convolutions or elsewhere."""
    if device.kind != "cuda" or os.environ.get("NVIDIA_TF32_OVERRIDE") == "0":
        return False
    if torch.version.hip or torch.cuda.get_device_capability() < (8, 0):
        return False
    if "convolution" in what:
        return bool(torch.backends.cudnn.allow_tf32)
    return bool(torch.backends.cuda.matmul.allow_tf32)


class _Owners:
    """Which module an operator belongs to, and how much of the pass is done."""

    def __init__(self, pipeline: Any, job: "dict[str, Any]") -> None:
        networks = networks_of(pipeline)
        self._paths = {
            id(module): f"{name}.{path}" if path else name
            for name, network in networks.items()
            for path, module in network.named_modules()
        }
        self._stack: "list[torch.nn.Module]" = []
        self._handles: "list[Any]" = []
        self._leaves_done = 0
        steps = max(1, int(job["steps"] * job["strength"])) if is_from_image(job) else job["steps"]
        # Prompt and negative prompt are encoded one after the other.
        encoders = [part for name, part in networks.items() if name.startswith("text_encoder")]
        self._leaves = 2 * sum(_leaf_count(encoder) for encoder in encoders) + steps * _leaf_count(
            denoiser_of(pipeline)[1]
        )
        found = decoder_of(pipeline)
        if found is not None:
            self._leaves += _leaf_count(getattr(found[1], "decoder", found[1]))
            if is_from_image(job):
                self._leaves += _leaf_count(getattr(found[1], "encoder", found[1]))

    def __enter__(self) -> "_Owners":
        self._handles = [
            module_hooks.register_module_forward_pre_hook(self._begin),
            module_hooks.register_module_forward_hook(self._end),
        ]
        return self

    def __exit__(self, *_: Any) -> None:
        for handle in self._handles:
            handle.remove()

    def _begin(self, module: Any, _inputs: Any) -> None:
        self._stack.append(module)

    def _end(self, module: Any, _inputs: Any, _output: Any) -> None:
        self._stack.pop()
        self._leaves_done += not any(True for _ in module.children())

    def now(self) -> "tuple[str, str]":
        """Path and class of the module at work; empty between modules (scheduler, guidance)."""
        if not self._stack:
            return "", ""
        module = self._stack[-1]
        return self._paths.get(id(module), ""), type(module).__name__

    def share_done(self) -> float:
        """About how much of the pass is done, from 0 to 1, counted in modules without parts."""
        return min(1.0, self._leaves_done / max(1, self._leaves))


def _leaf_count(network: Any) -> int:
    return sum(not any(True for _ in module.children()) for module in network.modules())


class _Repeater(TorchDispatchMode):  # type: ignore[misc]  # torch is not there to be checked
    """Sees every operator of the pass."""

    def __init__(
        self, device: Device, owners: _Owners, job: "dict[str, Any]", channel: Channel
    ) -> None:
        super().__init__()
        self._device = device
        self._owners = owners
        self._channel = channel
        self._dtype = torch_dtype(job["compute_dtype"])
        self._first: int = job["first"]
        self._avoid = set(job["avoid"])
        self._capture: "Optional[dict[str, Any]]" = job["capture"]
        self._index = -1
        self._within: "list[int]" = []
        self._laid_out: "set[Any]" = set()
        self._viewed: "set[str]" = set()
        self._worst: "dict[Any, float]" = {}
        self.skipped: "Counter[str]" = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: "Optional[dict[str, Any]]" = None
    ) -> Any:
        kwargs = kwargs or {}
        if _has_kernel(func, _COMPOSITE):
            return self._take_apart(func, args, kwargs)
        reason = self._why_not(func, args, kwargs)
        if reason is not None:
            self.skipped[reason] += 1
            return func(*args, **kwargs)
        self._repeat(func, args, kwargs)
        return func(*args, **kwargs)

    def _why_not(self, func: Any, args: Any, kwargs: "dict[str, Any]") -> Optional[str]:
        """Why a call is not repeated, or None. A view of one geometry is always the same."""
        reason = _why_not(func, args, kwargs)
        if reason is not None or not _is_view(func):
            return reason
        geometry = _geometry(func, args, kwargs)
        if geometry in self._viewed:
            return "views like one before"
        self._viewed.add(geometry)
        return None

    def _take_apart(self, func: Any, args: Any, kwargs: "dict[str, Any]") -> Any:
        by_device = func._schema.name in _DONE_BY_DEVICE
        whole = by_device or _has_kernel(func, self._device.kind.upper())
        if not whole or self._why_not(func, args, kwargs) is not None:
            with self:
                return _decomposed(func, args, kwargs)
        self._within.append(self._repeat(func, args, kwargs))
        try:
            with self:
                return _decomposed(func, args, kwargs)
        finally:
            self._within.pop()

    def _repeat(self, func: Any, args: Any, kwargs: "dict[str, Any]") -> int:
        """Do a call on the device as it is and, where it is new, in other layouts; its index."""
        index = self._next()
        self._try(index, None, func, args, kwargs)
        shapes = tuple(tuple(tensor.shape) for tensor in tensors_in([args, kwargs]))
        kind = (operator_name(func), shapes)
        if func._schema.name in _TRIED_IN_LAYOUTS and kind not in self._laid_out:
            self._laid_out.add(kind)
            for layout in LAYOUTS:
                moved = laid_out(args, kwargs, layout)
                if moved is not None:
                    self._try(self._next(), layout, func, *moved)
        return index

    def _next(self) -> int:
        self._index += 1
        return self._index

    def _try(
        self, index: int, layout: Optional[str], func: Any, args: Any, kwargs: "dict[str, Any]"
    ) -> None:
        """Do the call on the device and report; the parent knows of it before it begins."""
        capture = self._capture
        if index < self._first or (capture is not None and index != capture["call"]):
            return
        call = Call(func, args, kwargs, self._dtype)
        if capture is not None:
            call.write_storages(capture["path"])
            return
        description = call.describe()
        signature = signature_of(description)
        if signature in self._avoid:
            self.skipped["like one that ended the process"] += 1
            return
        expected = call.on_cpu(torch.float32)
        exact = exact_results(call) if self._dtype is torch.float32 else None
        module, module_class = self._owners.now()
        self._channel.send(
            "call",
            index=index,
            signature=signature,
            module=module,
            module_class=module_class,
            layout=layout,
            within=self._within[-1] if self._within else None,
            share=self._owners.share_done(),
            **description,
        )
        try:
            got = call.on_device(self._device)
        except NotImplementedError as error:
            if self._within:  # the CPU's way of doing the whole, which the device need not know
                self.skipped["only the CPU has it"] += 1
                self._channel.send("compared", index=index, left_out=True)
                return
            self._fail(index, error)
        except Exception as error:
            self._fail(index, error)
        else:
            found = compare_results(got, expected, exact)
            group = (module, description["op"], layout)
            ratio, worst = found.get("ratio") or 0.0, self._worst.get(group, 0.0)
            half = self._dtype is not torch.float32
            # Where TF32 is allowed, each call is judged by its own bound; elsewhere only the
            # worst call of an operator needs one.
            tf32 = not half and _multiplies_in_tf32(self._device, call.name)
            if tf32 or ratio >= worst:
                self._worst[group] = max(ratio, worst)
                found.update(bounds_of(call, expected, self._dtype, tf32))
            self._channel.send("compared", index=index, **found)

    def _fail(self, index: int, error: Exception) -> None:
        text = f"{type(error).__name__}: {str(error).strip()}"[:1000]
        self._channel.send("compared", index=index, error=text)


def _has_kernel(func: Any, key: str) -> bool:
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(operator_name(func), key))


def _decomposed(func: Any, args: Any, kwargs: "dict[str, Any]") -> Any:
    """Do a composite operator as torch itself does, part by part.

    Not by ``func.decompose``, which prefers what torch.compile wants to see (an upsampling as
    indexing) to what runs.
    """
    direct = getattr(func, "_op_dk", None)  # torch 1.13 to 2.13 have it; no promise of torch's
    if direct is None:
        return func.decompose(*args, **kwargs)
    return direct(getattr(torch._C.DispatchKey, _COMPOSITE), *args, **kwargs)


def _is_view(func: Any) -> bool:
    aliases = [returned.alias_info for returned in func._schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)


def _geometry(func: Any, args: Any, kwargs: "dict[str, Any]") -> str:
    """A call without the numbers in its operands."""

    def place(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return tuple(value.shape), value.stride(), value.storage_offset(), str(value.dtype)
        return value

    return f"{operator_name(func)} {mapped(args, place)} {mapped(kwargs, place)}"


def _why_not(func: Any, args: Any, kwargs: "dict[str, Any]") -> Optional[str]:
    """Why a call is not repeated, or None."""
    schema = func._schema
    plain_name = schema.name.rpartition("::")[2]
    if plain_name in _NOTHING_COMPUTED:
        return "nothing is computed"
    if plain_name in _UNWRITTEN:
        return "memory not yet written"
    if any(argument.name == "generator" for argument in schema.arguments):
        return "random numbers"
    returns_tensor = any("Tensor" in str(returned.type) for returned in schema.returns)
    if not returns_tensor and not written(func, args, kwargs):
        return "results that are no tensors"
    tensors = list(tensors_in([args, kwargs]))
    if any(tensor.layout is not torch.strided or tensor.is_quantized for tensor in tensors):
        return "sparse or quantised tensors"
    if any(tensor.dtype is torch.float64 or tensor.is_complex() for tensor in tensors):
        return "float64 or complex numbers"
    return None
