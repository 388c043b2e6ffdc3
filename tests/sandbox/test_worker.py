"""The one door: what comes back is right, and whatever goes wrong is classed, the candidate's or
the machine's.
"""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from autoreward.sandbox.outside.worker import ProgramRejected, Template, Worker
from autoreward.state import Layout
from autoreward.tasks.card import Action

LAYOUT = Layout(("x", "place"), ((), (2,)))
ACTION = Action(type="discrete", n=2, shape=(), meaning="-")
HEAD = "import numpy as np\n\n\n"


def ask(body: str, steps: int = 3, n: int = 4, memory: str = "", profile: str = "default"):
    prev = np.arange(steps * n * 3, dtype=float).reshape(steps, n, 3)
    curr, first = prev + 1, np.zeros((steps, n), bool)
    first[0] = True
    text = (
        HEAD
        + memory
        + "\n\ndef reward(prev, action, curr, memory):\n"
        + "".join(f"    {line}\n" for line in body.splitlines())
    )
    with Worker(text, LAYOUT, ACTION, profile=profile) as worker:
        return worker, worker.ask(prev, np.ones((steps, n), int), curr, first)


def test_named_fields_go_in_and_named_terms_come_back():
    worker, answer = ask("return {'a': curr.x - prev.x, 'b': curr.place[:, 1] * action}")
    assert worker.terms == ("a", "b") and answer.terms.shape == (3, 4, 2)
    assert (answer.terms[..., 0] == 1).all() and answer.terms[0, 1, 1] == 6


def test_memory_is_kept_between_steps_and_reset_at_first():
    text = (
        HEAD
        + 'MEMORY = {"t": 0.0}\n\n\ndef reward(prev, action, curr, memory):\n'
        + '    memory["t"] = memory["t"] + 1\n    return {"t": memory["t"]}\n'
    )
    zeros, first = np.zeros((4, 2, 3)), np.zeros((4, 2), bool)
    first[0], first[2, 1] = True, True
    with Worker(text, LAYOUT, ACTION) as worker:
        once = worker.ask(zeros, np.zeros((4, 2)), zeros, first).terms[..., 0]
        assert once.tolist() == [[1, 1], [2, 2], [3, 1], [4, 2]]
        more = worker.ask(zeros[:1], np.zeros((1, 2)), zeros[:1], np.zeros((1, 2), bool)).terms[
            ..., 0
        ]
        assert more.tolist() == [[5, 3]]


def test_potentials_are_answered_at_both_ends():
    with Worker(HEAD + "def potential(s):\n    return {'near': -s.x}\n", LAYOUT, ACTION) as worker:
        answer = worker.ask(
            np.zeros((1, 2, 3)), np.zeros((1, 2)), np.ones((1, 2, 3)), np.ones((1, 2), bool)
        )
    assert (
        worker.potentials == ("near",) and (answer.before == 0).all() and (answer.after == -1).all()
    )


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("return {'a': prev.nothing}", "exception"),
        ("return {'a': 1 / 0}", "exception"),
        ("return prev.x", "return-form"),
        ("return {'a': 'text'}", "return-form"),
        ("return {3: prev.x}", "return-form"),
        ("return {'a': prev.place}", "shape"),
        ("return {'a': prev.x[:1]}", "shape"),
        ("return {'a': prev.x * np.nan}", "not-finite"),
        ("return {'a': np.log(prev.x * 0)}", "not-finite"),
        ("return {str(prev.x[0]): prev.x}", "names-changed"),
        ("while True: pass", "too-slow"),
        ("import os; os._exit(3)", "crash"),
        ("return {'a': np.ones((40000, 40000, 4)).sum() + prev.x}", "memory"),
        ("open('/etc/passwd')", "exception"),
        ("raise SystemExit", "exception"),
        ("def f(): return f()\nf()", "exception"),
    ],
)
def test_what_a_program_does_wrong_is_its_own_fault(body, kind):
    with pytest.raises(ProgramRejected) as caught:
        ask(body)
    assert caught.value.verdict.kind == kind and caught.value.verdict.message


def test_the_line_of_an_error_is_named():
    with pytest.raises(ProgramRejected) as caught:
        ask("x = prev.x\ny = x + prev.nothing\nreturn {'a': y}")
    assert (
        caught.value.verdict.line == 8 and "the fields are x, place" in caught.value.verdict.message
    )


