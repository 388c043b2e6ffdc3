"""The sandbox from inside: every system call is tried, and what is left is what SECURITY.md says;
each wall alone; other kernels.
"""

import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from autoreward.errors import UserError
from autoreward.sandbox.inside.confine import ARCHITECTURES
from autoreward.sandbox.outside.profiles import find_profile
from autoreward.sandbox.outside.worker import ProgramRejected, Worker
from autoreward.state import Layout
from autoreward.tasks.card import Action

LAYOUT, ACTION = Layout(("x",), ((),)), Action(type="discrete", n=2, shape=(), meaning="-")
NUMBERS = ARCHITECTURES.get(platform.machine(), {})
# these end the process that tries them: one worker each
FATAL = {"exit", "exit_group", "rt_sigreturn"}
# let through by the kernel, whatever a filter says; see SECURITY.md
UPROBES = {335, 336} if platform.machine() == "x86_64" else set()
SCAN = """
import sys
import numpy as np


def reward(prev, action, curr, memory):
    ctypes = sys.modules["ctypes"]
    libc = ctypes.CDLL(None, use_errno=True)
    answered = {"none": curr.x}
    for number in NUMBERS:
        ctypes.set_errno(0)
        got = libc.syscall(number, *ARGUMENTS)
        if got >= 0 or ctypes.get_errno() != 1:
            answered[str(number)] = curr.x
    return answered
"""


def answered(numbers, arguments: tuple[int, ...], profile: str = "default") -> set[int]:
    """The calls of `numbers` that did not fail with EPERM, tried by a loaded program."""
    text = SCAN.replace("NUMBERS", repr(sorted(numbers))).replace("ARGUMENTS", repr(arguments))
    zeros = np.zeros((1, 2, 1))
    with Worker(text, LAYOUT, ACTION, profile=profile) as worker:
        worker.ask(zeros, np.zeros((1, 2)), zeros, np.ones((1, 2), bool))
        return {int(name) for name in worker.terms if name != "none"}


