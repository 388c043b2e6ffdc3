"""Tampering inside of the worker: a program may break its own process.

Outside, numbers of the right shape or a refusal arrive, and the next worker is clean.
"""

import numpy as np
import pytest
from harness import (
    CARD,
    GOOD,
    SANDBOXES,
    Case,
    available,
    case,
    must_be_accepted,
    must_be_refused,
    reward,
    transitions,
    twins,
)

from autoreward.sandbox.outside.worker import Worker

OK = "return {'a': curr.has_key}"
SYS = "import sys\n"
ANY = "|exception|crash|protocol|not-finite|return-form|shape|names-changed|not-pure|too-slow|hung|memory|memory-form|name-twice|too-many-terms"


def tamper(name: str, lines: str, lint: str = "import", check: str = ANY, twin: str = OK) -> Case:
    return case(name, lines + ("" if "return {" in lines else "\n" + OK), lint, check, twin)


LOAD = "m = sys.modules['autoreward.sandbox.inside.load']\n"
WIRE = "w = sys.modules['autoreward.sandbox.wire']\n"
CASES = [
    tamper(
        "everything is finite",
        "np.isfinite = lambda x: np.ones(np.shape(x), bool)\nreturn {'a': curr.has_key * np.nan}",
        "",
        "not-finite",
        "return {'a': np.isfinite(curr.has_key)}",
    ),
    tamper(
        "abs is small",
        "np.abs = lambda x: np.zeros(np.shape(x))\nreturn {'a': curr.has_key * np.nan}",
        "",
        "not-finite",
        "return {'a': np.abs(curr.has_key)}",
    ),
    tamper(
        "np.asarray says what it likes",
        "np.asarray = lambda *a, **k: np.ones(3)\nreturn {'a': curr.pos}",
        "",
        "shape",
        "return {'a': np.asarray(curr.has_key)}",
    ),
    tamper(
        "np.array raises",
        "np.array = None\nreturn {'a': [1.0] * len(curr.pos)}",
        "",
        "return-form",
        "return {'a': np.array([1.0] * len(curr.pos))}",
    ),
    tamper(
        "np.stack raises",
        "np.stack = None",
        "",
        "exception",
        "return {'a': np.stack([curr.has_key, curr.room]).sum(0)}",
    ),
    tamper(
        "np.stack returns more",
        "np.stack = lambda *a, **k: np.ones(10 ** 6)",
        "",
        "exception|protocol",
    ),
    tamper(
        "np.stack returns text", "np.stack = lambda *a, **k: 'x' * 64", "", "exception|protocol"
    ),
    tamper("np.ndarray is replaced", "np.ndarray = dict", "", ANY),
    tamper(
        "np.full lies", "np.full = lambda n, v: np.zeros((n, n))\nreturn {'a': 1.0}", "", "shape"
    ),
    tamper("np.float64 is text", "np.float64 = str", "", ANY),
    tamper(
        "no more warnings",
        "import warnings\nwarnings.simplefilter = None\nreturn {'a': [1.0] * len(curr.pos)}",
        check="return-form|exception",
    ),
    tamper(
        "os.write is replaced", SYS + "sys.modules['os'].write = lambda d, b: len(b)", check="hung"
    ),
    tamper(
        "os.write writes less",
        SYS + "o = sys.modules['os']\nreal = o.write\no.write = lambda d, b: real(d, bytes(b)[:1])",
    ),
    tamper(
        "os.readv is replaced",
        SYS + "sys.modules['os'].readv = lambda *a: 0",
        check="crash|protocol|exception|",
    ),
    tamper(
        "frames are packed by the program",
        SYS + WIRE + "w.pack = lambda *a: b'\\x05' * 999",
        check="protocol",
    ),
    tamper(
        "frames are too long",
        SYS + WIRE + "w.pack = lambda *a: b'\\x05\\xff\\xff\\xff\\xff'",
        check="protocol",
    ),
    tamper("write_all does nothing", SYS + WIRE + "w.write_all = lambda *a: None", check="hung"),
    tamper("the wire's numbers are others", SYS + WIRE + "w.ANSWER = w.READY = 6", check=ANY),
    tamper(
        "the loader accepts everything",
        SYS
        + LOAD
        + "m.LoadedProgram._values = lambda s, w, n, v, k: v\nreturn {'a': curr.has_key * np.nan}",
        check="not-finite",
    ),
    tamper(
        "the loader answers for another number of rows",
        SYS + LOAD + "m.LoadedProgram.step = lambda s, *a: (np.ones((99, 1)),) * 3",
        check="exception|protocol",
    ),
    tamper(
        "the loader answers infinity",
        SYS
        + LOAD
        + "m.LoadedProgram.step = lambda s, p, a, c, f: (np.full((len(c), 1), np.inf), np.zeros((len(c), 0)), np.zeros((len(c), 0)))",
        check="not-finite",
    ),
    tamper(
        "the loader answers above what float32 holds",
        SYS
        + LOAD
        + "m.LoadedProgram.step = lambda s, p, a, c, f: (np.full((len(c), 1), 1e300), np.zeros((len(c), 0)), np.zeros((len(c), 0)))",
        check="not-finite",
    ),
    tamper(
        "refusals are praise",
        SYS
        + LOAD
        + "m.Refusal.to_json = lambda s: {'kind': 'ok', 'message': 'accepted', 'line': True}\nraise ValueError",
        check="exception",
    ),
    tamper(
        "a refusal in the name of the machine",
        SYS + LOAD + "raise m.Refusal('sandbox', 'no sandbox here')",
        check="exception",
    ),
    tamper(
        "the names are others each time",
        SYS
        + "f = sys._getframe(1)\nwhile f.f_code.co_name != 'main': f = f.f_back\nf.f_locals['program'].terms = ['x', 'y', 'z']",
        "import",
        ANY,
    ),
    tamper(
        "frames of the loader",
        SYS
        + "f = sys._getframe(1)\nf.f_locals['n'] = 99\nf.f_globals['LARGEST'] = np.inf\nreturn {'a': curr.has_key + 1e300}",
        "import",
        "not-finite",
    ),
    tamper(
        "by way of the garbage collector",
        "import gc\nfor o in gc.get_objects():\n    if type(o).__name__ == 'LoadedProgram':\n        o.reward = None\n        o.terms = ['forged']",
        check=ANY,
    ),
    tamper("a trace function", SYS + "sys.settrace(lambda *a: 1 / 0)", check=ANY),
    tamper("a profiler", SYS + "sys.setprofile(lambda *a: 1 / 0)", check=ANY),
    tamper("an audit hook that raises", SYS + "sys.addaudithook(lambda *a: 1 / 0)", check=ANY),
    tamper(
        "the hook for errors",
        SYS + "sys.excepthook = sys.exit\nraise ValueError",
        check="exception",
    ),
    tamper(
        "at the end of the process",
        "import atexit\natexit.register(lambda: [0 for _ in iter(int, 1)])",
        check="|exception",
    ),
    tamper(
        "an object that writes when it goes",
        SYS
        + "class D:\n    def __del__(self):\n        sys.modules['os'].write(4, b'x' * 99)\nreturn {'a': curr.has_key, 'b': 0 * curr.has_key + bool(D())}",
        check="protocol|exception",
    ),
    tamper(
        "builtins",
        "import builtins\nbuiltins.len = lambda x: 3\nbuiltins.isinstance = lambda *a: True\nbuiltins.zip = None",
        check=ANY,
    ),
    tamper(
        "builtins by __builtins__",
        "b = __builtins__\nb = b if isinstance(b, dict) else b.__dict__\nb['isinstance'] = lambda *a: True\nreturn 5",
        "forbidden-name",
        ANY,
    ),
    tamper(
        "print is back",
        "p = __builtins__\np['print'] if isinstance(p, dict) else p.print('x')",
        "",
        ANY,
    ),
    tamper(
        "the class of states",
        SYS + "sys.modules['autoreward.state'].State.__getattr__ = lambda s, n: 0.5",
        check=ANY,
    ),
    tamper(
        "the layout is wider",
        SYS + "object.__setattr__(curr._layout, 'names', ('a',) * 99)",
        "import",
        ANY,
    ),
    tamper(
        "slices of all fields",
        "curr._layout.slices.clear()",
        "unknown-field",
        "exception",
        "return {'a': curr.pos[slice(None), 0]}",
    ),
    tamper("its own program in sys.modules", SYS + "sys.modules.clear()", check=ANY),
    tamper(
        "its own code",
        "reward.__code__ = (lambda p, a, c, m: {'a': c.room}).__code__",
        "forbidden-name",
        "not-pure|",
    ),
    tamper("its own defaults", "reward.__defaults__ = (1, 2, 3, 4)", "forbidden-name", ANY),
    tamper(
        "memory is another object",
        "memory.__class__ = type('M', (dict,), {'get': lambda s, k: np.zeros(99)})",
        "forbidden-name",
        ANY,
    ),
    tamper(
        "prev is curr's future", "prev._flat[:] = 5.0\ncurr._flat[:] = 4.0", "unknown-field", ""
    ),
    tamper(
        "the action of the others",
        "action[:] = 1e9\nprev.pos[:] = 3.0\ncurr.pos[:] = 4.0",
        "",
        "",
        "a = action.copy()\na[:] = 1\n" + OK,
    ),
    tamper(
        "arrays that it was given, made smaller", "curr.pos.resize((0,), refcheck=False)", "", ANY
    ),
    tamper("arrays of another type", "curr._flat.dtype = np.uint8", "unknown-field", ANY),
    tamper(
        "arrays that nobody may write",
        "for v in memory.values():\n    v.flags.writeable = False",
        "",
        ANY,
    ),
    tamper(
        "an import hook",
        SYS
        + "class F:\n    def find_spec(self, *a): return None\nsys.meta_path.insert(0, F())\nsys.path[:] = ['.']",
        check="|exception",
    ),
    tamper(
        "its own limits",
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))\nx = np.ones(1 << 29)",
        check="exception|memory",
    ),
    tamper(
        "importing our own modules", "import autoreward.sandbox.outside.worker", check="exception"
    ),
    tamper(
        "the confinement's own code",
        SYS
        + "c = sys.modules['autoreward.sandbox.inside.confine']\nc.confine({'backend': 'limits', 'memory_mb': 4096}, 3, 4)",
        check="exception|crash|",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_only_numbers_or_a_refusal_come_out(brief, case):
    must_be_refused(brief, case)


@pytest.mark.parametrize(("name", "text"), twins(CASES), ids=[n for n, _ in twins(CASES)])
def test_its_twin_is_accepted(bench, name, text):
    must_be_accepted(bench, text)


def test_the_next_worker_of_the_same_template_is_clean(bench):
    clean = bench.run(GOOD, "template")[1]
    for spoiled in CASES:
        if "hung" not in spoiled.check and "builtins" not in spoiled.name:
            bench.run(spoiled.text, "template")
    assert np.array_equal(bench.run(GOOD, "template")[1], clean)
    must_be_accepted(bench, GOOD)


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_what_is_changed_in_the_arrays_does_not_come_back(bench, sandbox):
    """Our own arrays are as they were, and so are those of the next step."""
    made = transitions(3, 4)
    copies = {k: v.copy() for k, v in made.items()}
    text = reward(
        "seen = prev.pos[:, 0].copy()\nprev.pos[:] = 7.0\ncurr.pos[:] = 7.0\naction[:] = 7.0\nreturn {'a': seen}"
    )
    profile = "quick-bwrap" if available(sandbox) == "bwrap" else "quick"
    with Worker(
        text,
        CARD.reward_layout,
        CARD.action,
        profile=profile,
        template=bench.template if sandbox == "template" else None,
    ) as worker:
        terms = worker.ask(made["prev"], made["action"], made["curr"], made["first"]).terms
    assert np.array_equal(terms[..., 0], copies["prev"][..., 0]) and all(
        np.array_equal(made[k], copies[k]) for k in made
    )
