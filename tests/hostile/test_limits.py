"""Time, memory and crashes: nothing takes longer than its limit, nothing takes the machine's
memory, and no end of a worker is anybody else's.
"""

import time

import pytest
from harness import (
    LIMIT,
    SANDBOXES,
    available,
    case,
    children,
    must_be_accepted,
    must_be_refused,
    reward,
    twins,
)

OK = "return {'a': curr.has_key}"


def body(name: str, lines: str, check: str, twin: str = OK, lint: str = "") -> object:
    return case(name, lines + ("" if "return" in lines else "\n" + OK), lint, check, twin)


CASES = [
    body(
        "an endless loop",
        "while True:\n    pass",
        "too-slow|hung",
        "while True:\n    break\n" + OK,
        lint="endless-loop",
    ),
    body(
        "an endless loop that lint does not see",
        "k = 1\nwhile k:\n    k += 1",
        "too-slow|hung",
        "k = 1\nwhile k:\n    k -= 1\n" + OK,
    ),
    body(
        "an endless iterator",
        "for _ in iter(int, 1):\n    pass",
        "too-slow|hung",
        "for _ in range(3):\n    pass\n" + OK,
    ),
    body(
        "an endless sum",
        "sum(1 for _ in iter(int, 1))",
        "too-slow|hung",
        "sum(1 for _ in range(3))\n" + OK,
    ),
    body(
        "an endless list",
        "[k for k in iter(int, 1)]",
        "too-slow|hung|memory",
        "[k for k in range(3)]\n" + OK,
    ),
    body(
        "a loop over two billion",
        "for k in range(1 << 31):\n    pass",
        "too-slow|hung",
        "for k in range(1 << 4):\n    pass\n" + OK,
    ),
    body("a huge power", "x = 9 ** 9 ** 9", "too-slow|hung|memory", "x = 9 ** 9\n" + OK),
    body(
        "a huge number as text",
        "x = str(1 << 100_000_000)",
        "exception|too-slow|hung|memory",
        "x = str(1 << 10)\n" + OK,
    ),
    body(
        "a regular expression that explodes",
        "import re\nre.match('(a+)+$', 'a' * 60 + 'b')",
        "too-slow|hung",
        OK,
        lint="import",
    ),
    body(
        "a permutation of everything",
        "import itertools\nfor p in itertools.permutations(range(30)):\n    pass",
        "too-slow|hung",
        "import itertools\nfor p in itertools.permutations(range(3)):\n    pass\n" + OK,
    ),
    body(
        "a sort that never ends",
        "class K:\n    def __lt__(self, o): return self.__lt__(o)\nsorted([K(), K()])",
        "exception|crash",
        "sorted([2, 1])\n" + OK,
        lint="forbidden-name",
    ),
    body(
        "catching everything",
        "k = 1\nwhile k:\n    try:\n        while k:\n            k += 1\n    except BaseException:\n        pass",
        "too-slow|hung",
        "try:\n    k = 1\nexcept Exception:\n    pass\n" + OK,
    ),
    body(
        "slow, but it ends",
        "x = 0.0\nfor k in range(30_000_000):\n    x += k",
        "too-slow|hung",
        "x = 0.0\nfor k in range(30):\n    x += k\n" + OK,
    ),
    body("sleep", "import time\ntime.sleep(3600)", "exception|hung", OK, lint="import"),
    body(
        "a lock that nobody opens",
        "import threading\nl = threading.Lock()\nl.acquire()\nl.acquire()",
        "hung|exception",
        OK,
        lint="import",
    ),
    body(
        "waiting for its own input",
        "import sys\nsys.modules['os'].read(3, 1 << 20)",
        "hung|exception|protocol",
        OK,
        lint="import",
    ),
    body(
        "a huge array",
        "x = np.ones((1 << 17, 1 << 17))",
        "memory",
        "x = np.ones((1 << 7, 1 << 7))\n" + OK,
    ),
    body(
        "a huge empty array",
        "x = np.empty(1 << 40)",
        "memory",
        "x = np.empty(1 << 10)\nx[:] = 0\n" + OK,
    ),
    body("a huge range", "x = np.arange(1 << 36)", "memory", "x = np.arange(1 << 6)\n" + OK),
    body(
        "a huge product",
        "x = np.kron(np.ones((2000, 2000)), np.ones((200, 200)))",
        "memory",
        "x = np.kron(np.ones((5, 5)), np.ones((5, 5)))\n" + OK,
    ),
    body("a huge list", "x = [0] * (1 << 34)", "memory", "x = [0] * (1 << 4)\n" + OK),
    body("a huge text", "x = 'a' * (1 << 34)", "memory", "x = 'a' * (1 << 4)\n" + OK),
    body(
        "a growing text",
        "x = 'a' * 64\nfor k in range(60):\n    x += x",
        "memory|too-slow|hung",
        "x = 'a'\nfor k in range(6):\n    x += x\n" + OK,
    ),
    body(
        "lists in lists",
        "x = []\nfor k in range(60):\n    x = x + x + [0.5]",
        "memory|too-slow|hung|crash",
        "x = []\nfor k in range(6):\n    x = x + x + [0.5]\n" + OK,
    ),
    body(
        "a table of everybody against everybody, three times",
        "x = curr.pos[:, 0]\nlarge = np.repeat(x, 200)\nd = large[:, None, None] - large[None, :, None] - large[None, None]",
        "memory",
        "x = curr.pos\nd = x[:, :, None] - x[:, None]\n" + OK,
    ),
    case(
        "growing slowly",
        reward("KEPT.extend([curr.pos.copy() for _ in range(20_000)])\n" + OK, "KEPT = []\n"),
        "global-state",
        "memory-growth|memory",
        reward("kept = [curr.pos.copy() for _ in range(20)]\n" + OK),
    ),
    case(
        "growing slowly through a cache",
        reward(
            "fill(float(curr.pos[0, 0]), float(curr.vel[0, 0]))\n" + OK,
            "import functools\n\n\n@functools.lru_cache(maxsize=None)\ndef fill(x, y):\n    return np.full(1 << 19, x)\n",
        ),
        "",
        "memory-growth|memory",
        reward(
            "fill(3.0)\n" + OK,
            "import functools\n\n\n@functools.lru_cache(maxsize=None)\ndef fill(x):\n    return np.full(16, x)\n",
        ),
    ),
    body(
        "recursion",
        "def f(x):\n    return f(x + 1)\nf(0)",
        "exception",
        "def f(x):\n    return 0 if x < 0 else f(x - 1)\nf(20)\n" + OK,
    ),
    body(
        "recursion through a property",
        "class P:\n    @property\n    def x(self): return self.x\nP().x",
        "exception|crash",
        "class P:\n    @property\n    def x(self): return 1.0\nP().x\n" + OK,
    ),
    body(
        "lists deeper than C can follow",
        "x = []\nfor k in range(1_000_000):\n    x = [x]\nrepr(x)",
        "exception|crash",
        "x = []\nfor k in range(10):\n    x = [x]\nrepr(x)\n" + OK,
    ),
    body(
        "deep lists as a term",
        "x = 0.0\nfor k in range(100_000):\n    x = [x]\nreturn {'a': x}",
        "return-form|crash|shape",
        "x = [0.0] * len(curr.pos)\nreturn {'a': x}",
    ),
    body(
        "comparing deep tuples",
        "x = y = ()\nfor k in range(200_000):\n    x, y = (x,), (y,)\nx == y",
        "exception|crash|",
        "(1, 2) == (1, 2)\n" + OK,
    ),
    body(
        "an endless chain of exceptions",
        "e = None\nfor k in range(100_000):\n    n = ValueError(k)\n    n.x = e\n    e = n\nraise e",
        "exception|crash",
        "try:\n    raise ValueError\nexcept ValueError:\n    pass\n" + OK,
    ),
    body(
        "a tower of exception groups",
        "e = ValueError('x')\nfor k in range(3000):\n    e = ExceptionGroup('g', [e])\nraise e",
        "exception|crash",
        OK,
    ),
    body("os._exit", "import os\nos._exit(0)", "crash", OK, lint="import"),
    body("os.abort", "import os\nos.abort()", "crash", OK, lint="import"),
    body("sys.exit", "raise SystemExit(0)", "exception", OK),
    body("a null pointer", "import ctypes\nctypes.string_at(0)", "crash", OK, lint="import"),
    body(
        "a jump to nowhere",
        "import ctypes\nctypes.CFUNCTYPE(None)(64)()",
        "crash|exception",
        OK,
        lint="import",
    ),
    body(
        "raise a segmentation fault",
        "import ctypes\nctypes.CDLL(None).raise_(11)\nctypes.CDLL(None).abort()",
        "crash|exception",
        OK,
        lint="import",
    ),
    body(
        "a stack overflow in C",
        "import ctypes\nq = ctypes.CDLL(None).qsort\nC = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)\nimport sys\nsys.setrecursionlimit(1 << 30)\ndef f(x):\n    return f(x)\nf(1)",
        "crash|exception|memory|too-slow|hung",
        OK,
        lint="import",
    ),
    body(
        "wrong bytecode",
        "f = lambda: 0\nf.__code__ = f.__code__.replace(co_code=b'\\x64\\xff' * 50)\nf()",
        "crash|exception",
        OK,
        lint="forbidden-name",
    ),
    body(
        "freeing what is in use",
        "import ctypes\nctypes.CDLL(None).free(ctypes.c_void_p(id(curr)))",
        "crash|not-pure|exception|",
        OK,
        lint="import",
    ),
    body(
        "overwriting None",
        "import ctypes\nctypes.memset(id(None), 0, 16)\nx = None",
        "crash|exception",
        OK,
        lint="import",
    ),
    body(
        "overwriting small numbers",
        "import ctypes\nctypes.memmove(id(1) + 24, b'\\2', 1)",
        "crash|exception|too-slow|hung|protocol|",
        OK,
        lint="import",
    ),
    body(
        "swallowing signals",
        "import signal\nfor s in range(1, 32):\n    try:\n        signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError):\n        pass\nk = 1\nwhile k:\n    k += 1",
        "too-slow|hung",
        OK,
        lint="import",
    ),
    body(
        "an alarm",
        "import signal\nsignal.alarm(1)\nk = 1\nwhile k:\n    k += 1",
        "too-slow|crash|exception|hung",
        OK,
        lint="import",
    ),
    body(
        "collecting garbage without end",
        "import gc\nk = 1\nwhile k:\n    gc.collect()",
        "too-slow|hung",
        OK,
        lint="import",
    ),
    body(
        "an object that cannot be deleted",
        "class D:\n    def __del__(self):\n        while self: pass\nd = D()\ndel d",
        "too-slow|hung",
        "d = object()\ndel d\n" + OK,
    ),
    body(
        "many threads",
        "import threading\nfor k in range(50):\n    threading.Thread(target=lambda: [0 for _ in iter(int, 1)], daemon=True).start()",
        "exception|hung|too-slow",
        OK,
        lint="import",
    ),
    body(
        "a thread with a lock for start",
        "import _thread\n_thread.start_new_thread(lambda: None, ())",
        "exception",
        OK,
        lint="import",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_refused_with_its_class(bench, brief, case):
    must_be_refused(bench if "memory-growth" in case.check else brief, case)


@pytest.mark.parametrize(("name", "text"), twins(CASES), ids=[n for n, _ in twins(CASES)])
def test_its_twin_is_accepted(bench, name, text):
    must_be_accepted(bench, text)


@pytest.mark.parametrize("sandbox", SANDBOXES[1:])
@pytest.mark.parametrize(
    "name", ["a huge power", "a huge list", "os.abort", "a null pointer", "recursion", "sleep"]
)
def test_however_the_worker_was_started_the_class_is_the_same(brief, name, sandbox):
    must_be_refused(brief, next(c for c in CASES if c.name == name), available(sandbox))


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_an_answer_that_trickles_in_is_no_way_to_live_longer(bench, sandbox):
    text = reward(
        "import os, struct, time\nos.write(4, struct.pack('<BI', 4, 60000))\nend = time.monotonic() + 60\nwhile time.monotonic() < end:\n    os.write(4, b' ')\n    stop = time.monotonic() + 0.1\n    while time.monotonic() < stop: pass"
    )
    before, begun = children(), time.monotonic()
    kind, _ = bench.run(text, available(sandbox))
    assert (
        kind in ("too-slow", "hung") and time.monotonic() - begun < LIMIT and children() <= before
    )
