"""Where device and CPU part: each operator of a pass on the CPU is done again on the device.

The pass runs on the CPU in float32. Every operator call in it that computes something is repeated
on the device with the same operands, and the results are compared. So an error is that of one call
and no other: nothing that went wrong earlier on the device is in its operands.

*Operands* are rebuilt as they lie in memory: the whole storage is copied as one flat run of numbers
and the operand is a view of the copy with the same shape, strides and offset; two operands that
share memory do so there too. Results come back the same way, so a fault in copying strided tensors
is blamed on the copies and on nothing else. One call's copies are alive at a time.

*What is seen.* Outside inference mode torch takes an operator that is made of others (``linear``,
``scaled_dot_product_attention``) apart before a dispatch mode sees it, and in the CPU's way. Inside
it, such an operator arrives whole. Those that a device does in a way of its own are repeated whole;
then each is taken apart here and its parts are repeated too.

*Floor*: how far from the truth the CPU's own result is bound to be. For float32, float32 against
float64; for half precision, what remains of a float32 result when it is rounded to that type, its
operands being rounded before. Never less than the unit roundoff of the result's type.
"""

import hashlib
import json
import math
from collections import Counter
from typing import Any, Iterator, Optional

import torch
from torch.nn.modules import module as module_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from .channel import Channel, finite_or_none
from .devices import Device
from .passes import pipeline_calls
from .pipelines import torch_dtype

# Made of others, and torch decides how by looking at the device. What has a kernel of its own on
# the device (linear on mps) is found by asking the dispatcher.
_DONE_BY_DEVICE = {
    "aten::scaled_dot_product_attention",
    "aten::layer_norm",
    "aten::group_norm",
    "aten::batch_norm",
}
# Their second and third results are statistics for training. Means near zero have no digits.
_FIRST_RESULT_COUNTS = (
    "aten::native_layer_norm",
    "aten::native_group_norm",
    "aten::native_batch_norm",
    "aten::_scaled_dot_product_",
)
_COMPOSITE = "CompositeImplicitAutograd"
_UNWRITTEN = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}
_NOTHING_COMPUTED = {"detach_", "set_", "resize_", "resize_as_"}


def localise(pipeline: Any, device: Device, job: "dict[str, Any]", channel: Channel) -> None:
    """Run one pass on the CPU and repeat its operators on the device.

    ``job`` has, beyond what a pass needs: ``compute_dtype`` (the type under test), ``first`` (the
    call to begin with), ``avoid`` (signatures of calls that must not be repeated) and ``capture``
    (None, or ``{"call", "path"}``: only write the operands of that call, as safetensors).
    """
    owners = _Owners(pipeline, job["steps"])
    repeater = _Repeater(device, owners, job, channel)
    (call,) = pipeline_calls(pipeline, job)
    with torch.inference_mode(), owners, repeater:
        pipeline(**call, num_inference_steps=job["steps"])
    channel.send("localised", skipped=dict(repeater.skipped), notes=_notes(device, job))


def _notes(device: Device, job: "dict[str, Any]") -> "list[str]":
    if device.kind != "cuda" or job["compute_dtype"] != "float32":
        return []
    tf32 = {
        "convolutions": torch.backends.cudnn.allow_tf32,
        "matrix products": torch.backends.cuda.matmul.allow_tf32,
    }
    return [
        f"{what} use TF32 here (10 bits of precision): NVIDIA_TF32_OVERRIDE=0 turns that off"
        for what, on in tf32.items()
        if on
    ]


