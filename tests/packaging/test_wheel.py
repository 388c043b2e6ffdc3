"""The installed wheel designs from another folder.

It is installed with --no-deps into an environment that sees this one's packages.
"""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*words: str, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, (words, done.stdout[-1500:], done.stderr[-3000:])
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(folder),
        str(ROOT),
        cwd=folder,
    )
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_four_data_folders_and_nothing_else(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    for needed in (
        "envs/classic/corridor.yaml",
        "envs/classic/corridor.py",
        "prompts/auto-mc-reward/designer/first.md.j2",
        "sandboxes/default.toml",
        "runs/README.md",
    ):
        assert f"autoreward/_data/{needed}" in names
    assert not [
        n
        for n in names
        if n.startswith(("tests/", "docs/", "benchmarks/"))
        or ("/runs/" in n and not n.endswith("README.md") and "/example/" not in n)
        or "__pycache__" in n
    ]
    assert sum(i.file_size for i in zipfile.ZipFile(wheel).infolist()) < 2_000_000


def test_a_design_from_the_installed_wheel_in_another_folder(wheel: Path, tmp_path: Path):
    run(sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv"), cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    site = Path(
        run(
            str(python),
            "-c",
            "import sysconfig; print(sysconfig.get_path('purelib'))",
            cwd=tmp_path,
        ).strip()
    )
    run(
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(site),
        str(wheel),
        cwd=tmp_path,
    )
    # This environment's packages come after its own and without their .pth files, so that the
    # checkout cannot be imported.
    (site / "zz_other.pth").write_text(sysconfig.get_path("purelib") + "\n")
    env = {
        k: v
        for k, v in os.environ.items()
        if k not in ("PYTHONPATH", "VIRTUAL_ENV", "AUTOREWARD_MODEL")
    } | {"AUTOREWARD_CACHE": str(tmp_path / "cache")}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    where = run(
        str(python), "-c", "import autoreward; print(autoreward.__file__)", cwd=elsewhere, env=env
    )
    assert str(site) in where and str(ROOT) not in where
    said = run(
        str(python),
        "-m",
        "autoreward",
        "design",
        "corridor",
        "--iterations",
        "1",
        "--candidates",
        "1",
        "--final-seeds",
        "1",
        "--steps",
        "1024",
        "--name",
        "one",
        cwd=elsewhere,
        env=env,
    )
    assert (
        "runs/one/best/program.py" in said
        and (elsewhere / "runs" / "one" / "report.html").is_file()
    )
    assert "shipped" in run(str(python), "-m", "autoreward", "envs", "list", cwd=elsewhere, env=env)
