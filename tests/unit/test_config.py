"""Configurations: what is accepted, and the one line that says what is wrong."""

from pathlib import Path
from typing import Any

import pytest
from factories import make_config

from sdbench.errors import ConfigError
from sdbench.plan.config import Config, held_bytes
from sdbench.plan.read_config import load_config, parse_config, shipped_configs


def write(folder: Path, text: str, name: str = "mine.toml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def complaint(document: dict[str, Any]) -> str:
    """The one line said about a document that is wrong."""
    with pytest.raises(ConfigError) as caught:
        parse_config(document, "mine.toml")
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_empty_document_is_a_whole_configuration() -> None:
    assert parse_config({}, "mine.toml") == Config()


def test_defaults_are_those_of_the_documentation() -> None:
    config = Config()
    assert (config.model, config.device, config.steps, config.images) == (
        "synthetic/sd15",
        "auto",
        "auto",
        4,
    )
    assert (config.passes, config.replicates, config.timeout_s, config.max_minutes) == (
        "auto",
        3,
        "auto",
        0,
    )
    assert config.guard.min_free_disk_bytes == 10e9
    assert config.reference.budget_s == 600


def test_one_axis_is_enough(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, '[matrix]\nresolution = ["256x256"]\n'))
    assert config.matrix is not None
    assert config.matrix.resolution == ("256x256",)
    assert config.matrix.batching == ("loop",)


def test_full_example_of_the_documentation_is_accepted(tmp_path: Path) -> None:
    text = """
        name = "mps-docs"
        model = "synthetic/sd15"
        device = "auto"
        steps = 20
        guidance_scale = 7.5
        scheduler = "ddim"
        seed = 0
        images = 4
        passes = 3
        replicates = 3
        timeout_s = "auto"
        max_minutes = 0
        start = "auto"
        prompts = ["a photo of an astronaut riding a horse on mars"]
        [matrix]
        resolution = ["512x512", "768x768"]
        attention_slicing = [false, true]
        warmup = [true, false]
        batching = ["loop", "batch"]
        dtype = ["float32", "float16"]
        vae_slicing = [false]
        vae_tiling = [false]
        attention = ["default"]
        offload = ["none"]
        [[exclude]]
        resolution = "768x768"
        dtype = "float32"
        [[arm]]
        name = "old"
        stack = "torch-1.13"
        env = {PYTORCH_MPS_HIGH_WATERMARK_RATIO = "1.0"}
        telemetry = true
        [guard]
        max_swap_growth_bytes = "auto"
        min_free_disk_bytes = 10e9
        [reference]
        budget_s = 600
    """
    config = load_config(write(tmp_path, text))
    assert config.name == "mps-docs"
    assert config.arm[0].env == {"PYTORCH_MPS_HIGH_WATERMARK_RATIO": "1.0"}
    assert config.exclude[0].settings() == {"resolution": "768x768", "dtype": "float32"}


@pytest.mark.parametrize("name", ["quick", "default", "mps-docs", "full"])
def test_every_shipped_configuration_loads_under_its_own_name(name: str) -> None:
    assert load_config(name).name == name


def test_what_is_promised_is_shipped() -> None:
    assert set(shipped_configs()) >= {"quick", "default", "mps-docs", "full"}