class _Owners:
    """Which module an operator belongs to, and how much of the pass is done."""

    def __init__(self, pipeline: Any, steps: int) -> None:
        networks = {
            name: part
            for name, part in pipeline.components.items()
            if isinstance(part, torch.nn.Module)
        }
        self._paths = {
            id(module): f"{name}.{path}" if path else name
            for name, network in networks.items()
            for path, module in network.named_modules()
        }
        self._stack: "list[torch.nn.Module]" = []
        self._handles: "list[Any]" = []
        self._leaves_done = 0
        # Prompt and negative prompt are encoded one after the other; the VAE only decodes.
        encoders = [part for name, part in networks.items() if name.startswith("text_encoder")]
        self._leaves = (
            2 * sum(_leaf_count(encoder) for encoder in encoders)
            + steps * _leaf_count(pipeline.unet)
            + _leaf_count(getattr(pipeline.vae, "decoder", pipeline.vae))
        )

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
        self.skipped: "Counter[str]" = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: "Optional[dict[str, Any]]" = None
    ) -> Any:
        kwargs = kwargs or {}
        if _has_kernel(func, _COMPOSITE):
            return self._take_apart(func, args, kwargs)
        reason = _why_not(func, args, kwargs)
        if reason is not None:
            self.skipped[reason] += 1
            return func(*args, **kwargs)
        self._index += 1
        if not self._wanted():
            return func(*args, **kwargs)
        call = _Call(func, args, kwargs, self._dtype)
        self._repeat(call, self._index)
        return func(*args, **kwargs)

    def _take_apart(self, func: Any, args: Any, kwargs: "dict[str, Any]") -> Any:
        whole = _name(func).split(".")[0] in _DONE_BY_DEVICE or _has_kernel(
            func, self._device.kind.upper()
        )
        if not whole or _why_not(func, args, kwargs) is not None:
            with self:
                return _decomposed(func, args, kwargs)
        self._index += 1
        index = self._index
        if self._wanted():
            self._repeat(_Call(func, args, kwargs, self._dtype), index)
        self._within.append(index)
        try:
            with self:
                return _decomposed(func, args, kwargs)
        finally:
            self._within.pop()

    def _wanted(self) -> bool:
        if self._capture is not None:
            return self._index == int(self._capture["call"])
        return self._index >= self._first

    def _repeat(self, call: "_Call", index: int) -> None:
        """Do the call on the device and report; the parent knows of it before it begins."""
        if self._capture is not None:
            call.write_storages(self._capture["path"])
            return
        description = call.describe()
        signature = _signature(description)
        if signature in self._avoid:
            self.skipped["like one that ended the process"] += 1
            return
        expected = call.on_cpu(torch.float32)
        exact = _exact(call) if self._dtype is torch.float32 else None
        module, module_class = self._owners.now()
        self._channel.send(
            "call",
            index=index,
            signature=signature,
            module=module,
            module_class=module_class,
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
            results = _compare_all(got, expected, exact)
            self._channel.send("compared", index=index, **results)

    def _fail(self, index: int, error: Exception) -> None:
        text = f"{type(error).__name__}: {str(error).strip()}"[:1000]
        self._channel.send("compared", index=index, error=text)


def _name(func: Any) -> str:
    """``aten::add.Tensor``; the overload called default has no name."""
    schema = func._schema
    overload = schema.overload_name
    return f"{schema.name}.{overload}" if overload else str(schema.name)


def _has_kernel(func: Any, key: str) -> bool:
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(_name(func), key))


def _decomposed(func: Any, args: Any, kwargs: "dict[str, Any]") -> Any:
    """Do a composite operator as torch itself does, part by part.

    Not by ``func.decompose``, which prefers what torch.compile wants to see (an upsampling as
    indexing) to what runs.
    """
    return func._op_dk(getattr(torch._C.DispatchKey, _COMPOSITE), *args, **kwargs)


