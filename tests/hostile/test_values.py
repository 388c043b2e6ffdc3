"""Values and types: what comes back must be a dict of real, finite numbers, one per row, whatever
it claims to be.
"""

import pytest
from harness import (
    HEAD,
    SANDBOXES,
    Case,
    available,
    case,
    must_be_accepted,
    must_be_refused,
    reward,
    twins,
)

X = "x = curr.pos[:, 0]\n"
# A class of objects that misbehave when numpy asks them something.
RUDE = "class Rude:\n    def {}(self, *a, **k):\n        {}\n"


def rude(method: str, body: str) -> str:
    return reward("return {'a': Rude()}", RUDE.format(method, body))


def value(name: str, expression: str, check: str, twin: str, lint: str = "") -> Case:
    """A case whose only term is one expression over x (n,), curr, prev."""
    return case(
        name, X + f"return {{'a': {expression}}}", lint, check, X + f"return {{'a': {twin}}}"
    )


CASES = [
    # numbers that are none
    value("NaN", "x * np.nan", "not-finite", "np.nan_to_num(x * np.nan)"),
    value(
        "NaN in one row",
        "np.where(np.arange(len(x)) == 0, np.nan, x)",
        "not-finite",
        "np.where(x > 0, 1.0, x)",
    ),
    value("infinity", "x / 0", "not-finite", "np.clip(x, -1, 1)"),
    value("minus infinity", "np.log(np.abs(x) * 0)", "not-finite", "np.log(np.abs(x) + 1e-6)"),
    value("square root of a negative", "np.sqrt(-1 - x * x)", "not-finite", "np.sqrt(1 + x * x)"),
    value("overflow", "np.exp(1000 + x)", "not-finite", "np.exp(np.minimum(x, 10))"),
    value("finite, but not as float32", "1e39 + x", "not-finite", "1e3 + x"),
    value(
        "float128",
        "x.astype(np.longdouble) * np.longdouble('1e4000')",
        "not-finite",
        "x.astype(np.longdouble)",
    ),
    value("complex", "x + 1j", "return-form", "np.abs(x + 1j)"),
    value("complex with no imaginary part", "x + 0j", "return-form", "(x + 0j).real"),
    value(
        "an object of complex",
        "np.array([1j] * len(x), object)",
        "return-form",
        "np.array([1.0] * len(x), object)",
    ),
    value("a huge integer", "10 ** 400", "return-form", "10 ** 3"),
    value("rows of huge integers", "[10 ** 400] * len(x)", "return-form", "[10 ** 4] * len(x)"),
    value("None", "None", "return-form", "0.0"),
    value("rows of None", "[None] * len(x)", "return-form", "[0.0] * len(x)"),
    value("None somewhere", "np.where(x > 0, x, None)", "return-form", "np.where(x > 0, x, 0)"),
    value("Ellipsis", "...", "return-form", "x[...]"),
    value("not implemented", "NotImplemented", "return-form", "x"),
    # text, dates, structures
    value("text", "'good'", "return-form", "1.0"),
    value("numbers as text", "'1.5'", "return-form", "float('1.5')"),
    value(
        "rows of text",
        "np.array(['1'] * len(x))",
        "return-form",
        "np.array(['1'] * len(x)).astype(float)",
    ),
    value("bytes", "b'1' * len(x)", "return-form", "x"),
    value("dates", "np.zeros(len(x), 'M8[s]')", "return-form", "np.zeros(len(x), 'i8')"),
    value("durations", "np.ones(len(x), 'm8[s]')", "return-form", "np.ones(len(x), 'f4')"),
    value(
        "a structured array",
        "np.zeros(len(x), [('a', float), ('b', float)])",
        "return-form",
        "np.zeros(len(x), [('a', float), ('b', float)])['a']",
    ),
    value("raw bytes", "np.zeros(len(x), 'V8')", "return-form", "np.zeros(len(x), 'u1')"),
    value(
        "a list of lists that do not match", "[[1], [1, 2]]", "return-form", "[float(v) for v in x]"
    ),
    value("a set", "{1.0, 2.0}", "return-form", "x"),
    value("a dict of terms in a term", "{'b': x}", "return-form", "x"),
    value("a generator", "(v for v in x)", "return-form", "list(v for v in x)"),
    value("a function", "np.sum", "return-form", "np.sum(curr.pos, axis=-1)"),
    value("a whole state", "curr", "return-form", "curr.has_key"),
    value("a module", "np", "return-form", "x"),
    # shapes
    value("columns", "curr.pos", "shape", "curr.pos[:, 1]"),
    value("(n, 1)", "x[:, None]", "shape", "x[:, None][:, 0]"),
    value("(1, n)", "x[None]", "shape", "x[None][0]"),
    value("one row", "x[:1]", "shape", "x"),
    value("one row too many", "np.append(x, 0)", "shape", "np.append(x, 0)[:-1]"),
    value("nothing", "np.zeros(0)", "shape", "np.zeros(len(x))"),
    value("(n, n)", "x[:, None] - x", "shape", "np.diagonal(x[:, None] - x)"),
    value("32 axes", "x.reshape((1,) * 31 + (-1,))", "shape", "x.reshape(-1)"),
    value("a sum over everything", "x.sum()", "not-pure", "curr.pos.sum(-1)"),
    value(
        "a sum of the wrong axis", "np.sum(curr.pos, axis=0)", "shape", "np.sum(curr.pos, axis=1)"
    ),
    value(
        "a huge broadcast",
        "np.broadcast_to(x, (10 ** 9, len(x)))",
        "shape",
        "np.broadcast_to(x, (3, len(x)))[0]",
    ),
    value(
        "a huge broadcast of rows",
        "np.broadcast_to(1.0, (10 ** 12,))",
        "shape",
        "np.broadcast_to(1.0, x.shape)",
    ),
    # arrays that are not what they seem
    value(
        "masked rows",
        "np.ma.masked_where(np.arange(len(x)) > 0, x)",
        "return-form",
        "np.ma.masked_where(x > 0, x).filled(0)",
    ),
    value(
        "masked, nothing masked",
        "np.ma.masked_where(x > 99, x)",
        "",
        "np.ma.masked_where(x > 99, x)",
    ),
    value("negative strides", "x[::-1]", "not-pure", "x[::-1][::-1]"),
    value(
        "strides of zero",
        "np.lib.stride_tricks.as_strided(x, (len(x),), (0,))",
        "not-pure",
        "np.broadcast_to(np.float64(1.0), x.shape)",
        lint="forbidden-name",
    ),
    value(
        "memory beyond the array",
        "np.lib.stride_tricks.as_strided(x, (len(x),), (1 << 30,))",
        "crash|not-finite|not-pure",
        "x",
        lint="forbidden-name",
    ),
    value(
        "an ndarray of objects with a broken float",
        "np.array([type('F', (), {'__float__': lambda s: 1 / 0})()] * len(x), object)",
        "return-form",
        "np.array([0.5] * len(x), object)",
    ),
    value("matrix", "np.matrix(x)", "shape", "np.asarray(np.matrix(x)).ravel()"),
    case(
        "an array that raises",
        rude("__array__", "raise ZeroDivisionError"),
        "",
        "return-form",
        reward("return {'a': curr.has_key}"),
    ),
    case("an array that exits", rude("__array__", "raise SystemExit"), "", "exception"),
    case("an array that returns text", rude("__array__", "return 'no'"), "", "return-form"),
    case(
        "an array without end",
        rude("__array__", "x = 0\n        while x < 1: pass"),
        "",
        "too-slow|hung",
    ),
    case(
        "an array interface that lies",
        reward(
            "return {'a': Rude()}",
            "class Rude:\n    __array_interface__ = {'shape': (1 << 40,), 'typestr': '<f8', 'data': (8, False), 'version': 3}\n",
        ),
        "",
        "crash|return-form|shape|memory|exception",
    ),
    case(
        "a buffer at address 8",
        reward(
            "return {'a': Rude()}",
            "class Rude:\n    __array_interface__ = {'shape': (4096,), 'typestr': '<f8', 'data': (8, True), 'version': 3}\n",
        ),
        "",
        "crash|shape|return-form",
    ),
    case(
        "a sequence that lies about its length",
        reward(
            "return {'a': Rude()}",
            "class Rude:\n    def __len__(self): return 1 << 62\n    def __getitem__(self, k): return 1.0\n",
        ),
        "",
        "return-form|memory|exception",
    ),
    case(
        "a sequence without end",
        reward(
            "return {'a': Rude()}",
            "class Rude:\n    def __len__(self): return 10\n    def __getitem__(self, k): return Rude()\n",
        ),
        "",
        "return-form|shape|exception|too-slow|memory",
    ),
    case("a float that is text", rude("__float__", "return 'x'"), "", "return-form"),
    case(
        "a float subclass that lies",
        reward(
            "return {'a': F(1.0) + 0 * curr.has_key}",
            "class F(float):\n    def __float__(self): raise OSError\n    __add__ = __radd__ = lambda s, o: [object()]\n",
        ),
        "",
        "return-form",
    ),
    case(
        "a subclass of ndarray that lies about its shape",
        "class A(np.ndarray):\n    shape = property(lambda s: (len(s),))\n    def __array__(self, *a, **k): raise OSError\nreturn {'a': np.zeros((3, 3)).view(A)}",
        "",
        "shape",
    ),
    case(
        "a subclass of ndarray that raises",
        "class A(np.ndarray):\n    def __array_finalize__(self, o):\n        if o is not None: raise OSError\nreturn {'a': np.ndarray.__new__(A, (3,))}",
        "forbidden-name",
        "return-form|exception|shape",
    ),
    case(
        "an object whose class lies",
        reward(
            "return {'a': Rude()}",
            "class Rude:\n    @property\n    def __class__(self): raise OSError\n",
        ),
        "",
        "return-form|exception",
    ),
    # what is returned
    case("nothing returned", "x = curr.pos", "", "return-form", "return {'a': curr.has_key}"),
    case(
        "a tuple",
        "return ({'a': curr.has_key}, 1)",
        "",
        "return-form",
        "return {'a': curr.has_key, 'b': 1.0}",
    ),
    case("an array", "return curr.has_key", "", "return-form", "return dict(a=curr.has_key)"),
    case(
        "a list of pairs",
        "return [('a', curr.has_key)]",
        "",
        "return-form",
        "return dict([('a', curr.has_key)])",
    ),
    case("no terms", "return {}", "", "return-form", "return {'a': curr.has_key}"),
    case(
        "a lying dict",
        "class D(dict):\n    def items(self): raise OSError\n    def keys(self): return ['z']\n    __iter__ = __len__ = __contains__ = items\nreturn D(a=curr.pos)",
        "",
        "shape",
        "class D(dict):\n    pass\nreturn D(a=curr.has_key)",
    ),
    case(
        "a dict subclass that is empty underneath",
        "class D(dict):\n    def items(self): return [('a', curr.has_key)]\nreturn D()",
        "",
        "return-form",
        "from collections import OrderedDict\nreturn OrderedDict(a=curr.has_key)",
    ),
    case(
        "a proxy",
        "import types\nreturn types.MappingProxyType({'a': curr.has_key})",
        "import",
        "return-form|exception",
        "return dict({'a': curr.has_key})",
    ),
    # names
    case(
        "a number as a name",
        "return {3: curr.has_key}",
        "",
        "return-form",
        "return {'3': curr.has_key}",
    ),
    case(
        "an empty name",
        "return {'': curr.has_key}",
        "",
        "return-form",
        "return {'_': curr.has_key}",
    ),
    case(
        "a long name",
        "return {'x' * 65: curr.has_key}",
        "",
        "return-form",
        "return {'x' * 64: curr.has_key}",
    ),
    case(
        "a name of several lines",
        "return {'a\\nb': curr.has_key}",
        "",
        "return-form",
        "return {'a b': curr.has_key}",
    ),
    case(
        "a name that colours the screen",
        "return {'\\x1b[31mred': curr.has_key}",
        "",
        "return-form",
        "return {'red': curr.has_key}",
    ),
    case(
        "a name that runs backwards",
        "return {'\\u202etfel': curr.has_key}",
        "",
        "return-form",
        "return {'left': curr.has_key}",
    ),
    case(
        "a name of nothing",
        "return {'\\u200b': curr.has_key}",
        "",
        "return-form",
        "return {'größe': curr.has_key}",
    ),
    case(
        "a broken character in a name",
        "return {'\\ud800': curr.has_key}",
        "",
        "return-form",
        "return {'é': curr.has_key}",
    ),
    case(
        "a name that lies",
        "class S(str):\n    def __len__(self): return 1\n    def isprintable(self): return True\n    def __str__(self): return 'a'\nreturn {S('x\\ny' * 90): curr.has_key}",
        "",
        "return-form",
        "return {np.array(['a', 'b'])[0]: curr.has_key}",
    ),
    case(
        "a name that cannot be compared",
        "class S(str):\n    def __lt__(self, o): raise OSError\n    __gt__ = __lt__\nreturn {S('a'): 1.0, S('b'): 2.0}",
        "",
        "",
        "return {'a': 1.0, 'b': 2.0}",
    ),
    case(
        "more than 64 terms",
        "return {f't{k}': curr.has_key for k in range(65)}",
        "",
        "too-many-terms",
        "return {f't{k}': curr.has_key for k in range(64)}",
    ),
    case(
        "a million terms",
        "return {f't{k}': 0.0 for k in range(1_000_000)}",
        "",
        "too-many-terms|too-slow|protocol|hung|memory",
        "return {f't{k}': 0.0 for k in range(10)}",
    ),
    case(
        "names that change with the rows",
        "return {f'n{len(curr.pos)}': curr.has_key}",
        "",
        "names-changed",
        "return {f'n{curr.pos.shape[1]}': curr.has_key}",
    ),
    case(
        "names that change with values",
        "return {'a': curr.has_key} if curr.pos[0, 0] > 0 else {'b': curr.has_key}",
        "",
        "names-changed",
        "return {'a': np.where(curr.pos[:, 0] > 0, curr.has_key, 0)}",
    ),
    case(
        "a potential of the same name",
        HEAD
        + "def reward(prev, action, curr, memory):\n    return {'a': curr.has_key}\n\n\ndef potential(s):\n    return {'a': s.has_key - 1}\n",
        "",
        "name-twice",
        HEAD
        + "def reward(prev, action, curr, memory):\n    return {'a': curr.has_key}\n\n\ndef potential(s):\n    return {'b': s.has_key - 1}\n",
    ),
    case(
        "a potential of two arguments",
        HEAD + "def potential(prev, curr):\n    return {'a': curr.has_key}\n",
        "signature",
        "exception",
        HEAD + "def potential(s, scale=1.0):\n    return {'a': scale * (s.has_key - 1)}\n",
    ),
    # memory
    case(
        "memory loses its rows",
        reward("memory['m'] = curr.pos\nreturn {'a': curr.has_key}", "MEMORY = {'m': 0.0}\n"),
        "",
        "memory-form",
        reward(
            "memory['m'] = curr.pos\nreturn {'a': curr.has_key}", "MEMORY = {'m': np.zeros(2)}\n"
        ),
    ),
    case(
        "memory that was not declared",
        reward("memory['new'] = curr.has_key\nreturn {'a': curr.has_key}", "MEMORY = {'m': 0.0}\n"),
        "",
        "memory-form",
        reward("memory['m'] = curr.has_key\nreturn {'a': curr.has_key}", "MEMORY = {'m': 0.0}\n"),
    ),
    case(
        "memory of objects",
        reward(
            "memory['m'] = np.array([object()] * len(curr.pos))\nreturn {'a': curr.has_key}",
            "MEMORY = {'m': 0.0}\n",
        ),
        "",
        "memory-form",
        reward(
            "memory['m'] = np.array([1] * len(curr.pos))\nreturn {'a': curr.has_key}",
            "MEMORY = {'m': 0.0}\n",
        ),
    ),
    case(
        "memory of text",
        reward(
            "memory['m'] = np.array(['1'] * len(curr.pos))\nreturn {'a': curr.has_key}",
            "MEMORY = {'m': 0.0}\n",
        ),
        "",
        "memory-form",
        reward("memory['m'] = 1.0\nreturn {'a': curr.has_key}", "MEMORY = {'m': 0.0}\n"),
    ),
    case(
        "memory deleted",
        reward("del memory['m']\nreturn {'a': curr.has_key}", "MEMORY = {'m': 0.0}\n"),
        "",
        "memory-form",
        reward("m = memory['m']\ndel m\nreturn {'a': curr.has_key}", "MEMORY = {'m': 0.0}\n"),
    ),
    case(
        "memory cleared",
        reward("memory.clear()\nreturn {'a': curr.has_key}", "MEMORY = {'m': 0.0}\n"),
        "",
        "memory-form",
        reward(
            "memory.update(m=curr.has_key)\nreturn {'a': curr.has_key}", "MEMORY = {'m': 0.0}\n"
        ),
    ),
    case(
        "infinite at the first step",
        reward(
            "gap = np.abs(curr.pos[:, 0])\nout = memory['best'] - gap\nmemory['best'] = np.minimum(memory['best'], gap)\nreturn {'a': out}",
            "MEMORY = {'best': np.inf}\n",
        ),
        "",
        "not-finite",
        reward(
            "gap = np.abs(curr.pos[:, 0])\nbefore = np.minimum(memory['best'], np.abs(prev.pos[:, 0]))\nmemory['best'] = np.minimum(before, gap)\nreturn {'a': before - memory['best']}",
            "MEMORY = {'best': np.inf}\n",
        ),
    ),
    case(
        "whole numbers where infinity was",
        reward(
            "memory['best'] = curr.room.astype(int)\nreturn {'a': memory['best'].astype(object)}",
            "MEMORY = {'best': np.inf}\n",
        ),
        "",
        "",
        reward(
            "memory['best'] = curr.room.astype(int)\nreturn {'a': curr.has_key}",
            "MEMORY = {'best': np.inf}\n",
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_refused_with_its_class(bench, case):
    must_be_refused(bench, case)


@pytest.mark.parametrize(("name", "text"), twins(CASES), ids=[n for n, _ in twins(CASES)])
def test_its_twin_is_accepted(bench, name, text):
    must_be_accepted(bench, text)


@pytest.mark.parametrize("sandbox", SANDBOXES[1:])
@pytest.mark.parametrize("case", CASES[::7], ids=str)
def test_however_the_worker_was_started_the_class_is_the_same(bench, case, sandbox):
    must_be_refused(bench, case, available(sandbox))
