"""Writes a script that repeats one case of a run without sdbench: speed, memory, error compared
with the CPU.

Pure: a run's records become at most 60 lines of text. The images come from the same latents as
in the run (drawn by a CPU generator in float32), the CPU's float32 image is the reference, and
the floor is the error of rounding alone: float64 for float32, and for half precision float32 with
the weights and every module's output rounded to that type.
"""

import re
from collections.abc import Mapping
from typing import Any

from sdbench.errors import StoreError
from sdbench.knowledge.diffusers_names import (
    attention_lines,
    compile_lines,
    config_of_case,
    denoiser_name,
    dtype_option,
    is_given_latents,
    offload_line,
    pipeline_class,
    scheduler_line,
    switches,
    without_code,
)
from sdbench.knowledge.variables import is_tuning
from sdbench.quoting.python_source import literal, name, number, whole, words
from sdbench.records import Arm, Case, DeviceKind, Run

# How far beyond the floor an image counts as wrong. Both are ends of whole passes, which amplify
# any difference alike: half precision on a CPU came to 1.1 floors (synthetic/tiny, 64x64), and
# a different image is hundreds of floors away.
LIMIT = 10

_ATTENTION = "diffusers.models.attention_processor."
_MOST_IMAGES = 64  # what a configuration may ask for
_COMMIT = re.compile(r"[0-9a-f]{40}")
_RESOLUTION = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")
_READ_BY_TORCH = ("PYTORCH_", "CUDA_", "NVIDIA_", "OMP_", "MKL_")
# Which GPU, and where CUDA is: of the machine that the run was made on.
_OF_THE_MACHINE = {
    "CUDA_HOME",
    "CUDA_PATH",
    "CUDA_VERSION",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
}
_RESIDENT = (
    'resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)'
)
_MEMORY: dict[DeviceKind, tuple[str, str]] = {
    "cuda": ("torch.cuda.max_memory_allocated()", "peak of the allocator"),
    "mps": (
        'torch.mps.driver_allocated_memory() if hasattr(torch, "mps") else 0',
        "Metal's memory at the end; 0 before torch 2.0",
    ),
    "cpu": (_RESIDENT, "peak of the process"),
}


def case_script(
    run: Run,
    case: Case,
    arm: Arm,
    *,
    passes: int | None = None,
    half_weights_only: bool = False,
    allow_pickle: bool = False,
) -> str:
    """The script for one case in one variant.

    Its model is a folder or Hub id given on the command line, by default the run's own, written
    with ``~`` for the home folder. ``half_weights_only``: it has only files named ``.fp16.``.
    ``passes``: how many to make where the configuration leaves that to the worker.
    ``allow_pickle``: pickle files are read too, which no record of a run can ask for.

    Raises:
        StoreError: a value of the run cannot be written into a script; the message names it.
    """
    config = config_of_case(run, case)
    _require_plain_model(run)
    _require_code(case)
    images, prompts = _images(config), _prompts(config)
    width, height = _sides(case)
    batch = case.batching == "batch"
    memory, memory_words = _MEMORY[run.device]
    pipeline = pipeline_class(run)
    given = is_given_latents(pipeline)
    scheduler = scheduler_line(config, prefix="diffusers.")
    return _SCRIPT.format(
        case_id=words(case.case_id),
        run_id=words(run.run_id),
        environment=_environment(run, arm),
        scheduler=f"    {scheduler}\n" if scheduler else "",
        paint=_paint(run, config, given),
        pipeline_class=pipeline,
        model=literal(_model(run)),
        device=name(run.device),
        dtype=name(case.dtype),
        width=width,
        height=height,
        steps=whole(config.get("steps")),
        prompts=literal([prompts[index % len(prompts)] for index in range(images)]),
        batches=[[*range(images)]] if batch else [[index] for index in range(images)],
        # Faults of batches spare the first image.
        checked=sorted({0, images - 1}) if batch else [0],
        limit=LIMIT,
        options=_options(run, arm, half_weights_only, allow_pickle),
        settings="\n".join(_settings(run, case)),
        passes=whole(config.get("passes") if passes is None else passes),
        memory=memory,
        memory_words=memory_words,
        exact="float64" if case.dtype == "float32" else "float32",
        rounding="" if case.dtype == "float32" else _ROUNDING.format(modules=_modules(pipeline)),
    )


