"""Writes a script for a bug report that shows one wrong operator with torch alone, without sdbench.

Pure: a call's description becomes text. The operands are drawn from seeds, with the mean, deviation
    and memory layout of the real ones, or read from a safetensors file.
"""

import keyword
import re
from dataclasses import dataclass
from typing import Any

from sdbench.errors import StoreError
from sdbench.localise.depth_words import rounding_sentence
from sdbench.localise.ranking import BEYOND, JudgedCall
from sdbench.process.operator_calls import OperatorCall, Storage
from sdbench.quoting.python_source import comment, literal, name, number, whole, words

SCRIPT_FILE = "reproduce.py"
OPERANDS_FILE = "operands.safetensors"
# What a bug tracker still takes as an attachment.
LARGEST_OPERANDS_BYTES = 20_000_000

_NAME = re.compile(r"aten::(\w+)(?:\.(\w+))?")
_BYTES = {"float32": 4, "int32": 4, "float16": 2, "bfloat16": 2, "int16": 2, "int64": 8}


@dataclass(frozen=True)
class Origin:
    """Where the call was found."""

    model: str
    resolution: str
    dtype: str
    device: str
    sdbench: str


def operands_bytes(call: OperatorCall) -> int:
    """Size in bytes of the operands' memory in the type under test, without parts that are not
    read."""
    return sum(
        storage.elements * _BYTES.get(storage.dtype, 1)
        for storage in call.storages
        if not storage.unread
    )


def operator_script(entry: JudgedCall, origin: Origin, *, carried: bool) -> str:
    """The script; ``carried`` reads the operands from ``operands.safetensors`` next to it."""
    call, function = entry.call, _function(entry.call.op)
    names = _operand_names(call)
    place = f"{call.module} ({call.module_class})" if call.module else "the pipeline itself"
    loader = "\nfrom safetensors.torch import load_file" if carried else ""
    memory = "\n".join(
        f"    {_storage(index, storage, carried)}," for index, storage in enumerate(call.storages)
    )
    views = "\n".join(
        f"    {variable} = memory[{whole(operand.storage)}].as_strided("
        f"{tuple(operand.shape)}, {tuple(operand.stride)}, {whole(operand.offset)})"
        for variable, operand in zip(names, call.operands, strict=True)
    )
    return _SCRIPT.format(
        op=call.op,
        does=_DOES[entry.status].format(name(origin.device)),
        place=words(place),
        index=whole(call.index),
        rounding=words(rounding_sentence(entry)),
        sdbench=words(origin.sdbench),
        model=words(origin.model),
        resolution=words(origin.resolution),
        dtype=name(origin.dtype),
        device=literal(origin.device),
        needs="torch and safetensors" if carried else "torch alone",
        imports="import pathlib\nimport platform\nimport sys\n" if carried else _IMPORTS,
        loader=loader,
        limit=f"{BEYOND:g}",
        memory_words=_CARRIED if carried else _SEEDED,
        memory=memory,
        views=f"\n{views}" if views else "",
        schema=comment(call.schema),
        function=function,
        arguments=_arguments(call, names),
        output=whole(entry.comparison.output),
    )


_DOES = {
    "compared": "gives a result on {0} that differs from the CPU's",
    "failed": "fails on {0}",
    "crashed": "crashes the process on {0}",
    "hung": "does not return on {0}",
}
_IMPORTS = "import platform\nimport sys\n"
_SEEDED = '''def normal(seed, count, mean, deviation):
    """Random numbers with the recorded mean and deviation."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, generator=generator) * deviation + mean


def integers(seed, count, low, high):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high + 1, (count,), generator=generator)


# The memory of the operands.'''
_CARRIED = f"""# The memory of the operands, as recorded.
CARRIED = load_file(str(pathlib.Path(__file__).with_name("{OPERANDS_FILE}")))"""


