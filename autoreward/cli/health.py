"""What `autoreward doctor` looks at. Each line: what, whether it is well (None: merely absent), and words."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

Line = tuple[str, bool | None, str]
PROBE = 'import numpy as np\n\n\ndef reward(prev, action, curr, memory):\n    return {"x": curr.x}\n'


def examine() -> list[Line]:
    """All lines, in order."""
    lines: list[Line] = [("Python", sys.version_info >= (3, 11), f"{platform.python_version()} on {platform.system()} {platform.release()}")]
    for name in ("autoreward-rl", "numpy", "gymnasium", "stable-baselines3", "torch", "litellm", "openai"):
        lines.append(_package(name, True))
    lines.append(_jail())
    lines.append(_gpu())
    for extra, module in (("minigrid", "minigrid"), ("mujoco", "mujoco"), ("robotics", "gymnasium_robotics"), ("metaworld", "metaworld"), ("contrib", "sb3_contrib"), ("tensorboard", "tensorboard")):
        there = find_spec(module) is not None
        lines.append((f"extra {extra}", True if there else None, "installed" if there else f"pip install 'autoreward-rl[{extra}]'"))
    lines.append(_disk())
    keys = sorted(k for k in os.environ if k.endswith("_API_KEY") and os.environ[k])
    lines.append(("keys", True if keys else None, ", ".join(keys) if keys else "none: offline/search works without; see docs/models.md"))
    return lines


def _package(name: str, needed: bool) -> Line:
    try:
        return name, True, version(name)
    except PackageNotFoundError:
        return name, False if needed else None, "not installed"


def _jail() -> Line:
    import numpy as np

    from autoreward.errors import UserError
    from autoreward.sandbox import ProgramRefused, Worker
    from autoreward.state import Layout
    from autoreward.task import Action

    try:
        with Worker(PROBE, Layout(("x",), ((),)), Action(type="discrete", n=2, shape=(), meaning="-")) as worker:
            x = np.ones((1, 1, 1))
            worker.ask(x, np.zeros((1, 1)), x, np.ones((1, 1), bool))
            return "reward sandbox", True, worker.level
    except (UserError, ProgramRefused, OSError) as error:
        return "reward sandbox", False, f"{error}; --unsafe-no-sandbox runs programs without it"


def _gpu() -> Line:
    nvidia = shutil.which("nvidia-smi")
    if nvidia is None:
        return "GPU", None, "none seen; the shipped cards train faster on the processor"
    done = subprocess.run([nvidia, "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True)
    name = done.stdout.strip().replace("\n", ", ")
    build = version("torch")
    return "GPU", done.returncode == 0, f"{name}; torch {build}" + (" has no CUDA: install a CUDA build" if "+cpu" in build else "")


def _disk() -> Line:
    from autoreward.launch import cache_folder, cores

    free = shutil.disk_usage(Path.cwd()).free / 2**30
    return "disk, cores", free > 0.5, f"{free:.1f} GB free here, {cores()} cores, cache {cache_folder()}"
