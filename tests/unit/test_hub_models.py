"""Models on the Hub, with a stand-in for its client: what is looked for, fetched and refused."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from sdbench.errors import ModelError
from sdbench.models.resolve import find_model

NAME = "someone/tiny"
REPOSITORY = {
    "model_index.json": 500,
    "scheduler/scheduler_config.json": 300,
    "unet/config.json": 700,
    "unet/diffusion_pytorch_model.safetensors": 4_000_000,
    "unet/diffusion_pytorch_model.fp16.safetensors": 2_000_000,
    "vae/diffusion_pytorch_model.safetensors": None,  # the Hub does not say
    "README.md": 9_000,
}


class Hub(ModuleType):
    """As much of ``huggingface_hub`` as is used."""

    def __init__(self) -> None:
        super().__init__("huggingface_hub")
        self.files: dict[str, int | None] = dict(REPOSITORY)
        self.cached: Path | None = None
        self.fetched: Path | Exception = OSError("nobody fetches here")
        self.unreachable: Exception | None = None
        self.asked: list[list[str]] = []
        self.HfApi = lambda: SimpleNamespace(model_info=self._info)

    def snapshot_download(
        self,
        name: str,
        local_files_only: bool = False,
        allow_patterns: list[str] | None = None,
        revision: str | None = None,
    ) -> str:
        assert name == NAME
        if local_files_only:
            if self.cached is None:
                raise FileNotFoundError("no snapshot here")  # as LocalEntryNotFoundError is
            return str(self.cached)
        self.asked.append(allow_patterns or [])
        if isinstance(self.fetched, Exception):
            raise self.fetched
        return str(self.fetched)

    def _info(self, name: str, files_metadata: bool) -> Any:
        assert (name, files_metadata) == (NAME, True), "sizes come with it"
        if self.unreachable is not None:
            raise self.unreachable
        files = [SimpleNamespace(rfilename=path, size=size) for path, size in self.files.items()]
        return SimpleNamespace(siblings=files or None)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    found = Hub()
    monkeypatch.setitem(sys.modules, "huggingface_hub", found)
    monkeypatch.chdir(tmp_path)  # where no folder has the model's name
    return found


@pytest.fixture
def whole(tiny_cache: Path) -> Path:
    """A pipeline that is whole."""
    return tiny_cache / "models" / "synthetic--tiny"


def test_model_in_the_hubs_cache_is_taken_from_there(hub: Hub, whole: Path) -> None:
    hub.cached, hub.unreachable = whole, AssertionError("nothing is asked for")
    source = find_model(NAME)
    assert (source.name, source.folder, source.download) == (NAME, whole, None)


def test_model_that_is_not_there_is_a_download_of_one_copy_of_its_weights(hub: Hub) -> None:
    source = find_model(NAME)
    assert source.folder is None and source.download is not None
    assert source.download.repository == NAME
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in source.download.files
    assert "unet/diffusion_pytorch_model.safetensors" not in source.download.files
    assert "README.md" not in source.download.files
    assert source.bytes_on_disk == 500 + 300 + 700 + 2_000_000
    assert source.pipeline_class == "StableDiffusionPipeline"
    assert hub.asked == [], "looking a model up fetches nothing"


def test_second_text_encoder_makes_it_xl(hub: Hub) -> None:
    hub.files["text_encoder_2/config.json"] = 100
    assert find_model(NAME).pipeline_class == "StableDiffusionXLPipeline"


def test_repository_without_safe_weights_is_refused(hub: Hub) -> None:
    hub.files = {"unet/diffusion_pytorch_model.bin": 5, "model_index.json": 1}
    with pytest.raises(ModelError, match=f"{NAME}: no safetensors weights"):
        find_model(NAME)
    assert find_model(NAME, allow_pickle=True).bytes_on_disk == 6
    hub.files = {}
    with pytest.raises(ModelError, match="no safetensors weights"):
        find_model(NAME)


def test_hub_that_cannot_be_asked_says_why_and_what_is_on_this_disk(
    hub: Hub, tmp_path: Path
) -> None:
    hub.unreachable = ConnectionError("no route to host" + "!" * 5000)
    with pytest.raises(ModelError, match="ConnectionError: no route to host") as raised:
        find_model(NAME)
    assert "neither a folder nor in the local Hub cache" in str(raised.value)
    assert len(str(raised.value)) < 400
    hub.cached = tmp_path  # a snapshot with nothing in it
    with pytest.raises(ModelError, match="in the local Hub cache and cannot be used") as raised:
        find_model(NAME)
    assert "the folder is empty" in str(raised.value)


def test_what_was_fetched_is_read_before_it_is_used(hub: Hub, whole: Path, tmp_path: Path) -> None:
    source = find_model(NAME)
    assert source.download is not None
    hub.fetched = ConnectionError("reset by peer")
    with pytest.raises(ModelError, match=f"{NAME} could not be downloaded: reset by peer"):
        source.prepare()
    assert hub.asked == [list(source.download.files)]
    hub.fetched = tmp_path
    with pytest.raises(ModelError, match="the folder is empty"):
        source.prepare()
    hub.fetched = whole
    model = source.prepare()
    assert (model.name, model.path, model.trained) == (NAME, str(whole), True)
    assert model.sha256 is not None
