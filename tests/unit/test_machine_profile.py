"""What sw_vers and system_profiler print, read from every recording there is of them."""

import json

import pytest
from recordings import text, texts

from sdbench.machine.facts import CoreKind, Unavailable
from sdbench.machine.macos.system_profiler import (
    SystemVersion,
    parse_build,
    parse_displays,
    parse_hardware,
    parse_sw_vers,
    parse_version,
)

GB = 1 << 30


def value(fact: object) -> object:
    """A fact, None where it is unavailable."""
    return None if isinstance(fact, Unavailable) else fact


# --- sw_vers

SW_VERS = {
    "github-runner-macos15-intel-i7-8700B-14gb/sw_vers.txt": ("15.7.9", "24G830"),
    "intel-imac2019-32gb-macos15.7.4/sw_vers.txt": ("15.7.4", "24G517"),
    "m2-air-macos26.1/sw_vers.txt": ("26.1", "25B78"),
    "m2pro-mini-32gb-macos26.5.1/sw_vers.txt": ("26.5.1", "25F80"),
    "m4-24gb-macos26.5-under-pressure/sw_vers.txt": ("26.5", "25F71"),
    "m5-24gb-macos26/sw_vers.26.5.2.txt": ("26.5.2", "25F84"),
    "sw_vers-forms/sw_vers.beta.macos13.4.blanks-instead-of-tabs.txt": ("13.4", "22F5049e"),
    "sw_vers-forms/sw_vers.rsr.macos13.3.1a.blanks-instead-of-tabs.txt": ("13.3.1", "22E772610a"),
    "sw_vers-forms/sw_vers.rsr.macos13.3.1a.txt": ("13.3.1", "22E772610a"),
    "sw_vers-forms/sw_vers.single-tab.macos12.7.6.txt": ("12.7.6", "21H1320"),
}


def test_every_recorded_sw_vers_is_expected() -> None:
    assert sorted(SW_VERS) == texts("sw_vers.")


@pytest.mark.parametrize("name", SW_VERS)
def test_sw_vers(name: str) -> None:
    assert parse_sw_vers(text(name)) == SystemVersion(*SW_VERS[name])


@pytest.mark.parametrize(
    ("name", "version"),
    [("sw_vers_-productVersion.txt", "14.2.1"), ("sw_vers_-productVersion.rsr.txt", "13.3.1")],
)
def test_single_version(name: str, version: str) -> None:
    assert parse_version(text(f"sw_vers-forms/{name}")) == version
    assert parse_build(text("sw_vers-forms/sw_vers_-buildVersion.txt")) == "23C71"


@pytest.mark.parametrize("said", ["10.16", "16.0", "16.1.2", "17.4", "25.0"])
def test_version_that_old_programs_are_told_is_not_the_true_one(said: str) -> None:
    found = parse_version(said)
    assert isinstance(found, Unavailable)
    assert "old programs" in found.unavailable


@pytest.mark.parametrize("said", ["10.15.7", "11.0", "15.7.4", "26.0", "27.0.1"])
def test_true_versions(said: str) -> None:
    assert parse_version(said) == said


@pytest.mark.parametrize("said", ["", "macOS", "-4", "14.", "999.1", "1.2", "14.1.1.1.1", "1e30"])
def test_what_is_no_version(said: str) -> None:
    assert isinstance(parse_version(said), Unavailable)


@pytest.mark.parametrize("said", ["", "14.2", "G24", "24g90", "24G90 extra"])
def test_what_is_no_build(said: str) -> None:
    assert isinstance(parse_build(said), Unavailable)


# --- SPHardwareDataType: chip, model, cores, kinds, memory in GB

