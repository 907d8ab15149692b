"""Whatever text or number a run holds, what is written of it has the shape that it always has.

Scripts are parsed and their tree compared with that of an honest run, its literals masked. Markdown
is parsed and its blocks and links compared. The hostile values reach every field, generically.
"""

import ast
import copy
import csv
import functools
import io
import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from factories import (
    make_call,
    make_config,
    make_judged,
    make_model,
    make_replicate,
    make_run,
    make_stack,
)
from hostile_texts import NUMBERS, TEXTS, hostile_variants
from markdown_it import MarkdownIt
from test_operator_script import ORIGIN

from sdbench.diagnosis.snippets import diffusers_snippet
from sdbench.errors import SdbenchError, StoreError
from sdbench.localise.script import operator_script
from sdbench.quoting.markdown_text import code_block, code_span, plain
from sdbench.quoting.python_source import comment, literal, name, number, whole, words
from sdbench.records import CrashReport, FailureCause, ImageToImage, Run
from sdbench.report.export.tidy_csv import csv_of_runs
from sdbench.repro.case_script import case_script
from sdbench.repro.issue import issue_text
from sdbench.runs import LoadedRun

RUN_PATH = Path("results/x")
ARM = {
    "name": "mine",
    "stack": "current",
    "env": {"PYTORCH_MPS_FAST_MATH": "1", "OMP_TOOL_LIBRARIES": "/x/evil.so"},
}
CONFIG = make_config(
    images=2,
    prompts=["a", "b"],
    arm=[ARM],
    case=[
        {"resolution": "64x64", "attention": "math", "warmup": True, "batching": "batch"},
        {"resolution": "64x64", "dtype": "float16", "offload": "model"},
    ],
)
RUN = make_run(
    CONFIG,
    stacks={"current": make_stack(torch="2.0.0", diffusers="0.31.0")},
    environment={"PYTORCH_ENABLE_MPS_FALLBACK": "1"},
    model=make_model("owner/model"),
    label="mine",
    machine_facts={"identity": {"os_version": "15.1"}},
    prompt_remarks=["cut"],
)
REPLICATE = make_replicate(
    RUN.plan.slots[0],
    outcome="crashed",
    reason="ended by SIGABRT",
    cause=FailureCause(kind="metal", sentence="Metal refused it.", remedy="Less."),
    crash_report=CrashReport(message="failed"),
    stderr_tail="line\n",
    peak_memory_source="rss",
    device={"facts": {"name": "M9"}},
)
# What a run may choose: all of it is in a table of ours.
_CHOSEN = {
    *("StableDiffusionPipeline", "StableDiffusionXLPipeline"),
    *("DDIMScheduler", "PNDMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"),
    *("StableDiffusionImg2ImgPipeline", "FluxImg2ImgPipeline", "Flux2KleinPipeline"),
    "AutoPipelineForImage2Image",
    *("dtype", "torch_dtype"),
}


class _Masked(ast.NodeTransformer):
    """Literals and what a run may choose, all alike."""

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Constant("…")

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        minus = isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant)
        return ast.Constant("…") if minus else self.generic_visit(node)

    def visit_List(self, node: ast.List) -> ast.AST:
        self.generic_visit(node)
        data = all(isinstance(part, ast.Constant) for part in node.elts)
        return ast.Constant("…") if data else node

    def visit_Dict(self, node: ast.Dict) -> ast.AST:
        self.generic_visit(node)
        parts = [*node.keys, *node.values]
        return ast.Constant("…") if all(isinstance(p, ast.Constant) for p in parts) else node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        node.attr = "…" if node.attr in _CHOSEN else node.attr
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node.id = "…" if node.id in _CHOSEN else node.id
        return node

    def visit_alias(self, node: ast.alias) -> ast.AST:
        node.name = "…" if node.name in _CHOSEN else node.name
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        self.generic_visit(node)
        node.arg = "…" if node.arg in _CHOSEN else node.arg
        return node


@functools.lru_cache(maxsize=4096)  # most fields are in no script, so most scripts are alike
def tree(text: str) -> tuple[str, ...]:
    """One text for each statement of a script."""
    module = _Masked().visit(ast.parse(text))
    return tuple(ast.dump(statement) for statement in module.body)


def scripts_of(run: Run) -> Iterator[tuple[str, str]]:
    for index, planned in enumerate(run.plan.cases[:2]):
        yield f"script {index}", case_script(run, planned.case, run.plan.arms[0])
        row: Any = SimpleNamespace(summary=planned)
        versions = {
            key: text for stack in run.stacks.values() for key, text in stack.packages.items()
        }
        yield f"snippet {index}", diffusers_snippet(run, row, versions)