def _images(config: Mapping[str, Any]) -> int:
    images = config.get("images")
    if type(images) is not int or not 1 <= images <= _MOST_IMAGES:
        raise StoreError(
            f"run.json: config.images: expected a whole number from 1 to {_MOST_IMAGES}, "
            f"got {images!r:.60}"
        )
    return images


def _prompts(config: Mapping[str, Any]) -> list[str]:
    prompts = config.get("prompts")
    if not isinstance(prompts, (list, tuple)) or not prompts:
        raise StoreError("run.json: config.prompts: expected a list of at least one text")
    if not all(isinstance(prompt, str) for prompt in prompts):
        raise StoreError("run.json: config.prompts: expected texts only")
    return [*prompts]


def _modules(pipeline: str) -> str:
    """The modules whose outputs are rounded, as entries of a list."""
    if not is_given_latents(pipeline):
        return "m for p in pipe.components.values() if hasattr(p, 'modules') for m in p.modules()"
    encoders = ["text_encoder", "text_encoder_2"] if "XL" in pipeline else ["text_encoder"]
    return ", ".join(f"*pipe.{one}.modules()" for one in [*encoders, "unet", "vae"])


def _sides(case: Case) -> tuple[str, str]:
    match = _RESOLUTION.fullmatch(case.resolution)
    if match is None:
        raise StoreError(
            f"run.json: resolution: expected WIDTHxHEIGHT, got {case.resolution!r:.60}"
        )
    return match[1], match[2]


def _require_plain_model(run: Run) -> None:
    """Refuse models that a pipeline folder or a Hub id does not describe completely."""
    if run.model.loras:
        raise StoreError(
            f"run.json: model.loras: expected none, got {len(run.model.loras)}: scripts for a "
            "model with LoRAs are not supported"
        )
    if run.model.file is not None:
        raise StoreError(
            "run.json: model.file: expected none: scripts for a model in one file are not supported"
        )


def _require_code(case: Case) -> None:
    left_out = without_code(case)
    if case.batching == "split":
        left_out.append("batching = split")
    if left_out:
        raise StoreError(
            f"{case.case_id}: expected settings that a script can switch on, got "
            f"{', '.join(left_out)}: a script for it is not supported"
        )


def _model(run: Run) -> str:
    """The Hub id if the model has one, else the folder."""
    return run.model.name if _is_on_hub(run.model.name) else run.model.path


