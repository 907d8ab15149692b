"""Families of pipelines: data files, and the defaults of distilled models."""

from importlib import resources

import pytest

from sdbench.models.family import family_of, load_families


@pytest.mark.parametrize("name", load_families())
def test_a_family_is_data_of_forty_lines_at_most_with_a_source(name: str) -> None:
    file = resources.files("sdbench.models") / "families" / f"{name}.toml"
    assert len(file.read_text().splitlines()) <= 40
    family = load_families()[name]
    assert family.source.startswith("https://")
    assert all(few.source.startswith("https://") for few in family.few_step)


def test_each_pipeline_class_belongs_to_one_family() -> None:
    classes = [one for family in load_families().values() for one in family.pipelines]
    assert len(classes) == len(set(classes))


def test_a_distilled_model_is_recognised_by_its_configuration() -> None:
    _, flux = family_of("FluxPipeline")
    schnell = flux.for_configs({"transformer": {"guidance_embeds": False}})
    assert (schnell.title, schnell.steps, schnell.guidance_scale) == ("FLUX.1 schnell", 4, 0.0)
    assert schnell.schedulers == flux.schedulers
    assert flux.for_configs({"transformer": {"guidance_embeds": True}}).steps == 28
    assert flux.for_configs({}).steps == 28


def test_a_class_that_no_file_names_has_no_defaults_of_ours() -> None:
    name, family = family_of("PixArtSigmaPipeline")
    assert name is None
    assert (family.steps, family.guidance_scale, family.schedulers) == (None, None, None)
    assert family.scheduler == "own"