HONEST = {what: set(tree(text)) for what, text in scripts_of(RUN)}
# The same with an input image, for each way that a pipeline is given one.
FROM_IMAGE = [
    msgspec.structs.replace(
        RUN,
        config=RUN.config | {"mode": "image-to-image", "strength": 0.5},
        image_to_image=ImageToImage(pipeline_class=name, input_sha256={"64x64": "1" * 64}),
    )
    for name in (
        "StableDiffusionImg2ImgPipeline",
        "FluxImg2ImgPipeline",
        "Flux2KleinPipeline",
        None,
    )
]
# Honest runs differ in these: no variables, two encoders, one image, another way to warm up.
_OTHERS = [
    make_run(CONFIG, model=make_model("owner/model", pipeline_class="StableDiffusionXLPipeline")),
    make_run(make_config(images=1, case=[{"resolution": "64x64", "dtype": "float16"}] * 1)),
]
KNOWN = set().union(*HONEST.values()) | {
    statement
    for run in [
        *_OTHERS,
        *FROM_IMAGE,
        *(
            make_run(make_config(images=images, case=[{"resolution": "64x64", **settings}]))
            for images in (1, 2)
            for settings in (
                {"batching": "batch", "warmup": True},
                {"warmup": True},
                {"offload": "sequential", "attention": "sdpa"},
                {"vae_slicing": True, "vae_tiling": True, "dtype": "bfloat16"},
                {"attention_slicing": True},
            )
        ),
    ]
    for _, text in scripts_of(run)
    for statement in tree(text)
}


def test_every_field_of_a_run_is_data_in_a_script() -> None:
    checked = refused = 0
    for place, value, run in hostile_variants(RUN):
        try:
            for what, text in scripts_of(run):
                strange = [one for one in tree(text) if one not in KNOWN]
                assert not strange, (what, place, value, strange, text)
                checked += 1
        except SdbenchError as error:
            assert "\n" not in str(error), (place, value)
            refused += 1
    assert checked > 1000 and refused > 50


@pytest.mark.parametrize("run", FROM_IMAGE[:1])
def test_every_field_of_a_run_with_an_input_image_is_data_in_a_script(run: Run) -> None:
    checked = refused = 0
    for place, value, changed in hostile_variants(run):
        if place[0] not in ("config", "image_to_image"):
            continue  # as without one
        try:
            for what, text in scripts_of(changed):
                strange = [one for one in tree(text) if one not in KNOWN]
                assert not strange, (what, place, value, strange, text)
                checked += 1
        except SdbenchError as error:
            assert "\n" not in str(error), (place, value)
            refused += 1
    assert checked > 100 and refused > 10


def test_rule_sees_code_that_got_in() -> None:
    """Tried on the writer as it was: the text between quotes of ours, unquoted."""
    text = case_script(RUN, RUN.plan.cases[0].case, RUN.plan.arms[0])
    assert set(tree(text)) <= KNOWN
    for hostile in (TEXTS[0], TEXTS[1]):
        broken = text.replace("'owner/model'", f'"{hostile}"').replace(
            "64, 64, 2", f"64, 64, {hostile}"
        )
        with pytest.raises((AssertionError, SyntaxError)):
            assert set(tree(broken)) <= KNOWN


def test_variable_that_loads_a_library_is_in_no_script() -> None:
    text = case_script(RUN, RUN.plan.cases[0].case, RUN.plan.arms[0])
    assert "PYTORCH_MPS_FAST_MATH" in text and "OMP_TOOL" not in text and "evil" not in text


def test_pickle_is_never_allowed_by_a_run() -> None:
    run = msgspec.structs.replace(RUN, config={**RUN.config, "allow_pickle": True})
    for _, text in scripts_of(run):
        assert "use_safetensors=True" in text


@pytest.mark.parametrize("hostile", TEXTS)
def test_operator_script_holds_no_code_of_others(hostile: str) -> None:
    honest = make_judged(make_call(), 1e6)
    shape = tree(operator_script(honest, ORIGIN, carried=False))
    for field in ("op", "schema", "module", "module_class"):
        call = msgspec.structs.replace(honest.call, **{field: hostile})
        try:
            text = operator_script(_judged(honest, call), ORIGIN, carried=False)
        except StoreError:
            continue
        assert tree(text) == shape
    for field in ("model", "resolution", "dtype", "device", "sdbench"):
        origin = copy.copy(ORIGIN)
        object.__setattr__(origin, field, hostile)
        try:
            text = operator_script(honest, origin, carried=False)
        except StoreError:
            continue
        assert len(tree(text)) == len(shape)


def _judged(entry: Any, call: Any) -> Any:
    changed = copy.copy(entry)
    object.__setattr__(changed, "call", call)
    return changed


# --- the writer itself ---------------------------------------------------------------------------


class _Sly(str):
    def __repr__(self) -> str:
        return "__import__('os')"


@pytest.mark.parametrize(
    "value", [*TEXTS, *NUMBERS, "\ud800", _Sly("x"), True, None, ["a", {"b": 'c"'}], 0.1]
)
def test_literal_is_read_back_as_it_was(value: Any) -> None:
    text = literal(value)
    assert "\n" not in text
    assert ast.literal_eval(text) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), b"x", {1, 2}, 1j])
def test_what_has_no_literal_is_refused(value: Any) -> None:
    with pytest.raises(StoreError):
        literal(value)