def test_a_print_cannot_forge_an_answer():
    # the sandbox refuses the write, the linter refuses the call
    with pytest.raises(ProgramRejected) as caught:
        ask("import sys; sys.stdout.write('x' * 9999); sys.stdout.flush()\nreturn {'a': prev.x}")
    assert (
        caught.value.verdict.kind == "exception" and "not permitted" in caught.value.verdict.message
    )


@pytest.mark.parametrize(
    "statement",
    [
        "os.environ.get('AUTOREWARD_SECRET')",
        "open('/proc/self/environ').read()",
        "socket.socket()",
        "os.listdir('/')",
        "os.kill(os.getppid(), 9)",
        "os.fork()",
    ],
)
def test_secrets_files_network_and_processes_are_out_of_reach(statement, monkeypatch):
    monkeypatch.setenv("AUTOREWARD_SECRET", "42")
    try:
        _, answer = ask(
            f"import os, socket\ntry:\n    got = {statement}\n"
            "except BaseException:\n    got = None\n"
            "return {'a': prev.x * 0 + float(got is not None)}"
        )
    except ProgramRejected:
        # killed or refused: as good
        return
    assert (answer.terms == 0).all()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(params=["cold", "template", "bwrap"])
def started(request):
    """Options of `Worker` for each way a worker can be started here."""
    if request.param == "bwrap" and not shutil.which("bwrap"):
        pytest.skip("bubblewrap is not installed: apt-get install bubblewrap")
    with Template() as template:
        yield {"cold": {}, "template": {"template": template}, "bwrap": {"profile": "bwrap"}}[
            request.param
        ]


def test_however_it_was_started_it_answers_the_same_and_is_confined(started):
    zeros = np.zeros((1, 2, 3))
    with Worker(
        HEAD + "def reward(prev, action, curr, memory):\n    return {'a': curr.x + 1}\n",
        LAYOUT,
        ACTION,
        **started,
    ) as worker:
        assert worker.level == "landlock+seccomp"
        assert worker.ask(zeros, np.zeros((1, 2)), zeros, np.ones((1, 2), bool)).terms.tolist() == [
            [[1.0], [1.0]]
        ]
        cpu, memory = worker.spent()
        assert cpu >= 0 and memory > 10 << 20
    deadline = time.monotonic() + 5
    while alive(worker._child.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(worker._child.pid), "closed means gone"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("while True: pass", "too-slow"),
        ("import os; os._exit(3)", "crash"),
        ("open('/etc/passwd')", "exception"),
        ("return {str(k): prev.x for k in range(100)}", "too-many-terms"),
    ],
)
def test_however_it_was_started_faults_are_classed_the_same(started, body, kind):
    zeros = np.zeros((1, 2, 3))
    with (
        Worker(
            HEAD + f"def reward(prev, action, curr, memory):\n    {body}\n",
            LAYOUT,
            ACTION,
            **started,
        ) as worker,
        pytest.raises(ProgramRejected) as caught,
    ):
        worker.ask(zeros, np.zeros((1, 2)), zeros, np.ones((1, 2), bool))
    assert caught.value.verdict.kind == kind


def test_a_template_that_dies_is_started_again():
    program = HEAD + "def reward(prev, action, curr, memory):\n    return {'a': curr.x}\n"
    with Template() as template:
        Worker(program, LAYOUT, ACTION, template=template).close()
        template._process.kill()
        template._process.wait()
        with Worker(program, LAYOUT, ACTION, template=template) as worker:
            assert worker.level == "landlock+seccomp"


@pytest.mark.parametrize(
    "forged",
    [
        "[]",
        "{}",
        '{"terms": 3}',
        '{"terms": ["a", "a"], "potentials": [], "broadcast": []}',
        '{"terms": [], "potentials": [], "broadcast": 5}',
        "[" * 30000,
    ],
)
def test_forged_names_are_the_programs_fault_and_crash_nobody(forged):
    body = (
        f"import os, struct\n    data = {forged!r}.encode()\n"
        "    os.write(4, struct.pack('<BI', 4, len(data)) + data)\n    return {'a': prev.x}"
    )
    zeros = np.zeros((1, 2, 3))
    with (
        Worker(
            HEAD + f"def reward(prev, action, curr, memory):\n    {body}\n", LAYOUT, ACTION
        ) as worker,
        pytest.raises(ProgramRejected),
    ):
        worker.ask(zeros, np.zeros((1, 2)), zeros, np.ones((1, 2), bool))
