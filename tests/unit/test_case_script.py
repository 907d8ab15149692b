"""The script about a case: short, Python, nothing of sdbench, the case's own settings."""

import ast
import itertools
import re
from typing import Any

import msgspec
import pytest
from factories import make_config, make_model, make_run, make_stack

from sdbench.errors import StoreError
from sdbench.knowledge.diffusers_names import BACKENDS
from sdbench.records import Arm, Case, LoraInfo, Run
from sdbench.repro.case_script import case_script
from sdbench.worker.pipelines import attention

ARM = Arm()
GROUP = (
    "pipe.enable_group_offload(onload_device=torch.device(DEVICE), "
    'offload_type="block_level", num_blocks_per_group=1, use_stream=False)'
)


def run_with(run: dict[str, Any] | None = None, **config: Any) -> Run:
    return make_run(make_config(**config), **(run or {}))


def script(case: Case, run: Run | None = None, arm: Arm = ARM, **options: Any) -> str:
    text = case_script(run or run_with(), case, arm, **options)
    ast.parse(text, feature_version=(3, 8))
    return text


EVERYTHING = [
    msgspec.convert(
        {
            "attention_slicing": sliced,
            "attention": attention,
            "warmup": True,
            "batching": batching,
            "dtype": dtype,
            "offload": offload,
            "vae_slicing": True,
            "vae_tiling": True,
        },
        Case,
    )
    for (sliced, attention), batching, dtype, offload in itertools.product(
        [(True, "default"), (False, "sdpa")],
        ["loop", "batch"],
        ["float32", "float16", "bfloat16"],
        ["none", "sequential"],
    )
]


@pytest.mark.parametrize("case", EVERYTHING, ids=lambda case: case.case_id)
def test_sixty_lines_are_enough_whatever_is_set(case: Case) -> None:
    text = script(case, arm=Arm(env={"PYTORCH_ENABLE_MPS_FALLBACK": "1"}))
    assert len(text.splitlines()) <= 60


def test_imports_nothing_of_sdbench() -> None:
    tree = ast.parse(script(Case()))
    names = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert names == {"os", "platform", "resource", "sys", "time", "diffusers", "torch"}
    assert not any(isinstance(node, ast.ImportFrom) for node in ast.walk(tree))


@pytest.mark.parametrize(
    ("case", "lines"),
    [
        (Case(), ["pipe = load(DTYPE).to(DEVICE)"]),
        (Case(attention_slicing=True), ["pipe.enable_attention_slicing()"]),
        (Case(vae_slicing=True), ["pipe.vae.enable_slicing()"]),
        (Case(vae_tiling=True), ["pipe.vae.enable_tiling()"]),
        (Case(warmup=True), ["paint(BATCHES[0], steps=1)"]),
        (Case(offload="model"), ["pipe.enable_model_cpu_offload(device=DEVICE)"]),
        (
            Case(attention="math"),
            ["pipe.unet.set_attn_processor(diffusers.models.attention_processor.AttnProcessor())"],
        ),
    ],
)
def test_case_is_set_as_in_the_run(case: Case, lines: list[str]) -> None:
    assert set(lines) <= set(script(case).splitlines())


def test_batch_is_one_call_and_its_last_picture_is_checked_too() -> None:
    run = run_with(images=3)
    assert "BATCHES, CHECKED = [[0, 1, 2]], [0, 2]" in script(Case(batching="batch"), run)
    assert "BATCHES, CHECKED = [[0], [1], [2]], [0]" in script(Case(), run)


def test_prompts_and_seeds_are_the_runs() -> None:
    text = script(Case(), run_with(images=3, prompts=["a", "it's"], seed=5))
    assert """PROMPTS = ['a', "it's", 'a']""" in text
    assert "manual_seed(5 + picture)" in text


@pytest.mark.parametrize(
    ("name", "path", "shown"),
    [
        ("synthetic/tiny", "~/.cache/sdbench/tiny", "~/.cache/sdbench/tiny"),
        ("owner/model", "~/.cache/hub/snapshots/1", "owner/model"),
        ("~/models/mine", "~/models/mine", "~/models/mine"),
    ],
)
def test_model_is_a_folder_or_a_hub_id(name: str, path: str, shown: str) -> None:
    model = msgspec.structs.replace(make_model(path=path), name=name)
    run = run_with({"model": model})
    assert f"else '{shown}')" in script(Case(), run)


@pytest.mark.parametrize(
    ("diffusers", "option"),
    [("0.31.0", "torch_dtype=dtype"), ("0.42.1", "dtype=dtype"), ("1.0.0.dev0", "dtype=dtype")],
)
def test_type_is_asked_for_as_that_diffusers_knows_it(diffusers: str, option: str) -> None:
    run = run_with({"stacks": {"current": make_stack(diffusers=diffusers)}})
    assert f"\n        MODEL, {option}, " in script(Case(), run)


def test_half_precision_files_are_asked_for_where_there_are_no_others() -> None:
    assert 'variant="fp16"' in script(Case(), half_weights_only=True)
    assert "variant" not in script(Case())


def test_variables_that_change_what_is_computed_are_set_before_torch_comes() -> None:
    run = run_with({"environment": {"PYTORCH_ENABLE_MPS_FALLBACK": "1", "HF_HUB_OFFLINE": "1"}})
    arm = Arm(
        env={"PYTORCH_MPS_FAST_MATH": "1", "CUDA_TOKEN": "<secret>", "CUDA_VISIBLE_DEVICES": "1"}
    )
    text = script(Case(), run, arm)
    assert (
        "os.environ.update({'PYTORCH_ENABLE_MPS_FALLBACK': '1', 'PYTORCH_MPS_FAST_MATH': '1'})\n"
        "import diffusers, torch" in text
    )
    assert "HF_HUB" not in text and "secret" not in text