def _why_not(func: Any, args: Any, kwargs: "dict[str, Any]") -> Optional[str]:
    """Why a call is not repeated, or None."""
    schema = func._schema
    plain_name = schema.name.rpartition("::")[2]
    aliases = [returned.alias_info for returned in schema.returns]
    views = any(alias is not None and not alias.is_write for alias in aliases)
    if views or plain_name in _NOTHING_COMPUTED:
        return "views: nothing is computed"
    if plain_name in _UNWRITTEN:
        return "memory not yet written"
    if any(argument.name == "generator" for argument in schema.arguments):
        return "random numbers"
    returns_tensor = any("Tensor" in str(returned.type) for returned in schema.returns)
    if not returns_tensor and not _written(func, args, kwargs):
        return "results that are no tensors"
    tensors = list(_tensors([args, kwargs]))
    if any(tensor.layout is not torch.strided or tensor.is_quantized for tensor in tensors):
        return "sparse or quantised tensors"
    if any(tensor.dtype is torch.float64 or tensor.is_complex() for tensor in tensors):
        return "float64 or complex numbers"
    return None


def _written(func: Any, args: Any, kwargs: "dict[str, Any]") -> "list[Any]":
    """The tensors that the call changes."""
    return [
        value
        for argument, value in _bound(func, args, kwargs)
        if argument.alias_info is not None and argument.alias_info.is_write
        if isinstance(value, torch.Tensor)
    ]


def _bound(func: Any, args: Any, kwargs: "dict[str, Any]") -> "Iterator[tuple[Any, Any]]":
    """Each argument given, with its place in the schema."""
    arguments = func._schema.arguments
    yield from zip(arguments, args)
    by_name = {argument.name: argument for argument in arguments}
    for name, value in kwargs.items():
        yield by_name[name], value


