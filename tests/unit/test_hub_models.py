"""Models on the Hub, with a stand-in for its client: what is looked for, fetched and refused."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from sdbench.doctor.offline_model import find_offline
from sdbench.errors import ModelError, UsageError
from sdbench.models.hub import download_from, pipeline_class_of
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
        self.revisions: list[str | None] = []
        self.more: dict[str, Any] = {}
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

    def _info(self, name: str, files_metadata: bool, revision: str | None = None) -> Any:
        self.revisions.append(revision)
        assert (name, files_metadata) == (NAME, True), "sizes come with it"
        if self.unreachable is not None:
            raise self.unreachable
        files = [SimpleNamespace(rfilename=path, size=size) for path, size in self.files.items()]
        return SimpleNamespace(siblings=files or None, **self.more)


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
    with pytest.raises(ModelError, match=f"{NAME} could not be downloaded: .*reset by peer"):
        source.prepare()
    assert hub.asked == [list(source.download.files)]
    hub.fetched = tmp_path
    with pytest.raises(ModelError, match="the folder is empty"):
        source.prepare()
    hub.fetched = whole
    model = source.prepare()
    assert (model.name, model.path, model.trained) == (NAME, str(whole), True)
    assert model.sha256 is not None


# --- revisions, licences, gates ------------------------------------------------------------------

COMMIT = "0123456789abcdef0123456789abcdef01234567"
RECORDED = {
    # As the Hub's API answers (``/api/models/…?blobs=true``), shortened.
    "id": NAME,
    "sha": COMMIT,
    "gated": "manual",
    "cardData": {"license": "other", "license_name": "flux-1-dev", "license_link": "LICENSE.md"},
    "config": {"diffusers": {"_class_name": "FluxPipeline"}},
    "siblings": [
        {"rfilename": "model_index.json", "size": 500},
        {"rfilename": "transformer/diffusion_pytorch_model-00001-of-00002.safetensors", "size": 9},
        {"rfilename": "transformer/diffusion_pytorch_model-00002-of-00002.safetensors", "size": 8},
        {"rfilename": "transformer/diffusion_pytorch_model.safetensors.index.json", "size": 7},
        {"rfilename": "text_encoder_2/model.safetensors", "size": 6},
        {"rfilename": "tokenizer_2/spiece.model", "size": 5},
        {"rfilename": "flux1-dev.safetensors", "size": 10_000},
    ],
}


def test_licence_gate_commit_and_class_are_read_from_the_hubs_answer() -> None:
    from huggingface_hub.hf_api import ModelInfo as HubInfo

    info = HubInfo(**RECORDED)
    download = download_from(NAME, info, allow_pickle=False)
    assert download.size_bytes == 535 and "flux1-dev.safetensors" not in download.files
    assert download.conditions == (
        "commit 0123456789ab, licence flux-1-dev, gated: its owner approves each request on its "
        "page"
    )
    assert pipeline_class_of(info, download.files) == "FluxPipeline"


@pytest.mark.parametrize(
    ("more", "conditions"),
    [
        ({}, "no licence named"),
        ({"sha": "x\ny", "card_data": {"license": "mit"}}, "licence mit"),
        ({"card_data": {"license": ["a", "b"]}, "gated": False}, "licence a, b"),
        ({"card_data": {"license": 3}, "gated": "auto"}, "no licence named, gated: its owner asks"),
        (
            {"card_data": {"license": "other"}, "gated": "new"},
            "licence other, gated: its",
        ),
        ({"card_data": {"license": "a\x1b[2J\nb"}}, "licence a?[2J?b"),
    ],
)
def test_odd_answers_of_the_hub(hub: Hub, more: dict[str, Any], conditions: str) -> None:
    hub.more = more
    download = find_model(NAME).download
    assert download is not None and download.revision is None
    assert download.conditions.startswith(conditions) and download.conditions.isprintable()


def test_revision_is_asked_for_and_its_commit_fetched(hub: Hub, whole: Path) -> None:
    hub.more = {"sha": COMMIT}
    source = find_model(NAME, revision="v1")
    assert hub.revisions == ["v1"] and source.download is not None
    assert (source.revision, source.download.revision) == (COMMIT, COMMIT)
    assert source.outline().revision == COMMIT


class _RefusedError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__("a page of\ntext")
        self.response = SimpleNamespace(status_code=status)


class GatedRepoError(_RefusedError):
    """As the client's: its class tells more than its status."""


class RevisionNotFoundError(_RefusedError):
    """As the client's."""


class OfflineModeIsEnabled(ConnectionError):  # noqa: N818 - the client's name for it
    """As the client's."""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (GatedRepoError(401), "it is gated; accept its conditions on https://huggingface.co/"),
        (_RefusedError(403), "it is gated"),
        (_RefusedError(401), "no such repository, or it is private"),
        (_RefusedError(404), "no such repository"),
        (RevisionNotFoundError(404), "no revision 'v1' of it"),
        (OfflineModeIsEnabled("off"), "offline mode; unset HF_HUB_OFFLINE"),
        (_RefusedError(500), "could not be queried: _RefusedError: a page of text"),
    ],
)
def test_refusals_are_one_plain_line(hub: Hub, error: Exception, words: str) -> None:
    hub.unreachable = error
    with pytest.raises(ModelError, match=words) as raised:
        find_model(NAME, revision="v1")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("revision", ["../x", "/etc", "-x", "a b", "a\nb", "x" * 101, "ä"])
def test_what_can_be_no_revision_is_wrong_usage(hub: Hub, revision: str) -> None:
    with pytest.raises(UsageError, match="expected a branch, a tag or a commit"):
        find_model(NAME, revision=revision)
    assert hub.revisions == []


def test_only_a_model_of_the_hub_has_a_revision(whole: Path) -> None:
    for name in (str(whole), "synthetic/tiny"):
        with pytest.raises(UsageError, match="only a model of the Hub has one"):
            find_model(name, revision="main")


@pytest.fixture
def repository(whole: Path, tmp_path: Path) -> Path:
    """As the Hub's client keeps one."""
    folder = tmp_path / "hub" / "models--someone--tiny"
    (folder / "snapshots").mkdir(parents=True)
    (folder / "snapshots" / COMMIT).symlink_to(whole)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    return folder


def test_folders_of_the_hubs_cache_are_models(repository: Path) -> None:
    snapshot = repository / "snapshots" / COMMIT
    for name, revision in ((repository, ""), (repository, COMMIT), (repository, "main")):
        source = find_model(str(name), revision=revision)
        assert (source.folder, source.revision) == (snapshot, COMMIT)
    assert find_model(str(snapshot)).outline().revision == COMMIT
    assert find_offline(str(repository), recorded=False).offline is True
    (repository / "refs" / "main").unlink()
    assert find_model(str(repository)).revision == COMMIT, "there is only one"


@pytest.mark.parametrize(
    ("main", "revision", "reason"),
    [
        ("f" * 40, "", "no snapshot of main; it has 0123456789abcdef"),
        ("../../etc", "", "0123456789abcdef"),
        (COMMIT, "v9", "no snapshot of v9"),
    ],
)
def test_cache_without_the_snapshot(
    repository: Path, main: str, revision: str, reason: str
) -> None:
    (repository / "refs" / "main").write_text(main)
    if main.startswith(".."):  # no commit: as if it were not there
        assert find_model(str(repository), revision=revision).revision == COMMIT
        return
    with pytest.raises(ModelError, match=reason):
        find_model(str(repository), revision=revision)