PE = ("Performance", "Efficiency")
HARDWARE = {
    "github-runner-macos15-intel-i7-8700B-14gb/system_profiler_SPHardwareDataType_-json.txt": (
        *(None, "Macmini6,2", 4, None, 14),
    ),
    "intel-imacpro-32gb/system_profiler_SPHardwareDataType_-json.txt": (
        *("8-Core Intel Xeon W", "iMacPro1,1", 8, None, 32),
    ),
    "intel-mba9.1-8gb/system_profiler_SPHardwareDataType.txt": (
        *("Dual-Core Intel Core i3", "MacBookAir9,1", 2, None, 8),
    ),
    "m1-16gb-macos11-mbp17.1/system_profiler_SPHardwareDataType.txt": (
        *("Apple M1", "MacBookPro17,1", 8, (4, 4), 16),
    ),
    "m1-8gb/system_profiler_SPHardwareDataType.aligned.txt": (
        *("Apple M1", "MacBookAir10,1", 8, (4, 4), 8),
    ),
    "m1-air-16gb-native/system_profiler_SPHardwareDataType_-json.txt": (
        *("Apple M1", "MacBookAir10,1", 8, (4, 4), 16),
    ),
    "m1pro-mbp18.1-16gb-macos14/system_profiler_-detailLevel_mini_SPHardwareDataType.txt": (
        *("Apple M1 Pro", "MacBookPro18,1", 10, (8, 2), 16),
    ),
    "m1pro-mbp18.3-16gb-macos13/system_profiler_SPHardwareDataType.txt": (
        *("Apple M1 Pro", "MacBookPro18,3", 10, (8, 2), 16),
    ),
    "m2pro-mac14.10-16gb-macos14/system_profiler_-detailLevel_mini_SPHardwareDataType.txt": (
        *("Apple M2 Pro", "Mac14,10", 12, (8, 4), 16),
    ),
    "m4-24gb-macos26.5-under-pressure/system_profiler_SPHardwareDataType.txt": (
        *("Apple M4", "Mac16,1", 10, (4, 6), 24),
    ),
    "m5max-128gb-macos26.4/system_profiler_SPHardwareDataType_-json.txt": (
        *("Apple M5 Max", "Mac17,6", 18, ("Super", 6, "Performance", 12), 128),
    ),
    "rosetta-m1-air-16gb/system_profiler_SPHardwareDataType_-json.txt": (
        *(None, "MacBookAir10,1", 8, None, 16),
    ),
}


def test_every_recorded_hardware_overview_is_expected() -> None:
    names = texts("system_profiler")
    assert sorted(HARDWARE) == [name for name in names if "SPHardwareDataType" in name]


@pytest.mark.parametrize("name", HARDWARE)
def test_hardware(name: str) -> None:
    chip, model, cores, kinds, memory_gb = HARDWARE[name]
    found = parse_hardware(text(name))
    assert value(found.chip) == chip
    assert found.model == model
    assert found.cores == cores
    assert found.memory_bytes == memory_gb * GB
    if kinds is None:
        assert isinstance(found.cores_by_kind, Unavailable)
        return
    pairs = zip(PE, kinds, strict=True) if len(kinds) == 2 else (kinds[:2], kinds[2:])
    assert found.cores_by_kind == tuple(CoreKind(*pair) for pair in pairs)


def hardware_json(**fields: object) -> str:
    return json.dumps({"SPHardwareDataType": [fields]})


@pytest.mark.parametrize(
    ("said", "cores", "kinds"),
    [
        ("proc 10:4:6:0", 10, (("Performance", 4), ("Efficiency", 6))),
        ("proc 12:2:6:4", 12, (("Super", 2), ("Performance", 4), ("Efficiency", 6))),
        ("proc 3:3:0", 3, (("Performance", 3),)),
        ("proc 8:4:9", 8, None),  # does not add up
        ("proc 8", 8, None),
        ("8", 8, None),
        (8, 8, None),
        (-4, None, None),
        ("proc -8:4:4", None, None),
        (10**30, None, None),
        ("proc 8:4", 8, None),  # cut off
        ("proc", None, None),
        (True, None, None),
        ([8], None, None),
        ("15 (5 Super and 10 Performance)", 15, (("Super", 5), ("Performance", 10))),
    ],
)
def test_forms_of_the_number_of_cores(
    said: object, cores: int | None, kinds: tuple[tuple[str, int], ...] | None
) -> None:
    found = parse_hardware(hardware_json(number_processors=said))
    assert value(found.cores) == cores
    expected = None if kinds is None else tuple(CoreKind(*kind) for kind in kinds)
    assert value(found.cores_by_kind) == expected


@pytest.mark.parametrize("said", ["0 GB", "999999999999 GB", "16", "-8 GB", "16,5 GB", 16, None])
def test_memory_that_cannot_be(said: object) -> None:
    assert isinstance(parse_hardware(hardware_json(physical_memory=said)).memory_bytes, Unavailable)


def test_answer_of_another_kind_says_so() -> None:
    found = parse_hardware(text("sp-damaged/system_profiler_-json_SPMemoryDataType.24gb.txt"))
    assert found.chip == Unavailable("the answer of system_profiler has no SPHardwareDataType")


@pytest.mark.parametrize("mark", ["", "%", "\n%\n", "\nstray line"])
def test_what_stands_around_the_json_does_not_matter(mark: str) -> None:
    whole = text("m1-air-16gb-native/system_profiler_SPHardwareDataType_-json.txt")
    stray = text(
        "github-runner-macos15-intel-i7-8700B-14gb/system_profiler_SPDisplaysDataType_-json"
        ".stderr.txt"
    )
    assert parse_hardware(stray + whole.rstrip() + mark).chip == "Apple M1"


