"""The CPU's images: by which key they are found, when they are computed, and when not."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from factories import FakeClock, FakeProbe, make_config, make_model, make_stack, make_system, play
from quality_factories import (
    VERSIONS,
    make_floor,
    make_reference,
    write_reference,
    write_tensors,
)

from sdbench.correctness import references
from sdbench.correctness.artifact_files import Tensors
from sdbench.correctness.references import IMAGE_FILE, ReferenceSettings, find_floor, find_reference
from sdbench.models.builtin import BUILTIN
from sdbench.plan.for_model import shipped_for_its_model
from sdbench.process.environment import PRELOAD
from sdbench.process.executor import FakeExecutor, Report, Supervisor, Task
from sdbench.process.guard import MemoryGuard
from sdbench.records import Dtype
from sdbench.runner.reference_maker import Group, ReferenceMaker, ReferenceStore

SETTINGS = ReferenceSettings(
    model_sha256="0" * 64,
    resolution="64x64",
    prompt="a prompt",
    seed=0,
    steps=4,
    guidance_scale=7.5,
    scheduler="ddim",
)


# --- keys ----------------------------------------------------------------------------------------


def test_everything_that_decides_a_picture_is_in_its_key() -> None:
    changes: dict[str, Any] = {
        "model_sha256": "1" * 64,
        "resolution": "64x72",
        "prompt": "another",
        "seed": 1,
        "steps": 5,
        "guidance_scale": 7.0,
        "scheduler": "euler",
        "vae_tiling": True,
        "input_sha256": "2" * 64,
    }
    assert {*changes, "strength"} == set(SETTINGS.__struct_fields__)
    keys = {SETTINGS.key(VERSIONS)}
    for name, value in changes.items():
        keys.add(msgspec.structs.replace(SETTINGS, **{name: value}).key(VERSIONS))
    for name in ("torch", "diffusers", "transformers"):
        keys.add(SETTINGS.key({**VERSIONS, name: "9.9"}))
    from_image = msgspec.structs.replace(SETTINGS, input_sha256="2" * 64, strength=0.5)
    keys.add(from_image.key(VERSIONS))
    assert len(keys) == 1 + len(changes) + 3 + 1


def test_packaged_key_knows_no_versions_and_other_packages_do_not_matter() -> None:
    assert SETTINGS.key() != SETTINGS.key(VERSIONS)
    assert SETTINGS.key({**VERSIONS, "numpy": "1.26"}) == SETTINGS.key(VERSIONS)


def test_computed_is_preferred_and_the_source_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed, packaged = tmp_path / "computed", tmp_path / "packaged"
    monkeypatch.setattr(references, "PACKAGED", packaged)
    assert find_reference(SETTINGS, VERSIONS, computed) is None
    write_reference(packaged / SETTINGS.key(), make_reference(), [make_floor()])
    found = find_reference(SETTINGS, VERSIONS, computed)
    assert found is not None
    assert found.source.startswith("packaged, made with torch 2.0.0, diffusers 0.31.0")
    write_reference(computed / SETTINGS.key(VERSIONS), make_reference())
    found = find_reference(SETTINGS, VERSIONS, computed)
    assert found is not None and found.source.startswith("computed here")
    assert find_floor(SETTINGS, VERSIONS, computed, "float16") == make_floor()
    assert find_floor(SETTINGS, VERSIONS, computed, "float32") is None


def test_a_torn_reference_is_none(tmp_path: Path) -> None:
    folder = tmp_path / SETTINGS.key(VERSIONS)
    write_reference(folder, make_reference())
    file = folder / IMAGE_FILE
    file.write_bytes(file.read_bytes()[:-100])
    assert find_reference(SETTINGS, VERSIONS, tmp_path) is None


@pytest.mark.parametrize("name", ["latents", "pictures", "unet"])
def test_a_reference_that_is_no_number_is_none(tmp_path: Path, name: str) -> None:
    """Nothing can be held against it: every image would be "another" (seen on torch 1.13)."""
    reference = make_reference()
    reference.tensors.arrays[name] = np.full((1, 4, 8, 8), np.nan, np.float32)
    write_reference(tmp_path / SETTINGS.key(VERSIONS), reference)
    assert find_reference(SETTINGS, VERSIONS, tmp_path) is None


def test_shipped_references_fit_the_shipped_configuration(tmp_path: Path) -> None:
    """`quick` is held against images that travel in the package."""
    config = shipped_for_its_model("quick")
    assert config.matrix is not None
    model = make_model(config.model, sha256=BUILTIN[config.model].sha256)
    shelf = ReferenceStore(config, model, {"current": make_stack(**VERSIONS)}, tmp_path)
    for resolution in config.matrix.resolution:
        for dtype in ("float32", "float16", "bfloat16"):
            yardstick = shelf.yardstick(Group("current", resolution), dtype)
            assert set(yardstick.references) == set(range(config.images))
            assert yardstick.floor is not None and yardstick.floor.steps == config.steps
            assert yardstick.floor.expected_divergence() is not None


# --- computing -----------------------------------------------------------------------------------


@dataclass
class Maker:
    """A maker around a fake executor that writes what a worker would."""

    folder: Path
    images: int = 2
    budget_s: float = 600.0
    available: int = 100_000_000_000
    failing: bool = False
    seconds: float = 1.0
    interrupted: bool = False
    executor: FakeExecutor = field(init=False)
    clock: FakeClock = field(default_factory=FakeClock)
    shelf: ReferenceStore = field(init=False)
    shown: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.executor = FakeExecutor(self._work)
        config = make_config(
            images=self.images, reference={"budget_s": self.budget_s}, prompts=["a", "b"]
        )
        stacks = {"current": make_stack(**VERSIONS)}
        self.shelf = ReferenceStore(config, make_model(), stacks, self.folder)

    def _work(self, task: Task, supervise: Supervisor) -> Report:
        failed = [{"event": "error", "type": "OSError", "message": "no space\nleft"}]
        if self.failing:
            return play(task, supervise, events=failed, exit_code=1)
        for item in task.job["items"]:
            self.clock.advance(self.seconds)
            write_reference(Path(item["path"]).parent, make_reference(item["image"]))
        for item in task.job["floors"]:
            self.clock.advance(self.seconds)
            folder = Path(item["reference"]).parent
            write_reference(folder, make_reference(), [make_floor(dtype=item["dtype"])])
        for item in task.job["rounded"]:
            self.clock.advance(self.seconds)
            folder = Path(item["path"]).parent
            folder.mkdir(parents=True, exist_ok=True)
            made = make_reference(item["image"]).tensors
            many = {
                name: np.repeat(made.arrays[name], item["times"], axis=0)
                for name in ("latents", "pictures")
            }
            write_tensors(Path(item["path"]), Tensors(many, made.kept))
        return play(task, supervise, self.clock)

    def make(self, *dtypes: Dtype, resolutions: tuple[str, ...] = ("64x64",)) -> None:
        self.maker().make({Group("current", name): set(dtypes) for name in resolutions})

    def maker(self) -> ReferenceMaker:
        return ReferenceMaker(
            shelf=self.shelf,
            executor=self.executor,
            probe=FakeProbe(systems=[make_system(self.available)]),
            guard=MemoryGuard(1e12, 0, self.folder),
            showing=lambda doing, left_s: self.shown.append(doing),
            interrupted=lambda: self.interrupted,
            cores=2,
            start="spawn",
            clock=self.clock,
        )

    def asked(self) -> list[tuple[str, list[int], list[str]]]:
        """Resolution, images and floors of each task."""
        return [
            (
                task.job["case"]["resolution"],
                [item["image"] for item in task.job["items"]],
                [item["dtype"] for item in task.job["floors"]],
            )
            for task in self.executor.tasks
        ]

    def absent(self, resolution: str = "64x64") -> str | None:
        return self.shelf.absent.get(Group("current", resolution))


def test_what_is_missing_is_computed_once(tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    maker.make("float32", "float16")
    maker.make("float32", "float16")
    assert maker.asked() == [("64x64", [0, 1], ["float16", "float32"])]
    maker.make("float16", "bfloat16")
    assert maker.asked()[1:] == [("64x64", [], ["bfloat16"])]
    assert maker.absent() is None


def test_a_worker_is_asked_for_the_cpu_in_float32_in_a_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PRELOAD, "a_fault")
    monkeypatch.setenv("SOMETHING", "else")
    maker = Maker(tmp_path)
    maker.make("float16")
    (task,) = maker.executor.tasks
    assert task.job["reference"] is True and task.job["device"] == "cpu"
    case = task.job["case"]
    assert (case["dtype"], case["batching"], case["attention_slicing"]) == (
        "float32",
        "loop",
        False,
    )
    assert (case["width"], case["height"]) == (64, 64)
    assert PRELOAD not in task.environment and task.environment["SOMETHING"] == "else"
    assert task.telemetry is False and 0 < task.timeout_s <= 600
    paths = {item["path"] for item in task.job["items"]}
    assert len(paths) == 2, "each image has a key of its own"


def test_beyond_the_budget_the_estimate_is_the_reason(tmp_path: Path) -> None:
    maker = Maker(tmp_path, budget_s=5.0)
    maker.make("float32")
    assert maker.asked() == []
    absent = maker.absent()
    assert absent is not None and "would take about" in absent and "(5 s)" in absent
    yardstick = maker.shelf.yardstick(Group("current", "64x64"), "float32")
    assert yardstick.absent == absent and not yardstick.references


def test_the_first_image_of_every_resolution_comes_before_the_second_of_any(
    tmp_path: Path,
) -> None:
    maker = Maker(tmp_path, images=60, seconds=0.1, budget_s=30.0)
    maker.make("float32", resolutions=("128x128", "64x64"))
    asked = maker.asked()
    assert [(resolution, images[0]) for resolution, images, _ in asked] == [
        ("64x64", 0),
        ("128x128", 0),
        ("64x64", 1),
        ("128x128", 1),
    ]
    assert [len(images) for _, images, _ in asked[:3]] == [1, 1, 59]
    assert 0 < len(asked[3][1]) < 59, "as many as there is time for"
    assert maker.absent() is None and "would take" in str(maker.absent("128x128"))


def test_too_little_memory_is_the_reason(tmp_path: Path) -> None:
    maker = Maker(tmp_path, available=500_000_000)
    maker.make("float16")
    assert maker.asked() == []
    assert "0.5 GB are there" in str(maker.absent())


def test_without_memory_for_float64_the_rest_is_computed(tmp_path: Path) -> None:
    maker = Maker(tmp_path, available=640_000_000)
    maker.make("float16", "float32")
    assert maker.asked() == [("64x64", [0, 1], ["float16"])]
    assert str(maker.absent()).startswith("for float32:")


def test_a_stop_of_the_user_ends_it(tmp_path: Path) -> None:
    maker = Maker(tmp_path, interrupted=True)
    maker.make("float32")
    assert maker.asked() == []
    assert maker.absent() == "stopped before the CPU's image was computed"


def test_what_failed_is_told_in_one_line(tmp_path: Path) -> None:
    maker = Maker(tmp_path, failing=True)
    maker.make("float32")
    assert maker.absent() == "computing the CPU's image failed: OSError: no space"


def test_it_is_stopped_when_the_budget_is_used_up(tmp_path: Path) -> None:
    maker = Maker(tmp_path, seconds=400.0)
    maker.make("float32")
    assert "used up" in str(maker.absent())
    assert maker.shelf.reference(Group("current", "64x64"), 0) is not None, "what is whole stays"


# --- as rounding alone makes them ----------------------------------------------------------------


def test_a_tiled_reference_is_only_decoded_where_the_untiled_one_is_there(tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    plain, tiled = Group("current", "64x64"), Group("current", "64x64", vae_tiling=True)
    maker.maker().make({tiled: {"float32"}, plain: {"float32"}})
    first, second = (task.job for task in maker.executor.tasks)
    assert (first["case"]["vae_tiling"], second["case"]["vae_tiling"]) == (False, True)
    assert [item["untiled"] for item in first["items"]] == [None, None]
    assert [item["untiled"] for item in second["items"]] == [
        item["path"] for item in first["items"]
    ]
    assert maker.shelf.reference(tiled, 0) is not None
    spoilt = Maker(tmp_path / "spoilt")
    reference = make_reference()
    reference.tensors.arrays["unet"] = np.full((1, 4, 8, 8), np.nan, np.float32)
    write_reference(spoilt.shelf.own_folder(plain, 0), reference)
    assert spoilt.shelf.untiled_file(tiled, 0) is None, "it has NaN"
    alone = Maker(tmp_path / "alone")
    alone.maker().make({tiled: {"float32"}})
    (task,) = alone.executor.tasks
    assert [item["untiled"] for item in task.job["items"]] == [None, None]


GROUP = Group("current", "64x64")


def test_an_image_is_made_as_rounding_makes_it_where_asked_and_once(tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    maker.make("float16", "bfloat16")
    assert maker.shelf.yardstick(GROUP, "float16").rounded == {}
    maker.maker().make_rounded({GROUP: {("float16", 1), ("bfloat16", 0)}})
    (task,) = maker.executor.tasks[1:]
    asked = [(item["arithmetic"], item["image"]) for item in task.job["rounded"]]
    assert asked == [("bfloat16", 0), ("float16", 1)]
    assert (task.job["items"], task.job["floors"], task.job["device"]) == ([], [], "cpu")
    assert task.job["case"]["dtype"] == "float32" and PRELOAD not in task.environment
    assert set(maker.shelf.yardstick(GROUP, "float16").rounded) == {1}
    assert set(maker.shelf.yardstick(GROUP, "bfloat16").rounded) == {0}
    assert maker.shelf.yardstick(GROUP, "float32").rounded == {}
    maker.maker().make_rounded({GROUP: {("tf32", 1)}})
    assert maker.shelf.yardstick(GROUP, "float32").rounded == {}
    assert set(maker.shelf.yardstick(GROUP, "float32", "tf32").rounded) == {1}


def test_an_image_asked_for_again_is_made_more_often_and_then_no_more(tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    maker.make("float16")
    for _ in range(4):
        maker.maker().make_rounded({GROUP: {("float16", 1)}})
    items = [item for task in maker.executor.tasks for item in task.job["rounded"]]
    assert [(item["times"], item["more"]) for item in items] == [(3, False), (9, True), (27, True)]
    assert maker.shelf.yardstick(GROUP, "float16").rounded[1].times == 27
    path = Path(items[0]["path"])
    latents, pictures = np.ones((2, 5, 4, 8, 8)), np.ones((3, 3, 64, 64))
    write_tensors(path, Tensors({"latents": latents, "pictures": pictures}, [0, 1, 2, 3, 4]))
    maker.maker().make_rounded({GROUP: {("float16", 1)}})
    (item,) = maker.executor.tasks[-1].job["rounded"]
    assert (item["times"], item["more"]) == (3, False), "what does not fit together is made anew"


def test_rounding_that_overflows_is_not_made_more_often(tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    maker.maker().make_rounded({GROUP: {("float16", 1)}})
    (item,) = maker.executor.tasks[-1].job["rounded"]
    made = maker.shelf.yardstick(GROUP, "float16")
    found = maker.shelf.rounded(GROUP, "float16", 1)
    assert found is not None and made.rounded == {}, "without a reference nothing is compared"
    found.tensors.arrays["latents"] = np.full_like(found.tensors.arrays["latents"], np.inf)
    found.tensors.metadata["overflows"] = True
    write_tensors(Path(item["path"]), found.tensors)
    maker.maker().make_rounded({GROUP: {("float16", 1)}})
    assert len(maker.executor.tasks) == 1


def test_an_image_that_rounding_made_nan_is_made_again_unless_it_always_overflows(
    tmp_path: Path,
) -> None:
    maker = Maker(tmp_path)
    maker.make("float16")
    maker.maker().make_rounded({GROUP: {("float16", 0)}})
    file = references.rounded_file(maker.shelf.own_folder(GROUP, 0), "float16")
    tensors = make_reference().tensors
    tensors.arrays["pictures"] = np.full_like(tensors.arrays["pictures"], np.nan)
    for overflows, there in ((False, False), (True, True)):
        tensors.metadata["overflows"] = overflows
        write_tensors(file, tensors)
        found = maker.shelf.rounded(GROUP, "float16", 0)
        assert (found is not None) == there
    maker.maker().make_rounded({GROUP: {("float16", 0)}})
    assert len(maker.executor.tasks) == 2


def test_all_that_is_made_of_a_run_shares_one_budget(tmp_path: Path) -> None:
    maker = Maker(tmp_path, seconds=199.0)
    one = maker.maker()
    one.make({GROUP: {"float16"}})  # two images and a floor: 597 of 600 s
    one.make_rounded({GROUP: {("float16", 1)}})
    assert len(maker.executor.tasks) == 1 and maker.absent() is None
    yardstick = maker.shelf.yardstick(GROUP, "float16")
    assert yardstick.rounded == {} and "reference.budget_s" in str(yardstick.not_rounded)
    assert yardstick.floor is not None and set(yardstick.references) == {0, 1}


def test_where_there_is_time_for_some_images_they_are_made(tmp_path: Path) -> None:
    maker = Maker(tmp_path, images=60, seconds=0.01, budget_s=12.0)
    maker.maker().make_rounded({GROUP: {("float16", image) for image in range(60)}})
    made = maker.shelf.yardstick(GROUP, "float16")
    (task,) = maker.executor.tasks
    assert 0 < len(task.job["rounded"]) < 60
    assert "would take" in str(made.not_rounded)
