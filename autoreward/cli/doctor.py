"""`autoreward doctor`: what works on this machine, and what is missing."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import typer

from autoreward.cli.options import Json, show
from autoreward.errors import MISSING

# (check, ok / failed / not installed, detail)
Line = tuple[str, bool | None, str]
MARKS = {True: "ok  ", False: "FAIL", None: "-   "}
MIN_FREE_GB = 0.5
PACKAGES = (
    "autoreward-rl",
    "numpy",
    "gymnasium",
    "stable-baselines3",
    "torch",
    "litellm",
    "openai",
)
# extra -> the module that it brings
EXTRAS = {
    "minigrid": "minigrid",
    "mujoco": "mujoco",
    "robotics": "gymnasium_robotics",
    "metaworld": "metaworld",
    "contrib": "sb3_contrib",
    "tensorboard": "tensorboard",
    "play": "PIL",
    "onnx": "onnx",
}
PROGRAM = (
    'import numpy as np\n\n\ndef reward(prev, action, curr, memory):\n    return {"x": curr.x}\n'
)


def doctor(as_json: Json = False) -> None:
    """Check this machine: Python, packages, sandbox, GPU, simulators, disk, API keys."""
    found = examine()
    lines = [f"{MARKS[ok]} {check:<22} {detail}" for check, ok, detail in found]
    data = [{"what": check, "ok": ok, "told": detail} for check, ok, detail in found]
    show(data, "\n".join(lines), as_json)
    if any(ok is False for _, ok, _ in found):
        raise typer.Exit(MISSING)


def examine() -> list[Line]:
    """All checks, in the order they are shown."""
    return [
        _python(),
        *(_package(name) for name in PACKAGES),
        _sandbox(),
        _bubblewrap(),
        _gpu(),
        *(_extra(extra, module) for extra, module in EXTRAS.items()),
        _disk(),
        _keys(),
    ]


def _python() -> Line:
    system = f"{platform.system()} {platform.release()}"
    recent = sys.version_info >= (3, 11)
    return "Python", recent, f"{platform.python_version()} on {system}"


def _package(name: str) -> Line:
    try:
        return name, True, version(name)
    except PackageNotFoundError:
        return name, False, "not installed"


def _extra(extra: str, module: str) -> Line:
    if find_spec(module) is None:
        return f"extra {extra}", None, f"pip install 'autoreward-rl[{extra}]'"
    return f"extra {extra}", True, "installed"


def _keys() -> Line:
    keys = sorted(k for k in os.environ if k.endswith("_API_KEY") and os.environ[k])
    if not keys:
        return "API keys", None, "none; offline/search needs none (docs/models.md)"
    return "API keys", True, ", ".join(keys)


# -- the sandbox -----------------------------------------------------------------------------------


def _sandbox() -> Line:
    """Whether a program can be confined here.

    Every boundary is really set up around a program and tried: a worker that can get out refuses
    to start.
    """
    level, reason = _tried("default")
    if level is None:
        return "reward sandbox", False, f"{reason}. {_advice()}"
    if level.startswith("seccomp "):
        detail = (
            f"{level}. This kernel has no Landlock (5.13 and newer, CONFIG_SECURITY_LANDLOCK), "
            "so there is one layer of isolation instead of two; for a second: --sandbox bwrap"
        )
        return "reward sandbox", True, detail
    return "reward sandbox", True, level


def _bubblewrap() -> Line:
    level, reason = _tried("bwrap")
    if level is None:
        return "sandbox bwrap", None, f"{reason}; not needed if the line above is ok"
    return "sandbox bwrap", True, f"{level} (--sandbox bwrap)"


def _tried(profile: str) -> tuple[str | None, str]:
    """(the boundaries that hold, ""), or (None, why there are none)."""
    import numpy as np

    from autoreward.errors import UserError
    from autoreward.sandbox.outside.worker import ProgramRejected, Worker
    from autoreward.state import Layout
    from autoreward.tasks.card import Action

    action = Action(type="discrete", n=2, shape=(), meaning="-")
    ones = np.ones((1, 1, 1))
    try:
        with Worker(PROGRAM, Layout(("x",), ((),)), action, profile=profile) as worker:
            worker.ask(ones, np.zeros((1, 1)), ones, np.ones((1, 1), bool))
            return f"{worker.level} ({worker.escapes_tried} escapes tried, all blocked)", ""
    except UserError as error:
        hint = f" ({error.hint})" if error.hint and "doctor" not in error.hint else ""
        return None, f"{error}{hint}"
    except (ProgramRejected, OSError) as error:
        return None, str(error)


def _advice() -> str:
    """What to do if programs cannot be confined."""
    if sys.platform == "win32":
        return "Use WSL2: docs/cli.md, 'Windows'"
    return (
        "It needs a kernel with seccomp (3.17 or newer), and a container that permits it; "
        "--unsafe-no-sandbox runs programs without isolation, and the run records it"
    )


# -- the machine -----------------------------------------------------------------------------------


def _gpu() -> Line:
    nvidia = shutil.which("nvidia-smi")
    if nvidia is None:
        return "GPU", None, "none found; the shipped cards train faster on the CPU"
    done = subprocess.run(
        [nvidia, "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True
    )
    name = done.stdout.strip().replace("\n", ", ")
    build = version("torch")
    missing = " has no CUDA: install a CUDA build" if "+cpu" in build else ""
    return "GPU", done.returncode == 0, f"{name}; torch {build}{missing}"


def _disk() -> Line:
    from autoreward.resources import cache_folder, cores

    free = shutil.disk_usage(Path.cwd()).free / 2**30
    detail = f"{free:.1f} GB free here, {cores()} cores, cache {cache_folder()}"
    return "disk, cores", free > MIN_FREE_GB, detail