@pytest.mark.parametrize("document", ["{", "{}", '{"SPHardwareDataType": 5}', "{" * 100_000, "[]"])
def test_damaged_json_tells_nothing(document: str) -> None:
    found = parse_hardware(document)
    assert isinstance(found.chip, Unavailable)
    assert isinstance(found.memory_bytes, Unavailable)


# --- SPDisplaysDataType

DISPLAYS = {
    "github-runner-macos15-intel-i7-8700B-14gb/system_profiler_SPDisplaysDataType_-json.txt": (
        *(["Apple Paravirtualized Graphics Device"], None),
    ),
    "intel-imacpro-32gb/system_profiler_SPDisplaysDataType.txt": (["Radeon Pro Vega 64"], None),
    "m1-7core-gpu-air-macos13/system_profiler_SPDisplaysDataType_-json.txt": (["Apple M1"], 7),
    "m1pro-14core-gpu-two-externals/system_profiler_-json_SPDisplaysDataType.txt": (
        *(["Apple M1 Pro"], 14),
    ),
    "m1pro-16core-gpu-sidecar/system_profiler_SPDisplaysDataType_-json.txt": (["Apple M1 Pro"], 16),
    "m3-mbp14-10core-gpu-macos14/system_profiler_SPDisplaysDataType.txt": (["Apple M3"], 10),
    "m4-24gb-macos26.5-under-pressure/system_profiler_SPDisplaysDataType.txt": (["Apple M4"], 10),
    "m4-mini-16gb-macos15.3.1/system_profiler_SPDisplaysDataType_-json.trimmed.txt": (
        *(["Apple M4"], 10),
    ),
    "sp-damaged/system_profiler_SPDisplaysDataType_-json.m1-8gb-macos11.truncated.txt": (
        *(None, None),
    ),
    "sp-displays-m3pro-m2max-trimmed/"
    "system_profiler_SPDisplaysDataType_-json.m2max-30core.trimmed.txt": (["Apple M2 Max"], 30),
    "sp-displays-m3pro-m2max-trimmed/"
    "system_profiler_SPDisplaysDataType_-json.m3pro-14core.trimmed.txt": (["Apple M3 Pro"], 14),
}


def test_every_recorded_gpu_is_expected() -> None:
    names = texts("system_profiler")
    assert sorted(DISPLAYS) == [name for name in names if "SPDisplaysDataType" in name]


@pytest.mark.parametrize("name", DISPLAYS)
def test_displays(name: str) -> None:
    found = parse_displays(text(name))
    assert (value(found.gpus), value(found.gpu_cores)) == DISPLAYS[name]


def test_cut_off_answer_says_so() -> None:
    name = "sp-damaged/system_profiler_SPDisplaysDataType_-json.m1-8gb-macos11.truncated.txt"
    assert parse_displays(text(name)).gpus == Unavailable(
        "the answer of system_profiler is cut off or damaged"
    )


def displays_json(*gpus: dict[str, object]) -> str:
    return json.dumps({"SPDisplaysDataType": gpus})


def test_untranslated_name_is_no_name() -> None:
    assert isinstance(parse_displays(displays_json({"_name": "kHW_AppleM1Item"})).gpus, Unavailable)


def test_apples_gpu_comes_first() -> None:
    external: dict[str, object] = {"sppci_model": "Radeon Pro 580"}
    own: dict[str, object] = {"sppci_model": "Apple M2", "sppci_cores": "8"}
    found = parse_displays(displays_json(external, own))
    assert (found.gpus, found.gpu_cores) == (["Apple M2", "Radeon Pro 580"], 8)


@pytest.mark.parametrize("cores", ["-4", "0", "1e30", "999999999", "", [], 2.5])
def test_gpu_cores_that_cannot_be(cores: object) -> None:
    said = displays_json({"sppci_model": "Apple M2", "sppci_cores": cores})
    assert isinstance(parse_displays(said).gpu_cores, Unavailable)


def test_both_kinds_in_one_text_are_kept_apart() -> None:
    """Both have a line “Total Number of Cores”."""
    m3 = text("m3-mbp14-10core-gpu-macos14/system_profiler_SPDisplaysDataType.txt")
    m2 = text(
        "m2pro-mac14.10-16gb-macos14/system_profiler_-detailLevel_mini_SPHardwareDataType.txt"
    )
    for both in (m3 + m2, m2 + m3):
        assert parse_hardware(both).cores == 12
        assert parse_displays(both).gpu_cores == 10
