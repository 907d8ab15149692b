"""The script about one operator: it is Python, needs nothing of sdbench, says what was met."""

import ast
import re
from typing import Any

import pytest
from factories import make_call, make_judged

from sdbench.errors import StoreError
from sdbench.localise.ranking import JudgedCall
from sdbench.localise.script import Origin, operands_bytes, operator_script
from sdbench.process.operator_calls import OperatorCall

ORIGIN = Origin("synthetic/tiny", "64x64", "float16", "mps", "0.1.0")


def script(entry: JudgedCall, *, carried: bool = False) -> str:
    text = operator_script(entry, ORIGIN, carried=carried)
    ast.parse(text, feature_version=(3, 8))
    return text


def imports(text: str) -> set[str]:
    return set(re.findall(r"^(?:import|from) (\w+)", text, re.M))


def with_value(value: Any) -> OperatorCall:
    return make_call(arguments=[{"name": "it", "by_name": False, "value": value}])


def call_line(call: OperatorCall) -> str:
    found = re.search(r"result = torch\.ops\.(.*)", script(make_judged(call, 1e6)))
    assert found is not None
    return found[1]


def test_needs_torch_alone_with_seeded_operands() -> None:
    text = script(make_judged(make_call(), 1e6))
    assert imports(text) == {"platform", "sys", "torch"}
    assert "normal(0, 6, 0.5, 2).to(torch.float32)" in text


def test_reads_carried_operands_from_safetensors() -> None:
    text = script(make_judged(make_call(), 1e6), carried=True)
    assert imports(text) == {"pathlib", "platform", "sys", "torch", "safetensors"}
    assert 'CARRIED["0"]' in text and "normal(" not in text


def test_calls_the_overload_with_operands_laid_out_as_they_were() -> None:
    text = script(make_judged(make_call(), 1e6))
    assert "torch.ops.aten.add.Tensor(self, other, alpha=1)" in text
    assert "self = memory[0].as_strided((2, 3), (3, 1), 0)" in text
    assert "other = memory[1].as_strided((2, 3), (3, 1), 0)" in text


def test_operator_without_overload_is_the_default_one() -> None:
    assert "aten.silu.default(" in script(make_judged(make_call(op="aten::silu"), 1e6))


@pytest.mark.parametrize(
    ("value", "source"),
    [
        (None, "None"),
        (True, "True"),
        (-1, "-1"),
        (0.5, "0.5"),
        ("tanh", "'tanh'"),
        ({"float": "-inf"}, 'float("-inf")'),
        ({"torch": "float16"}, "torch.float16"),
        ({"device": True}, "device"),
        ([1, [2, 3]], "[1, [2, 3]]"),
        ([{"operand": 1}, None, {"operand": 0}], "[other, None, self]"),
    ],
)
def test_arguments_are_written_as_python(value: Any, source: str) -> None:
    assert call_line(with_value(value)) == f"aten.add.Tensor({source})"


@pytest.mark.parametrize(
    ("storage", "source"),
    [
        (
            {"dtype": "float16", "unread": True},
            'torch.full((6,), float("nan"), dtype=torch.float16)',
        ),
        ({"dtype": "int64", "low": 3, "high": 9}, "integers(0, 6, 3, 9).to(torch.int64)"),
        ({"dtype": "bool", "low": 0, "high": 1}, "integers(0, 6, 0, 1).to(torch.bool)"),
        ({"dtype": "float32", "mean": None}, "normal(0, 6, 0, 0).to(torch.float32)"),
    ],
)
def test_memory_is_filled_with_what_is_like_it(storage: dict[str, Any], source: str) -> None:
    call = make_call(
        operands=[{"name": "self", "storage": 0, "shape": [6], "stride": [1], "offset": 0}],
        storages=[{"elements": 6, **storage}],
        arguments=[],
    )
    assert f"    {source},\n" in script(make_judged(call, 1e6))


def test_call_without_operands_is_a_script_too() -> None:
    device = {"name": "device", "by_name": True, "value": {"device": True}}
    call = make_call(op="aten::arange", operands=[], storages=[], arguments=[device])
    assert call_line(call) == "aten.arange.default(device=device)"


def test_name_that_python_keeps_for_itself_is_changed() -> None:
    call = make_call(
        operands=[{"name": "from", "storage": 0, "shape": [6], "stride": [1], "offset": 0}],
        arguments=[{"name": "from", "by_name": False, "value": {"operand": 0}}],
    )
    assert "from_ = memory[0]" in script(make_judged(call, 1e6))


@pytest.mark.parametrize("op", ["aten::add;import os", "os.system", "aten::"])
def test_only_operators_get_into_a_script(op: str) -> None:
    with pytest.raises(StoreError, match="not an aten operator"):
        operator_script(make_judged(make_call(op=op), 1e6), ORIGIN, carried=False)


def test_only_names_get_into_a_script() -> None:
    with pytest.raises(StoreError, match="expected a name"):
        script(make_judged(with_value({"torch": "float16); import os"}), 1e6))


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("compared", "gives a result on mps that differs from the CPU's"),
        ("failed", "fails on mps"),
        ("crashed", "crashes the process on mps"),
        ("hung", "does not return on mps"),
    ],
)
def test_says_what_was_met_and_where(status: Any, words: str) -> None:
    text = script(make_judged(make_call(7), 1e6, status=status))
    docstring = ast.get_docstring(ast.parse(text)) or ""
    assert docstring.startswith(f"aten::add.Tensor {words}.")
    assert "unet.part7 (Part)" in docstring and "synthetic/tiny, 64x64, float16" in docstring


def test_size_counts_the_memory_that_is_read() -> None:
    storages = [
        {"elements": 10, "dtype": "float16"},
        {"elements": 10, "dtype": "float32"},
        {"elements": 10, "dtype": "int64"},
        {"elements": 10, "dtype": "bool"},
        {"elements": 10, "dtype": "float32", "unread": True},
    ]
    assert operands_bytes(make_call(storages=storages)) == 20 + 40 + 80 + 10