def test_floor_is_of_the_cases_own_type() -> None:
    exact, rounded = script(Case()), script(Case(dtype="float16"))
    assert "pipe = load(torch.float64)" in exact and "register_forward_hook" not in exact
    assert "float64" not in rounded and "register_forward_hook" in rounded


def test_xl_has_two_encoders_to_round_and_no_safety_checker() -> None:
    model = make_model("synthetic/sdxl", pipeline_class="StableDiffusionXLPipeline")
    text = script(Case(dtype="float16"), run_with({"model": model}))
    assert "*pipe.text_encoder_2.modules()" in text and "safety_checker" not in text


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ([], "a list of at least one text"),
        ("a cat", "a list of at least one text"),
        (["a cat", 5], "texts only"),
    ],
)
def test_prompts_that_are_none_make_no_script(prompts: Any, expected: str) -> None:
    run = run_with()
    broken = msgspec.structs.replace(run, config={**run.config, "prompts": prompts})
    with pytest.raises(StoreError, match=rf"run\.json: config.prompts: expected {expected}"):
        case_script(broken, Case(), ARM)


def test_script_does_not_leave_out_a_lora() -> None:
    lora = LoraInfo(name="x.safetensors", path="/x.safetensors", sha256="0" * 64, weight=1.0)
    run = run_with({"model": msgspec.structs.replace(make_model(), loras=[lora])})
    with pytest.raises(StoreError, match=r"model\.loras: expected none, got 1"):
        case_script(run, Case(), ARM)


@pytest.mark.parametrize("resolution", ["64", "64x", "64x64); import os; (0", "x" * 500])
def test_a_resolution_that_is_none_makes_no_script(resolution: str) -> None:
    with pytest.raises(StoreError, match=r"run\.json: resolution: expected WIDTHxHEIGHT") as raised:
        case_script(run_with(), Case(resolution=resolution), ARM)
    assert len(str(raised.value)) < 150


# --- families ------------------------------------------------------------------------------------


def test_other_pipelines_draw_from_a_generator_for_each_image() -> None:
    model = make_model(pipeline_class="FluxPipeline")
    text = script(Case(dtype="bfloat16"), run_with({"model": model}, scheduler="own"))
    assert "diffusers.FluxPipeline.from_pretrained(" in text
    assert "randn_tensor" in text and "latents=" not in text
    assert ".scheduler =" not in text and "safety_checker" not in text
    assert len(text.splitlines()) <= 66


def test_flow_schedulers_keep_the_shift_of_the_model() -> None:
    model = make_model(pipeline_class="StableDiffusion3Pipeline")
    text = script(Case(), run_with({"model": model}, scheduler="flow-dpmsolver"))
    (line,) = (line for line in text.splitlines() if ".scheduler =" in line)
    assert "DPMSolverMultistepScheduler" in line and "use_flow_sigmas=True" in line
    assert "flow_shift=pipe.scheduler.config.shift" in line


@pytest.mark.parametrize("name", ["DiffusionPipeline", "x; y", "AutoPipelineForText2Image", "os"])
def test_what_is_no_pipeline_of_diffusers_is_refused(name: str) -> None:
    with pytest.raises(StoreError, match="pipeline_class"):
        script(Case(), run_with({"model": make_model(pipeline_class=name)}))


def test_schedulers_are_those_of_the_worker() -> None:
    from sdbench.knowledge.diffusers_names import SCHEDULERS
    from sdbench.worker.pipelines import schedulers

    ours = {name: kind for name, (kind, _) in SCHEDULERS.items()}
    assert ours == {name: kind for name, (kind, _) in schedulers.SCHEDULERS.items()}


@pytest.mark.parametrize(
    ("case", "line"),
    [
        (Case(attention="math"), 'pipe.transformer.set_attention_backend("_native_math")'),
        (Case(attention="flash"), 'pipe.transformer.set_attention_backend("flash")'),
        (Case(compile=True), "pipe.transformer = torch.compile(pipe.transformer)"),
        (
            Case(offload="group"),
            GROUP,
        ),
    ],
)
def test_a_transformer_is_called_by_its_name(case: Case, line: str) -> None:
    run = run_with({"model": make_model(pipeline_class="FluxPipeline")})
    assert line in script(case, run).splitlines()


def test_a_case_has_its_own_scheduler_steps_and_guidance() -> None:
    text = script(Case(scheduler="euler", steps=7, guidance_scale=3.5))
    assert "EulerDiscreteScheduler" in text and "guidance_scale=3.5" in text
    assert re.search(r"STEPS = .*, 7\n", text)


@pytest.mark.parametrize(
    "case", [Case(vae_dtype="float32", dtype="float16"), Case(quantization="torchao-int8")]
)
def test_no_script_leaves_a_setting_out(case: Case) -> None:
    with pytest.raises(StoreError, match="is not supported"):
        script(case)


def test_backends_are_named_as_the_worker_names_them() -> None:
    assert BACKENDS == attention._BACKENDS


def test_script_takes_the_commit_of_a_model_of_the_hub() -> None:
    for name, revision, there in [
        ("owner/model", "0123456789" * 4, True),
        ("owner/model", "main", False),
        ("./model", "0123456789" * 4, False),
    ]:
        run = run_with({})
        model = msgspec.structs.replace(run.model, name=name, path="/m", revision=revision)
        run = msgspec.structs.replace(run, model=model)
        script = case_script(run, Case(), ARM)
        assert (f"revision='{revision}'" in script or f'revision="{revision}"' in script) is there
