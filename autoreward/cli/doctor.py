"""What `autoreward doctor` looks at.

Each line: what, whether it is well (None: merely absent), and words.
"""

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
PROBE = (
    'import numpy as np\n\n\ndef reward(prev, action, curr, memory):\n    return {"x": curr.x}\n'
)


def examine() -> list[Line]:
    """All lines, in order."""
    lines: list[Line] = [
        (
            "Python",
            sys.version_info >= (3, 11),
            f"{platform.python_version()} on {platform.system()} {platform.release()}",
        )
    ]
    for name in (
        "autoreward-rl",
        "numpy",
        "gymnasium",
        "stable-baselines3",
        "torch",
        "litellm",
        "openai",
    ):
        lines.append(_package(name, True))
    lines += _jail()
    lines.append(_gpu())
    for extra, module in (
        ("minigrid", "minigrid"),
        ("mujoco", "mujoco"),
        ("robotics", "gymnasium_robotics"),
        ("metaworld", "metaworld"),
        ("contrib", "sb3_contrib"),
        ("tensorboard", "tensorboard"),
        ("play", "PIL"),
        ("onnx", "onnx"),
    ):
        there = find_spec(module) is not None
        lines.append(
            (
                f"extra {extra}",
                True if there else None,
                "installed" if there else f"pip install 'autoreward-rl[{extra}]'",
            )
        )
    lines.append(_disk())
    keys = sorted(k for k in os.environ if k.endswith("_API_KEY") and os.environ[k])
    lines.append(
        (
            "keys",
            True if keys else None,
            ", ".join(keys) if keys else "none: offline/search works without; see docs/models.md",
        )
    )
    return lines


def _package(name: str, needed: bool) -> Line:
    try:
        return name, True, version(name)
    except PackageNotFoundError:
        return name, False if needed else None, "not installed"


def _jail() -> list[Line]:
    """Every boundary is really set up around a program, and really tried: a worker that can get
    out refuses to start.
    """
    level, why = _reached("default")
    if level is None:
        lines: list[Line] = [("reward sandbox", False, f"{why}. {_advice()}")]
    elif level.startswith("seccomp "):
        lines = [
            (
                "reward sandbox",
                True,
                f"{level}. This kernel has no Landlock (5.13 and newer, CONFIG_SECURITY_LANDLOCK): one wall in place of two; for a second one: --sandbox bwrap",
            )
        ]
    else:
        lines = [("reward sandbox", True, level)]
    level, why = _reached("bwrap")
    lines.append(
        (
            "  in bubblewrap",
            True if level else None,
            f"{level} (--sandbox bwrap)"
            if level
            else f"{why}; not needed where the line above is ok",
        )
    )
    return lines


def _reached(profile: str) -> tuple[str | None, str]:
    import numpy as np

    from autoreward.errors import UserError
    from autoreward.sandbox.outside.worker import ProgramRefused, Worker
    from autoreward.state import Layout
    from autoreward.tasks.card import Action

    try:
        with Worker(
            PROBE,
            Layout(("x",), ((),)),
            Action(type="discrete", n=2, shape=(), meaning="-"),
            profile=profile,
        ) as worker:
            x = np.ones((1, 1, 1))
            worker.ask(x, np.zeros((1, 1)), x, np.ones((1, 1), bool))
            return f"{worker.level} ({worker.escapes_tried} ways out tried, none open)", ""
    except UserError as error:
        return (
            None,
            f"{error}{f' ({error.hint})' if error.hint and 'doctor' not in error.hint else ''}",
        )
    except (ProgramRefused, OSError) as error:
        return None, str(error)


def _advice() -> str:
    """What to do where there is no boundary."""
    if sys.platform == "win32":
        return "Use WSL2: docs/cli.md, 'Windows'"
    return "A kernel with seccomp (3.17 and newer) is needed, and a container that lets programs use it; --unsafe-no-sandbox runs programs without a boundary, and says so in the run"


def _gpu() -> Line:
    nvidia = shutil.which("nvidia-smi")
    if nvidia is None:
        return "GPU", None, "none seen; the shipped cards train faster on the processor"
    done = subprocess.run(
        [nvidia, "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True
    )
    name = done.stdout.strip().replace("\n", ", ")
    build = version("torch")
    return (
        "GPU",
        done.returncode == 0,
        f"{name}; torch {build}"
        + (" has no CUDA: install a CUDA build" if "+cpu" in build else ""),
    )


def _disk() -> Line:
    from autoreward.resources import cache_folder, cores

    free = shutil.disk_usage(Path.cwd()).free / 2**30
    return (
        "disk, cores",
        free > 0.5,
        f"{free:.1f} GB free here, {cores()} cores, cache {cache_folder()}",
    )