def test_file_is_named_after_itself_unless_it_says_otherwise(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "steps = 3", "night.toml")).name == "night"
    assert load_config(write(tmp_path, 'name = "day"', "night.toml")).name == "day"
    assert load_config(write(tmp_path, "steps = 3", "two words.toml")).name == "custom"


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"stepps": 3}, "mine.toml: stepps: unknown key; did you mean 'steps'?"),
        ({"matrix": {"resolutions": []}}, "mine.toml: matrix.resolutions: unknown key; did you"),
        ({"guard": {"swap": 1}}, "mine.toml: guard.swap: unknown key"),
        ({"case": [{}, {"warm": True}]}, "mine.toml: case[1].warm: unknown key"),
        ({"arm": [{"nam": "x"}]}, "mine.toml: arm[0].nam: unknown key; did you mean 'name'?"),
        ({"exclude": [{"size": "x"}]}, "mine.toml: exclude[0].size: unknown key"),
    ],
)
def test_unknown_key_is_named_with_what_was_meant(document: dict[str, Any], expected: str) -> None:
    assert complaint(document).startswith(expected)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"steps": "many"}, "mine.toml: steps: expected 'auto' or a whole number, got 'many'"),
        ({"steps": True}, "mine.toml: steps: expected 'auto' or a whole number, got true or false"),
        ({"steps": 2.5}, "mine.toml: steps: expected 'auto' or a whole number, got a number"),
        ({"prompts": "one"}, "mine.toml: prompts: expected a list, got text"),
        ({"matrix": 5}, "mine.toml: matrix: expected a table, got a whole number"),
        ({"arm": {"name": "x"}}, "mine.toml: arm: expected a list, got a table"),
        (
            {"matrix": {"resolution": "512x512"}},
            "mine.toml: matrix.resolution: expected a list, got text",
        ),
        (
            {"matrix": {"warmup": ["yes"]}},
            "mine.toml: matrix.warmup[0]: expected true or false, got text",
        ),
    ],
)
def test_wrong_type_is_said_in_plain_words(document: dict[str, Any], expected: str) -> None:
    assert complaint(document) == expected


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"device": "tpu"}, "device: expected 'auto' or 'mps' or 'cuda' or 'cpu', got 'tpu'"),
        (
            {"matrix": {"batching": ["loop", "heap"]}},
            "matrix.batching[1]: expected 'loop' or 'batch' or 'split', got 'heap'",
        ),
        (
            {"case": [{"dtype": "f16"}]},
            "case[0].dtype: expected 'float32' or 'float16' or 'bfloat16', got 'f16'",
        ),
        ({"timeout_s": "soon"}, "timeout_s: expected 'auto' or a number, got 'soon'"),
        (
            {"guard": {"max_swap_growth_bytes": "lots"}},
            "guard.max_swap_growth_bytes: expected 'auto' or a number, got 'lots'",
        ),
    ],
)
def test_wrong_choice_lists_the_right_ones(document: dict[str, Any], expected: str) -> None:
    assert complaint(document) == f"mine.toml: {expected}"


def test_truth_value_where_auto_or_a_number_belongs_is_said_in_plain_words() -> None:
    assert complaint({"timeout_s": True}) == (
        "mine.toml: timeout_s: expected 'auto' or a number, got true or false"
    )


@pytest.mark.parametrize(
    "size",
    [
        "512",
        "512x",
        "500x512",
        "512x513",
        "0x512",
        "56x64",
        "8200x512",
        "8192x8",
        "512X512",
        "a x b",
    ],
)
def test_resolution_must_be_multiples_of_eight(size: str) -> None:
    line = complaint({"matrix": {"resolution": ["512x512", size]}})
    assert line.startswith("mine.toml: matrix.resolution[1]: expected WIDTHxHEIGHT")
    assert repr(size) in line
    assert complaint({"case": [{"resolution": size}]}).startswith("mine.toml: case[0].resolution:")


@pytest.mark.parametrize("size", ["64x64", "512x768", "8192x8192"])
def test_resolution_limits_are_inclusive(size: str) -> None:
    assert parse_config({"matrix": {"resolution": [size]}}, "mine.toml").matrix is not None


def test_empty_axis_and_repeated_value_are_rejected() -> None:
    assert complaint({"matrix": {"warmup": []}}) == (
        "mine.toml: matrix.warmup: expected at least one value, got an empty list"
    )
    assert complaint({"matrix": {"batching": ["loop", "loop"]}}) == (
        "mine.toml: matrix.batching: expected each value once, 'loop' is repeated"
    )
    assert "expected at least one value" in complaint({"matrix": {"dtype": []}})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("steps", 0),
        ("images", 65),
        ("passes", 0),
        ("replicates", 0),
        ("seed", -1),
        ("seed", 2**64),
        ("timeout_s", 0),
        ("timeout_s", float("nan")),
        ("timeout_s", float("inf")),
        ("max_minutes", -1),
        ("guidance_scale", float("nan")),
    ],
)
def test_number_out_of_range_is_rejected(key: str, value: float) -> None:
    line = complaint({key: value})
    assert line.startswith(f"mine.toml: {key}: expected a number")
    assert f"got {value}" in line


def test_nested_numbers_have_ranges_too() -> None:
    assert "guard.min_free_disk_bytes: expected a number of 0 or more" in complaint(
        {"guard": {"min_free_disk_bytes": -1.0}}
    )
    assert "reference.budget_s" in complaint({"reference": {"budget_s": float("inf")}})