def _tensors(value: Any) -> "Iterator[Any]":
    """All tensors in arguments or results, in order."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _storage(tensor: Any) -> "tuple[int, int]":
    """Address and number of elements of the memory behind a tensor."""
    storage = tensor.untyped_storage() if hasattr(tensor, "untyped_storage") else tensor.storage()
    return storage.data_ptr(), storage.nbytes() // tensor.element_size()


def _flat(tensor: Any) -> Any:
    """All the memory behind a tensor, as one run of numbers."""
    return tensor.as_strided((_storage(tensor)[1],), (1,), 0)


class _Call:
    """One operator call: its operands as they lie in memory, to be laid out again elsewhere."""

    def __init__(self, func: Any, args: Any, kwargs: "dict[str, Any]", dtype: Any) -> None:
        self._func = func
        self._args = args
        self._kwargs = kwargs
        self._dtype = dtype
        self._operands: "dict[int, Any]" = {}
        self._storage_of: "dict[int, int]" = {}
        places: "dict[tuple[Any, ...], int]" = {}
        self._flats: "list[Any]" = []
        for tensor in _tensors([args, kwargs]):
            if id(tensor) in self._operands:
                continue
            self._operands[id(tensor)] = tensor
            place = (*_storage(tensor), tensor.dtype)
            if place not in places:
                places[place] = len(self._flats)
                self._flats.append(_rounded(_flat(tensor), dtype))
            self._storage_of[id(tensor)] = places[place]
        self._unread = self._poison()

    def _poison(self) -> "set[int]":
        """Put NaN where beta=0 says that an operand's content does not count.

        A device that lets it through does so only when the memory happens to hold a NaN, and the
        content is usually memory never written (the scores' buffer of attention slicing).
        """
        given = {argument.name: value for argument, value in _bound(*self._call())}
        operand = given.get("self")
        # A number that is no tensor: 0, 0.0 and False are all "do not read it".
        if not isinstance(operand, torch.Tensor) or given.get("beta", 1) != 0:
            return set()
        index = self._storage_of[id(operand)]
        if list(self._storage_of.values()).count(index) > 1 or _written(*self._call()):
            return set()
        self._flats[index] = torch.full_like(self._flats[index], float("nan"))
        return {index}

    def _call(self) -> "tuple[Any, Any, dict[str, Any]]":
        return self._func, self._args, self._kwargs

    def on_cpu(self, dtype: Any) -> "list[Any]":
        """The results on the CPU, computed in a floating-point type."""
        return self._results("cpu", dtype)

    def on_device(self, device: Device) -> "list[Any]":
        """The results on the device in the type under test, brought back to the CPU."""
        results = self._results(device.kind, self._dtype)
        host = []
        for result in results:
            flat = _flat(result).cpu()
            host.append(flat.as_strided(result.shape, result.stride(), result.storage_offset()))
        return host

    def _results(self, device: str, dtype: Any) -> "list[Any]":
        flats = [
            flat.to(device=device, dtype=dtype if _is_float(flat) else flat.dtype, copy=True)
            for flat in self._flats
        ]
        widened = torch.float64 if dtype is torch.float64 else torch.float32

        def rebuilt(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                flat = flats[self._storage_of[id(value)]]
                return flat.as_strided(value.shape, value.stride(), value.storage_offset())
            if isinstance(value, torch.device):
                return torch.device(device)
            if value is torch.float32:
                return widened
            if isinstance(value, (list, tuple)):
                parts = [rebuilt(part) for part in value]
                return parts if isinstance(value, list) else tuple(parts)
            return value

        args = rebuilt(self._args)
        kwargs = {name: rebuilt(value) for name, value in self._kwargs.items()}
        if self._needs_device():
            kwargs["device"] = torch.device(device)
        result = self._func(*args, **kwargs)
        found = list(_tensors(result)) or _written(self._func, args, kwargs)
        return found[:1] if _name(self._func).startswith(_FIRST_RESULT_COUNTS) else found

    def _needs_device(self) -> bool:
        """Whether a tensor is made of nothing, on a device that was not named."""
        takes_device = any(argument.name == "device" for argument in self._func._schema.arguments)
        return not self._operands and takes_device and "device" not in self._kwargs

    def describe(self) -> "dict[str, Any]":
        """All that is needed to write this call down again, with operands like these."""
        names = {}
        arguments = []
        for argument, value in _bound(*self._call()):
            for number, tensor in enumerate(_tensors(value)):
                plain = isinstance(value, torch.Tensor)
                names.setdefault(id(tensor), argument.name if plain else f"{argument.name}{number}")
            arguments.append(
                {
                    "name": argument.name,
                    "by_name": bool(argument.kwarg_only),
                    "value": self._encode(value),
                }
            )
        if self._needs_device():
            arguments.append({"name": "device", "by_name": True, "value": {"device": True}})
        return {
            "op": _name(self._func),
            "schema": str(self._func._schema),
            "arguments": arguments,
            "operands": [
                {
                    "name": names[key],
                    "storage": self._storage_of[key],
                    "shape": list(tensor.shape),
                    "stride": list(tensor.stride()),
                    "offset": tensor.storage_offset(),
                }
                for key, tensor in self._operands.items()
            ],
            "storages": [
                _describe_storage(flat, unread=index in self._unread)
                for index, flat in enumerate(self._flats)
            ],
        }

    def _encode(self, value: Any) -> Any:
        """An argument as JSON; what JSON has no word for as an object with one key."""
        if isinstance(value, torch.Tensor):
            return {"operand": list(self._operands).index(id(value))}
        if isinstance(value, float) and not math.isfinite(value):
            return {"float": str(value)}
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, (list, tuple)):
            return [self._encode(part) for part in value]
        if isinstance(value, torch.device):
            return {"device": True}
        return {"torch": str(value).rpartition(".")[2]}  # a dtype, layout or memory format

    def write_storages(self, path: str) -> None:
        """Write the operands' memory, in the type under test, under the storages' numbers."""
        from safetensors.torch import save_file

        save_file(
            {
                str(index): flat.clone()
                for index, flat in enumerate(self._flats)
                if index not in self._unread
            },
            path,
        )


def _is_float(tensor: Any) -> bool:
    return bool(tensor.is_floating_point())


def _rounded(flat: Any, dtype: Any) -> Any:
    """Numbers as a tensor of that type holds them; too large ones as its largest."""
    if dtype is torch.float32 or not _is_float(flat):
        return flat
    largest = torch.finfo(dtype).max
    inside = torch.where(flat.isinf(), flat, flat.clamp(-largest, largest))
    return inside.to(dtype)


def _describe_storage(flat: Any, *, unread: bool) -> "dict[str, Any]":
    """Size, type and statistics of an operand's memory."""
    record: "dict[str, Any]" = {
        "elements": flat.numel(),
        "dtype": str(flat.dtype).rpartition(".")[2],
        "unread": unread,
        "mean": None,
        "deviation": None,
        "low": None,
        "high": None,
    }
    if unread or not flat.numel():
        return record
    if _is_float(flat):
        known = flat.float()
        finite = known.isfinite()
        known = known if bool(finite.all()) else known[finite]
        if known.numel():
            record["mean"] = finite_or_none(float(known.mean()))
            record["deviation"] = finite_or_none(float(known.std(unbiased=False)))
    else:
        record["low"], record["high"] = int(flat.min()), int(flat.max())
    return record


def _signature(description: "dict[str, Any]") -> str:
    """Equal for calls that differ in their operands' content alone."""
    parts = [description[name] for name in ("op", "arguments", "operands")]
    parts += [[entry["elements"], entry["dtype"]] for entry in description["storages"]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _exact(call: _Call) -> "Optional[list[Any]]":
    """The call in float64, where the CPU has a kernel for that."""
    try:
        return call.on_cpu(torch.float64)
    except (RuntimeError, NotImplementedError, TypeError):
        return None


def _compare_all(
    got: "list[Any]", expected: "list[Any]", exact: "Optional[list[Any]]"
) -> "dict[str, Any]":
    """The worst of a call's results."""
    if len(got) != len(expected):
        return {"error": f"gives {len(got)} results, the CPU {len(expected)}"}
    worst: "Optional[dict[str, Any]]" = None
    for index, (ours, theirs) in enumerate(zip(got, expected)):
        if ours.shape != theirs.shape:
            return {"error": f"gives shape {tuple(ours.shape)}, the CPU {tuple(theirs.shape)}"}
        truth = None if exact is None else exact[index]
        found = {"output": index, **_compare(ours, theirs, truth)}
        if worst is None or _badness(found) > _badness(worst):
            worst = found
    return worst or {"error": "gives no tensor"}


def _badness(found: "dict[str, Any]") -> "tuple[int, float]":
    return found["nonfinite"], found["ratio"] or 0.0


def _compare(got: Any, expected: Any, exact: Any) -> "dict[str, Any]":
    """Relative L2 error of ``got`` beside its floor, over what is finite on both sides."""
    rounded = expected.to(got.dtype)
    finite = got.isfinite() & rounded.isfinite()
    nonfinite = int((got.isfinite() != rounded.isfinite()).sum())
    floor = _relative(rounded, expected if exact is None else exact, finite)
    floor = max(floor, _unit_roundoff(got.dtype))
    error = _relative(got, expected, finite)
    some_finite = bool(finite.any()) or not nonfinite
    return {
        "rel_l2": finite_or_none(error) if some_finite else None,
        "floor": finite_or_none(floor),
        # One side finite and the other not: no number says how wrong that is.
        "ratio": None if nonfinite else finite_or_none(error / floor),
        "nonfinite": nonfinite,
    }


def _relative(value: Any, reference: Any, finite: Any) -> float:
    """|value − reference| / |reference| in L2; absolute where the reference is zero."""
    value, reference = value.double(), reference.double()
    if not bool(finite.all()):
        value, reference = value[finite], reference[finite]
    scale = float(torch.linalg.vector_norm(reference))
    return float(torch.linalg.vector_norm(value - reference)) / (scale or 1.0)


def _unit_roundoff(dtype: Any) -> float:
    """Half the distance from 1 to the next number; float32's for what is no float."""
    return float(torch.finfo(dtype if dtype.is_floating_point else torch.float32).eps) / 2