def _is_on_hub(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith(("synthetic/", "builtin/", ".", "~", "/"))


def _environment(run: Run, arm: Arm) -> str:
    """The environment variables that decide how the device computes; torch reads them during
    import."""
    wanted = {
        name: value
        for name, value in sorted(run.variables(arm).items())
        if is_tuning(name, value)
        and name.startswith(_READ_BY_TORCH)
        and name not in _OF_THE_MACHINE
    }
    return f"os.environ.update({literal(wanted)})\n" if wanted else ""


def _options(run: Run, arm: Arm, half_weights_only: bool, allow_pickle: bool) -> str:
    """The arguments with which the worker calls from_pretrained; ``dtype`` has another name in
    older releases."""
    stack = run.stacks.get(arm.stack)
    options = {dtype_option({} if stack is None else stack.packages): "dtype"}
    if not allow_pickle:
        options["use_safetensors"] = "True"
    commit = run.model.revision
    if commit is not None and _COMMIT.fullmatch(commit) and _is_on_hub(run.model.name):
        options["revision"] = literal(commit)
    if half_weights_only:
        options["variant"] = '"fp16"'
    if run.model.pipeline_class == "StableDiffusionPipeline":
        options |= {"safety_checker": "None", "requires_safety_checker": "False"}
    return ", ".join(f"{name}={value}" for name, value in options.items())


def _paint(run: Run, config: Mapping[str, Any], given_latents: bool) -> str:
    values = {"seed": whole(config.get("seed")), "guidance": number(config.get("guidance_scale"))}
    if run.image_to_image is not None:
        return _PAINT_FROM_IMAGE.format(**values, strength=number(config.get("strength")))
    return (_PAINT_FROM_LATENTS if given_latents else _PAINT).format(**values)


def _settings(run: Run, case: Case) -> list[str]:
    denoiser = denoiser_name(run.model)
    lines = []
    if case.offload == "none":
        lines.append("pipe = load(DTYPE).to(DEVICE)")
    else:
        lines.append("pipe = load(DTYPE)")
        lines.append(offload_line(case, "DEVICE", cuda=run.device == "cuda"))
    lines += attention_lines(case, denoiser, prefix=_ATTENTION)
    lines += switches(case)
    lines += compile_lines(case, denoiser)
    if case.warmup:
        steps = "1" if run.image_to_image is None else "STEPS"
        lines.append(f"paint(BATCHES[0], steps={steps})")
    return lines


# The pipelines that take their initial noise as latents, and the others: what they draw, at the
# beginning and in steps, comes from a generator for each image.
_PAINT_FROM_LATENTS = """def paint(pictures, steps=STEPS):
    scale = 2 ** (len(pipe.vae.config.block_out_channels) - 1)
    shape = (1, pipe.unet.config.in_channels, HEIGHT // scale, WIDTH // scale)
    seeds = [torch.Generator().manual_seed({seed} + picture) for picture in pictures]
    noise = torch.cat([torch.randn(shape, generator=seed) for seed in seeds]).to(pipe.unet.dtype)
    return pipe([PROMPTS[i] for i in pictures], latents=noise, width=WIDTH, height=HEIGHT,
                num_inference_steps=steps, guidance_scale={guidance},
                output_type="pt").images.cpu().float()
"""
_PAINT = """import inspect

def draw(shape, generator=None, device=None, dtype=None, layout=None):
    each = generator if len(generator) == shape[0] else generator[:1]
    one = (shape[0] // len(each), *shape[1:])
    noise = torch.cat([torch.randn(one, generator=seed) for seed in each])
    return noise.to(device=device, dtype=dtype)

def paint(pictures, steps=STEPS):
    for module in [m for n, m in sys.modules.items() if n.startswith("diffusers.")]:
        if "randn_tensor" in vars(module):
            module.randn_tensor = draw
    seeds = [torch.Generator().manual_seed({seed} + picture) for picture in pictures]
    options = dict(guidance_scale={guidance}, use_resolution_binning=False)
    accepted = inspect.signature(type(pipe).__call__).parameters
    options = {{name: value for name, value in options.items() if name in accepted}}
    return pipe(prompt=[PROMPTS[i] for i in pictures], generator=seeds, width=WIDTH, height=HEIGHT,
                num_inference_steps=steps, output_type="pt", **options).images.cpu().float()
"""
# The input image is the one that a run has (``worker/input_image.py``).
_PAINT_FROM_IMAGE = """import inspect, numpy
from PIL import Image

y, x = numpy.mgrid[0:HEIGHT, 0:WIDTH]
rgb = numpy.stack([70 + 0 * y, 120 + 60 * x // WIDTH, 60 + 0 * y], axis=-1)
sky = numpy.stack([90 + 80 * y // HEIGHT, 140 + 60 * y // HEIGHT, 220 + 0 * y], axis=-1)
rgb[y < HEIGHT * 5 // 8] = sky[y < HEIGHT * 5 // 8]
rgb[(x - WIDTH // 2) ** 2 + (y - HEIGHT // 2) ** 2 < (min(WIDTH, HEIGHT) // 5) ** 2] = 200, 60, 40
IMAGE = Image.fromarray(rgb.astype("uint8"))

def draw(shape, generator=None, device=None, dtype=None, layout=None):
    each = generator if isinstance(generator, list) else [generator]
    each = each if len(each) == shape[0] else each[:1]
    one = (shape[0] // len(each), *shape[1:])
    noise = torch.cat([torch.randn(one, generator=seed) for seed in each])
    return noise.to(device=device, dtype=dtype)

def paint(pictures, steps=STEPS):
    for module in [m for n, m in sys.modules.items() if n.startswith("diffusers.")]:
        if "randn_tensor" in vars(module):
            module.randn_tensor = draw
    seeds = [torch.Generator().manual_seed({seed} + picture) for picture in pictures]
    options = dict(guidance_scale={guidance}, strength={strength}, width=WIDTH, height=HEIGHT)
    accepted = inspect.signature(type(pipe).__call__).parameters
    options = {{name: value for name, value in options.items() if name in accepted}}
    image = [IMAGE] * len(pictures) if "strength" in accepted else IMAGE
    return pipe(prompt=[PROMPTS[i] for i in pictures], image=image, generator=seeds,
                num_inference_steps=steps, output_type="pt", **options).images.cpu().float()
"""
_ROUNDING = """for module in [{modules}]:
    for weight in module.parameters(recurse=False):
        weight.data = weight.data.to(DTYPE).float()
    module.register_forward_hook(lambda m, i, o: o.to(DTYPE).float() if torch.is_tensor(o) else o)
"""

_SCRIPT = '''"""Case {case_id} of sdbench run {run_id}, without sdbench.
python repro.py [MODEL]: a diffusers folder or a Hub id. The exit code is 0 for PASS, 1 for FAIL."""
import os, platform, resource, sys, time
{environment}import diffusers, torch

MODEL = os.path.expanduser(sys.argv[1] if len(sys.argv) > 1 else {model})
DEVICE, DTYPE, WIDTH, HEIGHT, STEPS = "{device}", torch.{dtype}, {width}, {height}, {steps}
PROMPTS = {prompts}
BATCHES, CHECKED = {batches!r}, {checked!r}  # of each call; compared with the CPU's
LIMIT = {limit}  # times the floor
diffusers.utils.logging.disable_progress_bar()

def load(dtype):
    pipe = diffusers.{pipeline_class}.from_pretrained(
        MODEL, {options})
{scheduler}    pipe.set_progress_bar_config(disable=True)
    return pipe

{paint}
def error(picture, reference):
    return float((picture - reference).norm() / reference.norm())

print("torch", torch.__version__, "diffusers", diffusers.__version__, platform.platform())
{settings}
passes = []
for number in range(1, {passes} + 1):
    began = time.perf_counter()
    passes.append(torch.cat([paint(batch) for batch in BATCHES]))
    spent, off = time.perf_counter() - began, error(passes[-1], passes[0])
    print(f"pass {{number}}: {{spent:.3f}} s, off pass 1 by {{off:.2g}}", flush=True)
memory = {memory}
print(f"memory: {{memory / 1e9:.2f}} GB ({memory_words})", flush=True)
pipe = load(torch.float32)
reference = {{picture: paint([picture]) for picture in CHECKED}}
pipe = load(torch.{exact})
{rounding}floor = error(paint([0]), reference[0])
errors = [error(passes[-1][i], reference[i][0]) for i in CHECKED]
print("error against the CPU in float32:", *(f"{{e:.2g}}" for e in errors), f"floor: {{floor:.2g}}")
good = all(e <= LIMIT * floor for e in errors)  # a NaN is not
print("PASS" if good else "FAIL")
sys.exit(0 if good else 1)
'''