def test_matrix_and_cases_exclude_each_other() -> None:
    assert "not both" in complaint({"matrix": {}, "case": [{}]})


def test_no_case_and_empty_exclude_are_rejected() -> None:
    assert complaint({"case": []}) == "mine.toml: case: expected at least one [[case]]"
    assert complaint({"exclude": [{}]}) == "mine.toml: exclude[0]: expected at least one setting"


def test_there_is_a_prompt_and_it_may_be_empty() -> None:
    assert "prompts: expected at least one prompt" in complaint({"prompts": []})
    assert parse_config({"prompts": ["", "  ", "a cat"]}, "mine.toml").prompts[0] == ""


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("500x500", "; the nearest are 496x496, 504x504"),
        ("512x500", "; the nearest are 512x496, 512x504"),
        ("1025x1023", "; the nearest are 1024x1016, 1032x1024"),
        ("777", "; the nearest are 776x776, 784x784"),
        ("512×512", "; the nearest is 512x512"),
        ("512 x 768", "; the nearest is 512x768"),
        ("10000x20", "; the nearest is 8192x64"),
        ("0x0", "; the nearest is 64x64"),
        ("large", ""),
        ("-512x512", ""),
        ("512x512x3", ""),
    ],
)
def test_size_that_cannot_be_made_names_its_neighbours(asked: str, near: str) -> None:
    said = complaint({"case": [{"resolution": asked}]})
    assert "each a multiple of 8 from 64 to 8192" in said
    assert said.endswith(f"got {asked!r}{near}")


def test_arms_need_distinct_names_that_can_be_file_names() -> None:
    assert complaint({"arm": []}) == "mine.toml: arm: expected at least one [[arm]]"
    twice = complaint({"arm": [{"name": "a"}, {"name": "a"}]})
    assert twice == "mine.toml: arm[1].name: expected each once, 'a' repeats"
    assert complaint({"arm": [{"name": "../a"}]}).startswith("mine.toml: arm[0].name: expected")


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"": "x"}, "arm[0].env: expected names of variables that are not empty"),
        ({"A=B": "x"}, "arm[0].env: expected names of variables that are not empty"),
        ({"A\0": "x"}, "arm[0].env: expected names of variables that are not empty"),
        ({"=": ""}, "arm[0].env: expected names of variables that are not empty"),
        ({"A": "x\0y"}, "arm[0].env.A: expected a text without NUL"),
    ],
)
def test_environment_no_process_can_have_is_refused(env: dict[str, str], expected: str) -> None:
    assert complaint({"arm": [{"env": env}]}).startswith(f"mine.toml: {expected}")


@pytest.mark.parametrize("names", [["a", "A"], ["Old", "x", "oLD"], ["stra", "STRA"]])
def test_arms_that_one_file_name_would_serve_are_refused(names: list[str]) -> None:
    told = complaint({"arm": [{"name": name} for name in names]})
    assert "expected names that differ in more than upper and lower case" in told
    assert repr(names[0]) in told and repr(names[-1]) in told


@pytest.mark.parametrize("name", ["x" * 5000, "x" * 300, "a\0b", "x/" * 3000 + "a.toml"])
def test_name_no_file_can_have_is_one_short_line(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(name)
    assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)


def test_name_must_be_fit_for_a_folder() -> None:
    assert complaint({"name": "a/b"}).startswith("mine.toml: name: expected letters")
    assert complaint({"name": ""}).startswith("mine.toml: name: expected letters")


