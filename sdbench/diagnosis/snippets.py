"""Measured settings as code for diffusers, and as the nearest options of other programs. Pure.

ComfyUI's options are those of its ``comfy/cli_args.py``, InvokeAI's those of ``invokeai.yaml``.
They do nearly the same, by other code: nothing of them was measured here.
"""

from sdbench.analysis.case_result import CaseResult
from sdbench.knowledge.diffusers_names import (
    attention_lines,
    compile_lines,
    config_of_case,
    denoiser_name,
    dtype_option,
    offload_line,
    pipeline_class,
    scheduler_class,
    scheduler_line,
    switches,
    takes_size,
    takes_strength,
    without_code,
)
from sdbench.quoting.python_source import comment, literal, name, number, whole
from sdbench.records import Case, ModelInfo, Run

# What to name where the measured weights are random.
_REAL_MODELS = {
    "builtin/shapes": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "synthetic/tiny": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "synthetic/sd15": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "synthetic/sdxl": "stabilityai/stable-diffusion-xl-base-1.0",
    "synthetic/sd3": "stabilityai/stable-diffusion-3-medium-diffusers",
    "synthetic/flux": "black-forest-labs/FLUX.1-schnell",
    "synthetic/flux2-klein": "black-forest-labs/FLUX.2-klein-4B",
    "synthetic/z-image": "Tongyi-MAI/Z-Image-Turbo",
    "synthetic/lcm": "SimianLuo/LCM_Dreamshaper_v7",
}
_NAMED = ("diffusers", "torch")
_WIDTH = 80


def diffusers_snippet(run: Run, row: CaseResult, versions: dict[str, str]) -> str:
    """Code that makes images with the settings of a row, ready to paste.

    Raises:
        StoreError: a value of the run is not what code can hold; says which.
    """
    case, denoiser = row.summary.case, denoiser_name(run.model)
    config, not_set = config_of_case(run, case), without_code(case)
    scheduler, pipeline = scheduler_class(config), pipeline_class(run)
    steps, guidance = whole(config.get("steps")), number(config.get("guidance_scale"))
    size = f"width={whole(case.width)}, height={whole(case.height)}"
    measured = ", ".join(
        f"{package} {versions[package]}" for package in _NAMED if package in versions
    )
    remarks = [f"measured in {measured or 'diffusers'} on {run.device}, {steps} steps"]
    options = f"{dtype_option(versions)}=torch.{name(case.dtype)}, use_safetensors=True"
    if run.model.pipeline_class == "StableDiffusionPipeline":
        remarks.append("without the safety checker")
        options += ", safety_checker=None"
    images = whole(config.get("images"))
    batch, split = (case.batching == how and int(images) > 1 for how in ("batch", "split"))
    on_cpu = run.device == "cpu"
    processes = "--cpu --num_processes 2" if on_cpu else "--multi_gpu"
    launched = f"# to be started with: accelerate launch {processes} FILE"
    lines = [
        *(f"# {comment(remark)}" for remark in remarks),
        *([f"# measured with {comment(', '.join(not_set))}, not set here"] if not_set else []),
        *([launched, "from accelerate import PartialState"] if split else []),
        "import torch",
        f"from diffusers import {', '.join(filter(None, [scheduler, pipeline]))}",
        *(["from diffusers.utils import load_image"] if run.image_to_image is not None else []),
        "",
        *_model_remark(run.model),
        f"model = {literal(_model_name(run.model))}",
        *_call(f"pipe = {pipeline}.from_pretrained(", f"model, {options}"),
        *filter(None, [scheduler_line(config)]),
        *([f"state = PartialState({'cpu=True' if on_cpu else ''})"] if split else []),
        _placement(case, run.device),
        *attention_lines(case, denoiser),
        *switches(case),
        *compile_lines(case, denoiser),
    ]
    prime_steps = "1"
    if run.image_to_image is not None:
        sides = f"({whole(case.width)}, {whole(case.height)})"
        lines.append(f"image = load_image('path/to/your/image.png').resize({sides})")
        many = batch and takes_strength(pipeline)
        given = f"image=[image] * {images}" if many else "image=image"
        size = ", ".join([given, *([size] if takes_size(pipeline) else [])])
        if takes_strength(pipeline):
            size += f", strength={number(config.get('strength'))}"
            prime_steps = steps
    call = f"num_inference_steps={steps}, guidance_scale={guidance}, {size}"
    times = f" * {images}" if batch or split else ""
    lines.append(f"prompts = ['a photo of an astronaut riding a horse on mars']{times}")
    if case.warmup:
        first = "prompts" if batch else "prompts[0]"
        lines.append("# warm-up: thrown away")
        lines += _call("pipe(", f"{first}, num_inference_steps={prime_steps}, {size}")
    lines += _call("settings = dict(", call)
    if batch:
        lines.append("images = pipe(prompts, **settings).images")
    elif split:
        lines.append("with state.split_between_processes(prompts) as share:")
        lines.append("    images = [pipe(prompt, **settings).images[0] for prompt in share]")
    else:
        lines.append("images = [pipe(prompt, **settings).images[0] for prompt in prompts]")
    return "\n".join(lines) + "\n"


def elsewhere(case: Case) -> dict[str, list[str]]:
    """The nearest options of other programs; not measured there."""
    return {"ComfyUI": _comfyui(case), "InvokeAI": _invokeai(case)}


def _comfyui(case: Case) -> list[str]:
    options = {
        "float16": "--force-fp16",
        "float32": "--force-fp32",
        "bfloat16": "--bf16-unet",
    }
    found = [options[case.dtype]]
    if case.attention_slicing:
        found.append("--use-split-cross-attention")
    elif case.attention != "math":
        found.append("--use-pytorch-cross-attention")
    if case.offload != "none":
        found.append("--lowvram")
    if case.vae_tiling:
        found.append('node "VAE Decode (Tiled)"')
    found.append(f'node "Empty Latent Image": width {case.width}, height {case.height}')
    if case.batching == "batch":
        found.append('node "Empty Latent Image": batch_size above 1')
    return found


def _invokeai(case: Case) -> list[str]:
    found = [f"precision: {case.dtype}"]
    if case.attention_slicing:
        found += ["attention_type: sliced", "attention_slice_size: auto"]
    else:
        found.append("attention_type: " + ("normal" if case.attention == "math" else "torch-sdp"))
    if case.vae_tiling:
        found.append("force_tiled_decode: true")
    return found


def _model_name(model: ModelInfo) -> str:
    if model.name in _REAL_MODELS:
        return _REAL_MODELS[model.name]
    looks_local = model.name.startswith((".", "/", "~")) or model.name.count("/") != 1
    return "path/to/your/model" if looks_local else model.name


def _model_remark(model: ModelInfo) -> list[str]:
    if model.name in _REAL_MODELS:
        kind = "a small model of sdbench's own" if model.trained else "random weights"
        return [f"# measured: {model.name}, {kind}"]
    return [] if _model_name(model) == model.name else [f"# measured: {comment(model.name)}"]


def _call(head: str, arguments: str) -> list[str]:
    """A call on one line; the arguments on a line of their own where a terminal would fold it."""
    line = f"{head}{arguments})"
    return [line] if len(line) < _WIDTH else [head, f"    {arguments}", ")"]


def _placement(case: Case, device: str) -> str:
    where = "state.device" if case.batching == "split" else literal(device)
    if case.offload == "none":
        return f"pipe = pipe.to({where})"
    return offload_line(case, where, cuda=device == "cuda")