@pytest.mark.parametrize("value", ["1", True, None, float("nan"), [1], "2; import os"])
def test_number_is_a_number(value: Any) -> None:
    for writer in (number, whole):
        with pytest.raises(StoreError):
            writer(value)


@pytest.mark.parametrize("text", ["", "a.b", "1a", "import", "a b", "ａ", "a" * 101, None, 3])
def test_name_is_a_name(text: Any) -> None:
    with pytest.raises(StoreError):
        name(text)


@pytest.mark.parametrize("text", TEXTS)
def test_comment_and_docstring_are_not_left(text: str) -> None:
    assert ast.parse(f"x = 1  # {comment(text)}\n").body[1:] == []
    module = ast.parse(f'"""{words(text)}"""\n')
    assert len(module.body) == 1
    assert len(comment("a" * 5000)) == 1000


# --- Markdown ------------------------------------------------------------------------------------

MARKDOWN = MarkdownIt("commonmark").enable("table")
STRANGE = {"link_open", "image", "html_block", "hr", "blockquote_open"}


@functools.lru_cache(maxsize=4096)
def shape(text: str) -> Counter[str]:
    """How many there are of each kind of block, link and mark-up."""
    found: Counter[str] = Counter()
    for token in MARKDOWN.parse(text):
        found[token.type] += 1
        for part in token.children or []:
            if part.type == "html_inline" and part.content == "<!-- -->":
                continue  # keeps GitHub from linking and from calling people
            found[part.type] += part.type in STRANGE | {"html_inline", "em_open", "strong_open"}
    return +found


def issue(run: Run, replicate: Any) -> str:
    return issue_text(run, run.plan.cases[0], run.plan.arms[0], [replicate], simulated=False)


def test_every_field_of_a_run_is_text_in_an_issue() -> None:
    headings = shape(issue(RUN, REPLICATE))["heading_open"]
    checked = 0
    for (place, value, record), kind in itertools.chain(
        zip(hostile_variants(RUN), itertools.repeat("run")),
        zip(hostile_variants(REPLICATE), itertools.repeat("replicate")),
    ):
        run, replicate = (record, REPLICATE) if kind == "run" else (RUN, record)
        try:
            text = issue(run, replicate)
        except (SdbenchError, ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
            continue  # a damaged record: what becomes of it is not the matter here
        found = shape(text)
        # Flags of planned cases are a section that an honest run may have too.
        assert found["heading_open"] - headings in (0, 1), (place, value, text)
        assert not {*STRANGE, "html_inline", "code_block"} & {*found}, (place, value, text)
        checked += 1
    assert checked > 1000


@pytest.mark.parametrize("text", [*TEXTS, "`", "``", "` a `", "a`", " ", "", "~~~", "````\nx"])
def test_code_in_markdown_is_not_left(text: str) -> None:
    (paragraph,) = [t for t in MARKDOWN.parse(f"a {code_span(text)} b") if t.type == "inline"]
    assert [part.type for part in paragraph.children or []] == ["text", "code_inline", "text"]
    tokens = MARKDOWN.parse(f"{code_block(text.splitlines(), 'text')}\n\nafter")
    assert tokens[0].type == "fence" and tokens[2].content == "after"
    assert plain(text).count("\n") == 0


# --- CSV and XML ---------------------------------------------------------------------------------


def test_every_field_of_a_replicate_is_text_in_a_table() -> None:
    honest = [*csv.reader(io.StringIO(csv_of_runs([LoadedRun(RUN_PATH, RUN, [], [REPLICATE])])))]
    checked = 0
    for place, value, record in hostile_variants(REPLICATE):
        if not isinstance(value, str):
            continue
        try:
            text = csv_of_runs([LoadedRun(RUN_PATH, RUN, [], [record])])
        except (KeyError, ValueError, TypeError, AttributeError):
            continue
        rows = [*csv.reader(io.StringIO(text))]
        # A process that the plan does not have is no row.
        assert [len(row) for row in rows] == [len(row) for row in honest][: len(rows)], place
        assert text.count("\n") == len(rows), (place, value)
        cells = [cell for row in rows[1:] for cell in row]
        bad = [c for c in cells if c[:1] in "=+-@\t\r" and not _is_number(c)]
        assert not bad, (place, value)
        checked += 1
    assert checked > 100


def _is_number(text: str) -> bool:
    try:
        float(text or "0")
    except ValueError:
        return False
    return True


def test_junit_stays_well_formed() -> None:
    from sdbench.analysis.run_summary import summary_of
    from sdbench.report.export.junit import junit_of_runs

    for hostile in TEXTS:
        record = msgspec.structs.replace(REPLICATE, reason=hostile)
        run = msgspec.structs.replace(RUN, run_id=hostile)
        summary = summary_of(LoadedRun(RUN_PATH, run, [], [record]))
        root = ElementTree.fromstring(junit_of_runs([summary]))
        assert {element.tag for element in root.iter()} <= {
            *("testsuites", "testsuite", "testcase", "failure", "skipped", "system-out")
        }
