"""Semantics: the same transition must give the same number; chance, time, hidden state and other
rows are found, by whatever way they come in.
"""

import pytest
from harness import Case, case, must_be_accepted, must_be_refused, reward, twins

OK = "return {'a': curr.has_key}"


def chance(
    name: str, expression: str, lint: str, check: str = "not-pure|exception", twin: str = "0.0"
) -> Case:
    """One number that should not be there, added to a field."""
    return case(
        name,
        f"import sys\nv = {expression}\nreturn {{'a': curr.has_key + v}}"
        if "sys." in expression
        else f"v = {expression}\nreturn {{'a': curr.has_key + v}}",
        lint,
        check,
        f"v = {twin}\nreturn {{'a': curr.has_key + v}}",
    )


def state(
    name: str,
    before: str,
    line: str,
    lint: str,
    twin_line: str = "v = 1.0",
    twin_before: str = "",
    check: str = "not-pure|exception",
) -> Case:
    """State that outlives the call: `line` computes v."""
    return case(
        name,
        reward(f"{line}\nreturn {{'a': curr.has_key + v}}", before),
        lint,
        check,
        reward(f"{twin_line}\nreturn {{'a': curr.has_key + v}}", twin_before),
    )


CASES = [
    # chance
    chance("numpy's global generator", "np.random.rand()", "forbidden-name", twin="0.5"),
    chance("a generator without a seed", "np.random.default_rng().random()", "forbidden-name"),
    chance(
        "one number a row",
        "np.random.normal(size=len(curr.pos))",
        "forbidden-name",
        twin="np.linspace(0, 1, 4)[1]",
    ),
    chance(
        "numpy's random by another name",
        "getattr(np, 'ran' + 'dom').rand()",
        "",
        twin="getattr(np, 'si' + 'n')(0.0)",
    ),
    chance(
        "a seeded generator, one draw a row",
        "np.random.default_rng(0).random(len(curr.pos))",
        "forbidden-name",
    ),
    chance("Python's generator", "sys.modules['random'].random()", "import"),
    chance("the system's chance", "float(sys.modules['os'].urandom(1)[0])", "import", "exception"),
    chance("a secret token", "float(sys.modules['os'].getrandom(1)[0])", "import", "exception"),
    chance("an address", "float(id(object()) % 99991)", "forbidden-call", "not-pure"),
    chance(
        "an address of an array",
        "float(curr.pos.ctypes.data % 99991)",
        "",
        "not-pure",
        "float(curr.pos.size * 0)",
    ),
    chance("a hash of an object", "float(hash(object()) % 99991)", "forbidden-call", "not-pure"),
    chance(
        "an address in a text",
        "float(int(repr(object())[-7:-1], 16) % 9973)",
        "",
        "not-pure",
        "float(int('ff', 16))",
    ),
    chance(
        "uninitialized memory",
        "np.nan_to_num(np.empty(3000).view(np.uint8)[::8].astype(float).sum())",
        "",
        "|not-pure",
        "np.zeros(8)[0]",
    ),
    chance(
        "the order of a set of objects",
        "float(sum(k * (int(repr(o)[-7:-1], 16) % 97) for k, o in enumerate({object() for _ in range(9)})))",
        "",
        "not-pure",
        "float(sorted({3, 1, 2})[0])",
    ),
    # time; a clock that shows whole seconds is the same for both workers, so only lint finds it
    chance("the clock", "sys.modules['time'].time() % 1", "import", "not-pure"),
    chance("processor time", "sys.modules['time'].process_time() * 1e6", "import"),
    chance(
        "a counter of the clock",
        "sys.modules['time'].perf_counter_ns() % 1000",
        "import",
        "not-pure",
    ),
    chance(
        "numpy's clock",
        "np.datetime64('now', 'ns').astype(np.int64) % 1000 / 1000",
        "forbidden-name",
        "|not-pure",
        "np.int64(3) % 1000 / 1000",
    ),
    chance(
        "the process's number", "float(sys.modules['os'].getpid() % 1000)", "import", "|exception"
    ),
    # state
    state(
        "a list at module level",
        "SEEN = []\n",
        "SEEN.append(1)\nv = 0.1 * len(SEEN)",
        "global-state",
        "seen = []\nseen.append(1)\nv = 0.1 * len(seen)",
    ),
    state(
        "a dict at module level",
        "C = {'n': 0}\n",
        "C['n'] += 1\nv = 0.1 * C['n']",
        "global-state",
        "c = {'n': 0}\nc['n'] += 1\nv = 0.1 * c['n']",
    ),
    state(
        "a global",
        "N = 0\n",
        "global N\nN += 1\nv = 0.1 * N",
        "global-state",
        "n = 0\nn += 1\nv = 0.1 * n",
    ),
    state(
        "an array at module level",
        "A = np.zeros(1)\n",
        "A[0] += 0.1\nv = A[0]",
        "global-state",
        "a = A.copy()\na[0] += 0.1\nv = a[0]",
        "A = np.zeros(1)\n",
    ),
    state(
        "an array at module level, by out=",
        "A = np.zeros(1)\n",
        "np.add(A, 0.1, out=A)\nv = A[0]",
        "",
        "a = np.zeros(1)\nnp.add(a, 0.1, out=a)\nv = a[0]",
    ),
    state(
        "an array at module level, by another name",
        "A = np.zeros(1)\n",
        "b = A\nb += 0.1\nv = b[0]",
        "",
        "b = A + 0.1\nv = b[0]",
        "A = np.zeros(1)\n",
    ),
    state(
        "the function's attribute",
        "",
        "reward.n = getattr(reward, 'n', 0) + 1\nv = 0.1 * reward.n",
        "global-state",
    ),
    state(
        "a helper's default argument",
        "def count(seen=[]):\n    seen.append(1)\n    return 0.1 * len(seen)\n",
        "v = count()",
        "global-state",
        "v = count()",
        "def count(seen=()):\n    return 0.1 * len(seen)\n",
    ),
    state(
        "a closure",
        "def make():\n    n = [0]\n    def count():\n        n[0] += 1\n        return 0.1 * n[0]\n    return count\n\n\ncount = make()\n",
        "v = count()",
        "",
        "v = count()",
        "def make():\n    n = [0]\n    def count():\n        return 0.1 * n[0]\n    return count\n\n\ncount = make()\n",
    ),
    state(
        "a closure with nonlocal",
        "def make():\n    n = 0\n    def count():\n        nonlocal n\n        n += 1\n        return 0.1 * n\n    return count\n\n\ncount = make()\n",
        "v = count()",
        "",
        "v = 0.0\n\ndef add(x):\n    nonlocal v\n    v += x\nadd(1.0)",
    ),
    state(
        "a class attribute",
        "class C:\n    n = 0\n",
        "C.n += 1\nv = 0.1 * C.n",
        "global-state",
        "v = 0.1 * C.n",
        "class C:\n    n = 3\n",
    ),
    state(
        "an object's attribute",
        "class C:\n    def __init__(self): self.n = 0\n    def __call__(self):\n        self.n += 1\n        return 0.1 * self.n\n\n\ncount = C()\n",
        "v = count()",
        "",
        "v = C()()",
        "class C:\n    def __call__(self):\n        return 0.1\n",
    ),
    state(
        "itertools.count",
        "import itertools\nN = itertools.count()\n",
        "v = 0.1 * next(N)",
        "",
        "v = 0.1 * next(itertools.count())",
        "import itertools\n",
    ),
    state(
        "a generator expression",
        "N = iter(range(10 ** 9))\n",
        "v = 0.1 * next(N)",
        "",
        "v = 0.1 * next(iter(range(3)))",
    ),
    state(
        "an iterator of a list",
        "N = reversed(list(range(10 ** 5)))\n",
        "v = 0.1 * next(N)",
        "",
        "v = 0.1 * next(reversed([1, 2]))",
    ),
    state(
        "a cache",
        "import functools\n\n\n@functools.lru_cache\ndef first(x=None):\n    return []\n",
        "first().append(1)\nv = 0.1 * len(first())",
        "",
        "v = 0.1 * len(first())",
        "import functools\n\n\n@functools.lru_cache\ndef first(x=None):\n    return []\n",
    ),
    state(
        "the size of a cache",
        "import functools\n\n\n@functools.lru_cache\ndef f(x):\n    return x\n",
        "f(float(curr.pos[0, 0]))\nv = 0.1 * f.cache_info().hits + 0.1 * f.cache_info().misses",
        "",
        "v = f(3.0)",
        "import functools\n\n\n@functools.lru_cache\ndef f(x):\n    return x\n",
    ),
    state(
        "numpy's print options",
        "",
        "p = np.get_printoptions()['precision'] + 1\nnp.set_printoptions(precision=p)\nv = 0.1 * p",
        "",
        "v = 0.1 * np.get_printoptions()['precision']",
    ),
    state(
        "numpy's error handler",
        "",
        "h = np.geterrcall()\nn = (h.n if h else 0) + 1\nclass H:\n    def write(self, *a): pass\nh = H()\nh.n = n\nnp.seterrcall(h)\nv = 0.1 * n",
        "",
        "with np.errstate(divide='ignore'):\n    v = 0.1",
        check="",
    ),
    state(
        "numpy's buffer size",
        "",
        "v = np.getbufsize() / 1e5\nnp.setbufsize(np.getbufsize() + 16)",
        "",
        "v = np.getbufsize() / 1e5",
        check="",
    ),
    state(
        "an array kept from an earlier call",
        "K = {}\n",
        "v = K.get('x', 0.0)\nK.__setitem__('x', float(curr.pos[0, 0]))",
        "forbidden-name",
        "k = {}\nv = k.get('x', 0.0)",
    ),
    state(
        "an attribute of numpy",
        "",
        "np.n = getattr(np, 'n', 0) + 1\nv = 0.1 * np.n",
        "",
        "v = 0.1 * getattr(np, 'n', 3)",
    ),
    state(
        "an attribute of math",
        "import math\n",
        "math.n = getattr(math, 'n', 0) + 1\nv = 0.1 * math.n",
        "",
        "v = math.sqrt(4)",
        "import math\n",
    ),
    state(
        "the recursion limit",
        "",
        "import sys\nsys.setrecursionlimit(sys.getrecursionlimit() + 1)\nv = 0.1 * sys.getrecursionlimit()",
        "import",
    ),
    state(
        "a growing list, read by its text",
        "KEEP = []\n",
        "KEEP.append(0)\nv = 0.01 * len(str(KEEP))",
        "global-state",
        "v = 0.01 * len(str([0]))",
    ),
    state(
        "the layout of the state",
        "",
        "curr._layout.__dict__['n'] = n = curr._layout.__dict__.get('n', 0) + 1\nv = 0.1 * n",
        "forbidden-name",
        "v = 0.1 * len(curr.pos.shape)",
    ),
    # seeing one thing in the check and another in training
    state(
        "good for the first hundred steps",
        "N = [0]\n",
        "N[0] += 1\nv = 0.0 if N[0] <= 30 else 1.0",
        "global-state",
    ),
    case(
        "another number in the batch of training",
        "return {'a': curr.has_key + float(len(curr.pos) == 12)}",
        "",
        "not-pure",
        "return {'a': curr.has_key + float(curr.pos.shape[1] == 12)}",
    ),
    case(
        "another number in large batches",
        "return {'a': curr.has_key + float(len(curr.pos) > 8)}",
        "",
        "not-pure",
        OK,
    ),
    case(
        "another number for one row alone",
        "return {'a': curr.has_key + float(len(curr.pos) == 1)}",
        "",
        "not-pure",
        OK,
    ),
    case(
        "another sign in the first row",
        "s = np.ones(len(curr.pos))\ns[0] = -1\nreturn {'a': s * (0.5 + curr.has_key)}",
        "",
        "not-pure",
        "s = np.ones(len(curr.pos))\nreturn {'a': s * (0.5 + curr.has_key)}",
    ),
    case("the order of rows", "return {'a': np.arange(len(curr.pos)) * 1.0}", "", "not-pure", OK),
    case(
        "a potential that counts",
        "N = []\n\n\ndef potential(s):\n    N.append(0)\n    return {'p': -0.01 * len(N) - 0 * s.has_key}\n",
        "global-state",
        "not-pure",
        "def potential(s):\n    return {'p': -0.01 - 0 * s.has_key}\n",
    ),
    case(
        "a potential that sees what reward() saw",
        "LAST = {}\n\n\ndef reward(prev, action, curr, memory):\n    LAST['x'] = LAST.get('x', 0) + 1\n    return {'a': curr.has_key}\n\n\ndef potential(s):\n    return {'p': -0.1 * LAST['x'] + 0 * s.has_key}\n",
        "global-state",
        "not-pure",
        "def reward(prev, action, curr, memory):\n    return {'a': curr.has_key}\n\n\ndef potential(s):\n    return {'p': s.has_key - 1}\n",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_refused_with_its_class_and_a_way_out(bench, case):
    assert all(v.hint for v in must_be_refused(bench, case)), (
        "a designer must read what to do instead"
    )


@pytest.mark.parametrize(("name", "text"), twins(CASES), ids=[n for n, _ in twins(CASES)])
def test_its_twin_is_accepted(bench, name, text):
    must_be_accepted(bench, text)