def _storage(index: int, storage: Storage, carried: bool) -> str:
    """A Python expression for the memory of an operand, on the CPU."""
    count, dtype = whole(storage.elements), f"torch.{name(storage.dtype)}"
    if storage.unread:
        return f'torch.full(({count},), float("nan"), dtype={dtype})'
    if carried:
        return f'CARRIED["{index}"]'
    if storage.low is not None:
        limits = f"{whole(storage.low)}, {whole(storage.high)}"
        return f"integers({index}, {count}, {limits}).to({dtype})"
    mean, deviation = storage.mean or 0.0, storage.deviation or 0.0
    number(mean)
    number(deviation)
    return f"normal({index}, {count}, {mean:.6g}, {deviation:.6g}).to({dtype})"


def _operand_names(call: OperatorCall) -> list[str]:
    """The schema's argument names as valid variable names of the script."""
    return [
        name(f"{operand.name}_" if keyword.iskeyword(operand.name) else operand.name)
        for operand in call.operands
    ]


def _function(op: str) -> str:
    match = _NAME.fullmatch(op)
    if match is None:
        raise StoreError(f"{op!r:.60} is not an aten operator")
    return f"torch.ops.aten.{match[1]}.{match[2] or 'default'}"


def _arguments(call: OperatorCall, names: list[str]) -> str:
    return ", ".join(
        f"{name(argument.name)}={_value(argument.value, names)}"
        if argument.by_name
        else _value(argument.value, names)
        for argument in call.arguments
    )


def _value(value: Any, names: list[str]) -> str:
    """An argument as Python source."""
    if isinstance(value, list):
        return f"[{', '.join(_value(part, names) for part in value)}]"
    if not isinstance(value, dict):
        return literal(value)
    ((kind, what),) = value.items()
    if kind == "operand":
        return names[what]
    if kind == "torch":
        return f"torch.{name(what)}"
    return "device" if kind == "device" else f'float("{float(what)}")'


_SCRIPT = '''"""{op} {does}. Needs {needs}.

Found by sdbench {sdbench} in {place},
call {index} of a pass: {model}, {resolution}, {dtype}.
{rounding}
Usage: python reproduce.py [device]. The exit code is 0 for PASS and 1 for FAIL.
"""

{imports}
import torch{loader}

DEVICE = sys.argv[1] if len(sys.argv) > 1 else {device}
DTYPE = torch.{dtype}
LIMIT = {limit}  # a right result is within a few times the floor
torch.set_grad_enabled(False)


{memory_words}
MEMORY = [
{memory}
]


def run(device, dtype):
    """Call the operator on views of memory with the recorded shapes, strides and offsets."""
    memory = [
        flat.to(device, dtype if flat.is_floating_point() else flat.dtype, copy=True)
        for flat in MEMORY
    ]{views}
    # {schema}
    result = {function}({arguments})
    result = result if isinstance(result, torch.Tensor) else result[{output}]
    return result.cpu()


def distance(value, reference):
    """Relative L2 error over elements finite in both, and how many are finite in only one."""
    rounded = reference.to(value.dtype)
    both = value.isfinite() & rounded.isfinite()
    nonfinite = (value.isfinite() != rounded.isfinite()).sum()
    value, reference = value.double()[both], reference.double()[both]
    return float((value - reference).norm() / (reference.norm() or 1)), int(nonfinite)


print(f"torch {{torch.__version__}}, Python {{platform.python_version()}}, {{platform.platform()}}")
expected = run("cpu", torch.float32)
if DTYPE is torch.float32:
    floor = distance(expected, run("cpu", torch.float64))[0]
else:
    floor = distance(expected.to(DTYPE), expected)[0]
print(f"{op} on {{DEVICE}}: ", end="", flush=True)
try:
    result = run(DEVICE, DTYPE)
except Exception as error:
    print(f"{{type(error).__name__}}: {{error}}\\nFAIL")
    sys.exit(1)
error, nonfinite = distance(result, expected)
precision = torch.finfo(result.dtype if result.is_floating_point() else torch.float32)
floor = max(floor, precision.eps / 2)
print(f"error {{error:.3g}}, floor {{floor:.3g}}, {{error / floor:.1f}} times the floor")
if nonfinite:
    print(f"{{nonfinite}} elements are finite on one side and not on the other")
good = not nonfinite and error <= LIMIT * floor
print("PASS" if good else "FAIL")
sys.exit(0 if good else 1)
'''