def test_override_replaces_a_key(tmp_path: Path) -> None:
    path = write(tmp_path, "steps = 20\n[matrix]\nwarmup = [true]")
    config = load_config(
        path,
        [
            "steps=3",
            "model=synthetic/tiny",
            "guard.min_free_disk_bytes=1e9",
            'matrix.resolution=["64x64"]',
        ],
    )
    assert (config.steps, config.model) == (3, "synthetic/tiny")
    assert config.guard.min_free_disk_bytes == 1e9
    assert config.matrix is not None
    assert config.matrix.resolution == ("64x64",)
    assert config.matrix.warmup == (True,)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("steps", "--set: steps: expected key=value"),
        ("=3", "--set: =3: expected key=value"),
        ("steps.deep=3", "--set: steps.deep: the part before the last dot is not a table"),
        ("stepps=3", "quick: stepps: unknown key"),
        ("steps=many", "quick: steps: expected 'auto' or a whole number, got 'many'"),
    ],
)
def test_override_that_cannot_be_is_explained(override: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("quick", ["steps=20", override])
    assert str(caught.value).startswith(expected)


def test_unknown_configuration_lists_the_shipped_ones() -> None:
    words = r"quik: no such configuration; did you mean 'quick'\? there are .*quick"
    with pytest.raises(ConfigError, match=words):
        load_config("quik")


def test_file_that_is_not_there_or_not_toml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_config(str(tmp_path / "absent.toml"))
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(write(tmp_path, "steps = = 3"))
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(str(tmp_path / "latin.toml"))
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(f"{tmp_path}/")


def test_errors_of_a_configuration_exit_with_two() -> None:
    assert ConfigError("f", "k", "e").exit_code == 2


def test_configuration_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        make_config().steps = 5  # type: ignore[misc]


# --- gates, guard, pressure -----------------------------------------------------------------------


def test_nothing_is_waited_for_and_nothing_held_by_default() -> None:
    config = Config()
    assert (config.gate.wait_for, config.gate.max_wait_s) == ((), 60)
    assert (config.guard.min_available_bytes, config.guard.max_swapped_out_bytes) == ("auto", 20e9)
    assert config.pressure.hold_bytes == ()


def test_default_waits_a_minute_in_all_for_heat_pressure_and_battery() -> None:
    gate = load_config("default").gate
    assert (gate.wait_for, gate.max_wait_s) == (("thermal", "pressure", "battery"), 60)


@pytest.mark.parametrize("name", [*shipped_configs()])
def test_no_shipped_configuration_holds_memory(name: str) -> None:
    assert load_config(name).pressure.hold_bytes == ()


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (
            {"gate": {"wait_for": ["heat"]}},
            "gate.wait_for[0]: expected 'thermal' or 'pressure' or 'load' or 'battery', got 'heat'",
        ),
        ({"gate": {"wait_for": "thermal"}}, "gate.wait_for: expected a list, got text"),
        ({"gate": {"max_wait_s": -1}}, "gate.max_wait_s: expected a number of 0 or more, got -1.0"),
        (
            {"guard": {"min_available_bytes": "some"}},
            "guard.min_available_bytes: expected 'auto' or a number, got 'some'",
        ),
        (
            {"guard": {"max_swapped_out_bytes": -5}},
            "guard.max_swapped_out_bytes: expected a number of 0 or more, got -5.0",
        ),
        (
            {"pressure": {"hold_bytes": [0, True]}},
            "pressure.hold_bytes[1]: expected a number or text, got true or false",
        ),
        ({"pressure": {"hold_bytes": "50%"}}, "pressure.hold_bytes: expected a list, got text"),
        (
            {"pressure": {"hold_bytes": [0, -1]}},
            "pressure.hold_bytes[1]: expected a number of 0 or more, got -1.0",
        ),
        (
            {"arm": [{"name": "a", "hold_bytes": 5}]},
            "arm[0].hold_bytes: expected in [pressure], for all variants alike",
        ),
    ],
)
def test_wrong_gate_guard_or_pressure_is_one_line(document: dict[str, Any], expected: str) -> None:
    assert complaint(document) == f"mine.toml: {expected}"


@pytest.mark.parametrize("share", ["50", "%", "5.5%", "-5%", "91%", "100%", "half", "50 %"])
def test_share_of_memory_is_a_whole_percentage_up_to_ninety(share: str) -> None:
    assert complaint({"pressure": {"hold_bytes": [share]}}) == (
        f"mine.toml: pressure.hold_bytes[0]: expected a share up to '90%', got {share!r}"
    )


@pytest.mark.parametrize(
    ("level", "expected"), [(4e9, 4_000_000_000), ("50%", 8_000_000_000), ("0%", 0), (0, 0)]
)
def test_level_is_bytes_or_a_share_of_memory(level: float | str, expected: int) -> None:
    assert parse_config({"pressure": {"hold_bytes": [level]}}, "x").pressure.hold_bytes == (level,)
    assert held_bytes(level, 16_000_000_000) == expected
