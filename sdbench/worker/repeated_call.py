"""One operator call: its operands as they lie in memory, done again elsewhere, and compared.

An operand is a view of a storage. The storage is copied whole, as one flat run of numbers, and the
operand is the same view of the copy: shape, strides, offset, and memory shared with other operands
are those it was met with. Results come back the same way.
"""

import hashlib
import json
import math
from typing import Any, Callable, Iterator, Optional

import torch

from .channel import finite_or_none
from .devices import Device

# Their second and third results are statistics for training. Means near zero have no digits.
_FIRST_RESULT_COUNTS = (
    "aten::native_layer_norm",
    "aten::native_group_norm",
    "aten::native_batch_norm",
    "aten::_scaled_dot_product_",
)
LAYOUTS = ("channels_last", "slice")


def operator_name(func: Any) -> str:
    """``aten::add.Tensor``; the overload called default has no name."""
    schema = func._schema
    overload = schema.overload_name
    return f"{schema.name}.{overload}" if overload else str(schema.name)


def written(func: Any, args: Any, kwargs: "dict[str, Any]") -> "list[Any]":
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


def tensors_in(value: Any) -> "Iterator[Any]":
    """All tensors in arguments or results, in order."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))


def _storage(tensor: Any) -> "tuple[int, int]":
    """Address and number of elements of the memory behind a tensor."""
    storage = tensor.untyped_storage() if hasattr(tensor, "untyped_storage") else tensor.storage()
    return storage.data_ptr(), storage.nbytes() // tensor.element_size()


def _flat(tensor: Any) -> Any:
    """All the memory behind a tensor, as one run of numbers."""
    return tensor.as_strided((_storage(tensor)[1],), (1,), 0)


class Call:
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
        for tensor in tensors_in([args, kwargs]):
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
        given = {argument.name: value for argument, value in _bound(*self._given())}
        operand = given.get("self")
        # A number that is no tensor: 0, 0.0 and False are all "do not read it".
        if not isinstance(operand, torch.Tensor) or given.get("beta", 1) != 0:
            return set()
        index = self._storage_of[id(operand)]
        if list(self._storage_of.values()).count(index) > 1 or written(*self._given()):
            return set()
        self._flats[index] = torch.full_like(self._flats[index], float("nan"))
        return {index}

    @property
    def name(self) -> str:
        """The operator without its overload: ``aten::mean``."""
        return str(self._func._schema.name)

    def named(self, dtype: Any) -> "dict[str, Any]":
        """All arguments by name, those not given as well, on the CPU."""
        defaults = {
            argument.name: argument.default_value
            for argument in self._func._schema.arguments
            if argument.has_default_value()
        }
        args, kwargs = self._rebuilt("cpu", dtype)
        given = {argument.name: value for argument, value in _bound(self._func, args, kwargs)}
        return {**defaults, **given}

    def squared(self) -> Any:
        """The first result of the same call with squared operands, in float32 on the CPU."""
        args, kwargs = self._rebuilt("cpu", torch.float32, torch.square)
        for name in ("alpha", "beta"):
            if name in kwargs:
                kwargs[name] = kwargs[name] ** 2
        return next(tensors_in(self._func(*args, **kwargs)))

    def _given(self) -> "tuple[Any, Any, dict[str, Any]]":
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

    def _rebuilt(
        self, device: str, dtype: Any, change: "Optional[Callable[[Any], Any]]" = None
    ) -> "tuple[Any, dict[str, Any]]":
        """The arguments on a device, the floating-point ones in a type and changed."""
        flats = [
            flat.to(device=device, dtype=dtype if _is_float(flat) else flat.dtype, copy=True)
            for flat in self._flats
        ]
        if change is not None:
            flats = [change(flat) if _is_float(flat) else flat for flat in flats]
        widened = torch.float64 if dtype is torch.float64 else torch.float32

        def rebuilt(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                flat = flats[self._storage_of[id(value)]]
                return flat.as_strided(value.shape, value.stride(), value.storage_offset())
            if isinstance(value, torch.device):
                return torch.device(device)
            return widened if value is torch.float32 else value

        args, kwargs = mapped(self._args, rebuilt), mapped(self._kwargs, rebuilt)
        if self._needs_device():
            kwargs["device"] = torch.device(device)
        return args, kwargs

    def _results(self, device: str, dtype: Any) -> "list[Any]":
        args, kwargs = self._rebuilt(device, dtype)
        result = self._func(*args, **kwargs)
        found = list(tensors_in(result)) or written(self._func, args, kwargs)
        return found[:1] if operator_name(self._func).startswith(_FIRST_RESULT_COUNTS) else found

    def _needs_device(self) -> bool:
        """Whether a tensor is made of nothing, on a device that was not named."""
        takes_device = any(argument.name == "device" for argument in self._func._schema.arguments)
        return not self._operands and takes_device and "device" not in self._kwargs

    def describe(self) -> "dict[str, Any]":
        """All that is needed to write this call down again, with operands like these."""
        names: "dict[int, str]" = {}
        arguments: "list[dict[str, Any]]" = []
        for argument, value in _bound(*self._given()):
            for number, tensor in enumerate(tensors_in(value)):
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
            "op": operator_name(self._func),
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


def mapped(value: Any, change: "Callable[[Any], Any]") -> Any:
    """Arguments with each single value changed."""
    if isinstance(value, dict):
        return {name: mapped(part, change) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        parts = [mapped(part, change) for part in value]
        return parts if isinstance(value, list) else tuple(parts)
    return change(value)


def laid_out(args: Any, kwargs: "dict[str, Any]", layout: str) -> "Optional[tuple[Any, Any]]":
    """The arguments with the first operand elsewhere in memory; None where that cannot be.

    ``channels_last`` has the channels of an image next to each other, ``slice`` is the second
    half of a tensor twice as wide, as ``chunk`` gives it.
    """
    first = next((t for t in tensors_in([args, kwargs]) if _is_float(t) and t.dim() >= 3), None)
    if first is None or not first.is_contiguous():
        return None
    if layout == "slice":
        other = torch.cat([first, first], 1)[:, first.shape[1] :]
    elif first.dim() == 4:
        other = first.contiguous(memory_format=torch.channels_last)
    else:
        return None
    if other.stride() == first.stride() and not other.storage_offset():
        return None  # one channel, or an image of one pixel: nothing to lay out in another way

    def moved(value: Any) -> Any:
        return other if value is first else value

    return mapped(args, moved), mapped(kwargs, moved)


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


def signature_of(description: "dict[str, Any]") -> str:
    """Equal for calls that differ in their operands' content alone."""
    parts = [description[name] for name in ("op", "arguments", "operands")]
    parts += [[entry["elements"], entry["dtype"]] for entry in description["storages"]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def exact_results(call: Call) -> "Optional[list[Any]]":
    """The call in float64, where the CPU has a kernel for that."""
    try:
        return call.on_cpu(torch.float64)
    except (RuntimeError, NotImplementedError, TypeError):
        return None


def compare_results(
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
    return worst or {"error": "does not return a tensor"}


def _badness(found: "dict[str, Any]") -> "tuple[int, float]":
    return found["nonfinite"], found["ratio"] or 0.0


def _compare(got: Any, expected: Any, exact: Any) -> "dict[str, Any]":
    """Relative L2 error of ``got`` compared with its floor, over what is finite on both sides."""
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
