"""What a user installs: the wheel holds the configurations and nothing it should not."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_wheel_holds_package_and_configs_and_runs_from_anywhere(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path), ROOT],
        check=True,
    )
    (wheel,) = tmp_path.glob("sdbench-*.whl")
    assert wheel.stat().st_size <= 40_000_000
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    for config in (ROOT / "configs").rglob("*.*"):
        assert f"sdbench/{config.relative_to(ROOT).as_posix()}" in names
    for path in (ROOT / "sdbench/models/data").rglob("*.*"):
        assert path.relative_to(ROOT).as_posix() in names
    assert "sdbench/models/data/shapes/unet/diffusion_pytorch_model.safetensors" in names
    assert "sdbench/worker/__main__.py" in names and "sdbench/py.typed" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"sdbench"}
    listed = subprocess.run(
        [
            sys.executable,
            "-c",
            "from sdbench.plan.read_config import shipped_configs as s; print(*s())",
        ],
        cwd=tmp_path / "site",
        capture_output=True,
        text=True,
        check=True,
    )
    assert "quick" in listed.stdout.split()