def listed() -> dict[str, str]:
    """SECURITY.md's table: call -> with what arguments."""
    text = (Path(__file__).parents[2] / "SECURITY.md").read_text()
    table = text.split("## System calls", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (`.+?) \| (.+?) \|$", table, re.M)
    return {name: how for names, how in rows for name in re.findall(r"`(\w+)`", names)}


linux = pytest.mark.skipif(
    not NUMBERS or sys.platform != "linux",
    reason="the filter is written for x86-64 and aarch64 Linux",
)


@linux
@pytest.mark.parametrize("profile", ["default", "bwrap"])
def test_every_call_that_is_not_listed_is_refused(profile):
    if profile == "bwrap" and not __import__("shutil").which("bwrap"):
        pytest.skip("bubblewrap is not installed: apt-get install bubblewrap")
    free = {NUMBERS[name] for name, how in listed().items() if how == "any"}
    bound = {NUMBERS[name] for name, how in listed().items() if how != "any"}
    fatal = {NUMBERS[name] for name in FATAL}
    rest = set(range(1024)) - fatal - UPROBES
    assert answered(rest, (0, 0, 0, 0, 0, 0), profile) == (free - fatal) | {NUMBERS["mprotect"]}, (
        "with zeros only what is listed may answer"
    )
    assert answered(rest - {NUMBERS["brk"]}, (3, 0, 0, 0, 0, 0), profile) >= {NUMBERS["read"]}
    assert answered(rest - {NUMBERS["brk"]}, (3, 0, 0, 0, 0, 0), profile) <= free | bound, (
        "nor may another call do anything with the pipe that questions come by"
    )
    assert answered(rest - {NUMBERS["brk"]}, (4, 0, 0, 0, 0, 0), profile) <= free | bound, (
        "nor with the one for answers"
    )


@linux
@pytest.mark.parametrize("name", [*sorted(FATAL), *sorted(map(str, UPROBES)), "x32"])
def test_calls_that_end_a_process_end_nothing_else(name):
    number = NUMBERS.get(name, 0x40000000 + 39 if name == "x32" else None) or int(name)
    try:
        assert answered({number}, (0, 0, 0, 0, 0, 0)) <= UPROBES
    except ProgramRejected as error:
        assert error.verdict.kind == "crash"


@linux
def test_the_scan_sees_what_is_open():
    # getpid, uname, sysinfo, getuid, getppid
    harmless = {"x86_64": {39, 63, 99, 102, 110}, "aarch64": {160, 172, 173, 174, 179}}[
        platform.machine()
    ]
    assert answered(harmless, (0, 0, 0, 0, 0, 0), "unsafe") == harmless
    assert answered(harmless, (0, 0, 0, 0, 0, 0)) == set()


@linux
@pytest.mark.parametrize(
    ("call", "arguments", "passes"),
    [
        ("mmap", (0, 4096, 3, 0x22, -1, 0), True),
        # executable
        ("mmap", (0, 4096, 7, 0x22, -1, 0), False),
        # of a descriptor
        ("mmap", (0, 4096, 1, 0x02, 3, 0), False),
        ("mprotect", (0, 0, 1, 0, 0, 0), True),
        ("mprotect", (0, 0, 5, 0, 0, 0), False),
        ("madvise", (0, 0, 4, 0, 0, 0), True),
        # HWPOISON
        ("madvise", (0, 0, 100, 0, 0, 0), False),
        ("read", (0, 0, 0, 0, 0, 0), False),
        ("read", (4, 0, 0, 0, 0, 0), False),
        ("readv", (5, 0, 0, 0, 0, 0), False),
        ("write", (3, 0, 0, 0, 0, 0), False),
        ("write", (2, 0, 0, 0, 0, 0), False),
    ],
)
def test_calls_that_are_left_are_bound_to_their_purpose(call, arguments, passes):
    assert answered({NUMBERS[call]}, arguments) == ({NUMBERS[call]} if passes else set())


def inside(code: str) -> str:
    """What a fresh process prints that runs `code` with `c` = the confining module."""
    code = (
        "import os\nimport autoreward.sandbox.inside.confine as c\nos.dup2(0, 3); os.dup2(1, 4)\n"
        + code
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, input="", timeout=60
    )
    return done.stdout + done.stderr


PROFILE = "{'memory_mb': 2048, 'backend': 'kernel'}"
SAY = "os.write(4, repr(said).encode())"


@linux
def test_without_landlock_the_filter_alone_holds_and_says_so():
    said = inside(f"c._landlock = lambda libc: False\nsaid = c.confine({PROFILE}, 3, 4)\n{SAY}")
    assert re.fullmatch(r"\('seccomp', \d+\)", said), said


@linux
@pytest.mark.parametrize("hole", ["_seccomp", "_landlock"])
def test_a_hole_in_the_sandbox_is_found_by_the_canary(hole):
    """Either wall alone leaks: without the filter nothing may start; the filter alone holds
    (above).
    """
    code = (
        f"c.{hole} = lambda *_: False\ntry:\n    said = c.confine({PROFILE}, 3, 4)\n"
        f"except c.Refusal as error:\n    said = error.message\n{SAY}"
    )
    said = inside(code)
    assert ("could" in said) == (hole == "_seccomp"), said


@linux
@pytest.mark.parametrize("abi", [1, 2, 3, 4, 5, 6])
def test_older_landlocks_are_asked_for_what_they_know(abi):
    """A kernel that answers `abi` gets a ruleset of that version's size and bits; ours takes every
    older one, and files are shut.
    """
    code = f"""
import ctypes
class Old:
    def __init__(self): self.real = ctypes.CDLL(None, use_errno=True)
    def syscall(self, number, *rest):
        if number == c.LANDLOCK_CREATE and rest[0] is None:
            real = self.real.syscall(number, *rest)
            return min({abi}, real) if real > 0 else real
        return self.real.syscall(number, *rest)
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(c.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
confined = c._landlock(Old())
try:
    os.listdir("/")
    said = ("open", confined)
except PermissionError:
    said = ("shut", confined)
{SAY}
"""
    said = inside(code)
    if said == "('open', False)":
        pytest.skip("this kernel has no Landlock")
    assert said == "('shut', True)", said


def test_only_the_unsafe_profile_may_be_without_a_boundary(tmp_path, monkeypatch):
    (tmp_path / "sandboxes").mkdir()
    (tmp_path / "sandboxes" / "default.toml").write_text('backend = "limits"\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match='only the profile named "unsafe"'):
        find_profile("default")
    assert find_profile("unsafe").backend == "limits"
