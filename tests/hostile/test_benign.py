"""About a hundred programs as language models write them.

Lint and check must accept each, with the shipped patience and as many probes as a run has.
"""

import pytest
from harness import HEAD, must_be_accepted, reward

D = "def dist(s):\n    return np.linalg.norm(s.pos - s.goal, axis=-1)\n"
BODIES = {
    "progress": ("return {'progress': dist(prev) - dist(curr)}", D),
    "effort": "return {'effort': -0.01 * np.square(action).sum(-1)}",
    "effort by einsum": "return {'effort': -0.01 * np.einsum('ij,ij->i', action, action)}",
    "where": "return {'key': np.where(curr.has_key > prev.has_key, 1.0, 0.0)}",
    "select": "d = np.abs(curr.pos[:, 0])\nreturn {'zone': np.select([d < 0.2, d < 0.5], [1.0, 0.5], default=0.0)}",
    "piecewise": "x = curr.pos[:, 0]\nreturn {'zone': np.piecewise(x, [x < 0, x >= 0], [lambda v: -v, lambda v: v])}",
    "boolean arithmetic": "return {'both': 1.0 * ((curr.has_key == 1) & (curr.room == 2))}",
    "a boolean term": "return {'key': curr.has_key > 0.5}",
    "an integer term": "return {'room': curr.room.astype(int)}",
    "float32": "return {'x': curr.pos[:, 0].astype(np.float32)}",
    "constant array": "return {'time': np.full(len(action), -0.001)}",
    "constant scalar": "return {'time': -0.001, 'key': curr.has_key}",
    "numpy scalar": "return {'time': np.float32(-0.001), 'key': curr.has_key}",
    "ones_like": "return {'time': -0.001 * np.ones_like(curr.has_key)}",
    "list of floats": "return {'x': [float(v) for v in curr.has_key]}",
    "tuple of floats": "return {'x': tuple(float(v) for v in curr.has_key)}",
    "loop over columns": "total = np.zeros(len(action))\nfor k in range(curr.pos.shape[1]):\n    total += np.abs(curr.pos[:, k] - curr.goal[:, k])\nreturn {'l1': -total}",
    "loop over rows": "out = np.zeros(len(action))\nfor i in range(len(out)):\n    out[i] = curr.pos[i, 0] * curr.pos[i, 1]\nreturn {'product': out}",
    "zip over rows": "return {'x': np.array([p[0] - g[0] for p, g in zip(curr.pos, curr.goal)])}",
    "enumerate": "out = np.zeros(len(action))\nfor i, p in enumerate(curr.pos):\n    out[i] = p.max()\nreturn {'m': out}",
    "apply_along_axis": "return {'m': np.apply_along_axis(np.max, 1, curr.pos)}",
    "vectorize": "return {'m': np.vectorize(lambda r: float(r) ** 2)(curr.room)}",
    "frompyfunc": "return {'m': np.frompyfunc(lambda r: float(r) ** 2, 1, 1)(curr.room)}",
    "dict comprehension": (
        "return {name: w * curr.has_key for name, w in WEIGHTS.items()}",
        "WEIGHTS = {'a': 1.0, 'b': 0.5}\n",
    ),
    "f-strings in names": "return {f'axis_{k}': -np.abs(curr.pos[:, k] - curr.goal[:, k]) for k in range(2)}",
    "names with spaces and signs": "return {'distance to goal (m)': -np.abs(curr.pos[:, 0]), 'x>0': (curr.pos[:, 0] > 0) * 1.0}",
    "names in other letters": "return {'Nähe': curr.has_key, '距離': curr.room}",
    "update": "terms = {}\nterms['a'] = curr.has_key\nterms.update(b=curr.room)\nreturn terms",
    "dict union": "return {'a': curr.has_key} | {'b': curr.room}",
    "star star": "base = {'a': curr.has_key}\nreturn {**base, 'b': curr.room}",
    "setdefault": "terms = {}\nterms.setdefault('a', curr.has_key)\nreturn terms",
    "accumulate": "r = np.zeros_like(curr.has_key)\nr += 0.1 * curr.has_key\nr -= 0.01\nreturn {'r': r}",
    "in place on fields": "p = curr.pos\np -= curr.goal\nreturn {'d': -np.abs(p).sum(axis=1)}",
    "copy and mask": "x = curr.pos[:, 0].copy()\nx[x < 0] = 0\nreturn {'x': x}",
    "lookup with clip": (
        "return {'t': TABLE[np.clip(curr.room.astype(int), 0, 3)]}",
        "TABLE = np.array([0.0, 0.1, 0.3, 1.0])\n",
    ),
    "take": (
        "return {'t': np.take(TABLE, curr.room.astype(int), mode='clip')}",
        "TABLE = np.array([0.0, 0.1, 0.3])\n",
    ),
    "take_along_axis": "k = np.argmax(np.abs(curr.pos), axis=1)\nreturn {'t': np.take_along_axis(curr.pos, k[:, None], axis=1)[:, 0]}",
    "rows and columns": "rows = np.arange(len(curr.pos))\nreturn {'t': curr.pos[rows, np.argmax(curr.pos, axis=1)]}",
    "choose": "return {'t': np.choose(curr.room.astype(int), [0.0 * curr.has_key, 0.1 + 0 * curr.has_key, 0.2 + 0 * curr.has_key, curr.has_key])}",
    "one-hot": "return {'t': np.eye(4)[curr.room.astype(int)] @ np.array([0, 1, 2, 3.0])}",
    "isin": "return {'t': np.isin(curr.room, [1, 3]).astype(float)}",
    "list comprehension over goals": (
        "gaps = np.stack([np.linalg.norm(curr.pos - g, axis=-1) for g in GOALS], axis=1)\nreturn {'near': -gaps.min(axis=1)}",
        "GOALS = [(0.0, 0.0), (1.0, 1.0)]\n",
    ),
    "pairwise to constants": (
        "d = np.linalg.norm(curr.pos[:, None] - GOALS[None], axis=-1)\nreturn {'near': -d.min(-1), 'spread': 0.1 * d.std(axis=-1)}",
        "GOALS = np.array([[0.0, 0.0], [1.0, 1.0]])\n",
    ),
    "maximum.reduce": "return {'m': np.maximum.reduce([curr.pos[:, 0], curr.pos[:, 1], curr.has_key])}",
    "add.reduce": "return {'m': np.add.reduce(curr.pos, axis=1)}",
    "tanh of progress": ("return {'p': np.tanh(5 * (dist(prev) - dist(curr)))}", D),
    "exp kernel": (
        "return {'p': np.exp(-dist(curr) ** 2 / 0.1) - np.exp(-dist(prev) ** 2 / 0.1)}",
        D,
    ),
    "logistic": ("return {'p': 1 / (1 + np.exp(10 * (dist(curr) - 0.3)))}", D),
    "log with an offset": ("return {'p': -np.log(dist(curr) + 0.05)}", D),
    "log1p": ("return {'p': -np.log1p(dist(curr))}", D),
    "clip method": ("return {'p': (dist(prev) - dist(curr)).clip(-0.1, 0.1)}", D),
    "hypot": "d = curr.pos - curr.goal\nreturn {'p': -np.hypot(d[:, 0], d[:, 1])}",
    "arctan2 and wrapping": "d = curr.goal - curr.pos\nheading = np.arctan2(curr.vel[:, 1], curr.vel[:, 0])\nerror = np.arctan2(d[:, 1], d[:, 0]) - heading\nerror = (error + np.pi) % (2 * np.pi) - np.pi\nreturn {'turn': -np.abs(error) / np.pi}",
    "unwrap": "a = np.stack([np.arctan2(prev.pos[:, 1], prev.pos[:, 0]), np.arctan2(curr.pos[:, 1], curr.pos[:, 0])], 1)\nreturn {'turn': np.diff(np.unwrap(a, axis=1), axis=1)[:, 0]}",
    "angle by complex numbers": "z = curr.pos[:, 0] + 1j * curr.pos[:, 1]\nreturn {'angle': np.angle(z)}",
    "quaternion to yaw": "w, x, y, z = curr.quat.T\nyaw = np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))\nreturn {'yaw': -np.abs(yaw)}",
    "quaternion product": (
        "q = mul(curr.quat, prev.quat * np.array([1.0, -1, -1, -1]))\nreturn {'spin': np.abs(q[..., 3])}",
        "def mul(a, b):\n    w, x, y, z = np.moveaxis(a, -1, 0)\n    s, i, j, k = np.moveaxis(b, -1, 0)\n    return np.stack([w * s - x * i - y * j - z * k, w * i + x * s + y * k - z * j, w * j - x * k + y * s + z * i, w * k + x * j - y * i + z * s], -1)\n",
    ),
    "quaternion angle": "dot = np.clip(np.abs((prev.quat * curr.quat).sum(-1)), 0.0, 1.0)\nreturn {'spin': 2 * np.arccos(dot)}",
    "rotation matrices": "c, s = np.cos(curr.pos[:, 0]), np.sin(curr.pos[:, 0])\nR = np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)\nreturn {'x': np.einsum('nij,nj->ni', R, curr.vel)[:, 0], 'y': (R @ curr.vel[..., None])[:, 1, 0]}",
    "matmul with a constant": ("return {'x': curr.pos @ W}", "W = np.array([0.3, 0.7])\n"),
    "tensordot": ("return {'x': np.tensordot(curr.pos, W, axes=1)}", "W = np.array([0.3, 0.7])\n"),
    "outer": "return {'x': np.einsum('ni,nj->nij', curr.pos, curr.vel).sum((1, 2))}",
    "cross product": "d = curr.goal - curr.pos\nreturn {'side': d[:, 0] * curr.vel[:, 1] - d[:, 1] * curr.vel[:, 0]}",
    "safe direction": "d = curr.goal - curr.pos\nn = np.linalg.norm(d, axis=1, keepdims=True)\nunit = np.divide(d, n, out=np.zeros_like(d), where=n > 1e-8)\nreturn {'along': (unit * curr.vel).sum(axis=1)}",
    "nan_to_num": "d = curr.goal - curr.pos\nunit = np.nan_to_num(d / np.linalg.norm(d, axis=1, keepdims=True))\nreturn {'along': (unit * curr.vel).sum(axis=1)}",
    "errstate": "with np.errstate(divide='ignore', invalid='ignore'):\n    r = np.where(prev.room > 0, curr.room / prev.room, 0.0)\nreturn {'ratio': r}",
    "interp": "return {'p': np.interp(curr.pos[:, 0], [-1, 0, 1], [0, 0.2, 1.0])}",
    "digitize": "return {'bin': np.digitize(curr.pos[:, 0], [-0.5, 0.0, 0.5]) / 3}",
    "searchsorted": "return {'bin': np.searchsorted(np.array([-0.5, 0.0, 0.5]), curr.pos[:, 0]) / 3.0}",
    "polyval": "return {'p': np.polyval([0.1, -0.2, 0.3], curr.pos[:, 0])}",
    "heaviside and sign": "return {'p': np.heaviside(curr.pos[:, 0], 0.5) * np.sign(curr.pos[:, 1])}",
    "floor and mod": "return {'p': np.floor(curr.room / 2) + curr.room % 2}",
    "rounding": "return {'p': np.round(curr.pos[:, 0], 1)}",
    "sorting columns": "return {'p': np.sort(curr.pos, axis=1)[:, 0]}",
    "median of columns": "return {'p': np.median(curr.quat, axis=1), 'q': np.percentile(curr.quat, 50, axis=-1)}",
    "any and all over columns": "return {'p': np.any(np.abs(curr.pos) > 0.9, axis=1) * -0.1, 'q': np.all(curr.pos > 0, axis=-1) * 0.1}",
    "concatenate": "both = np.concatenate([curr.pos, curr.vel], axis=1)\nreturn {'p': -np.abs(both).mean(axis=1)}",
    "reshape and split": "a, b = np.split(curr.pos, 2, axis=1)\nreturn {'p': a.reshape(-1) + b.ravel()}",
    "hstack and column_stack": "m = np.column_stack([curr.has_key, curr.room])\nreturn {'p': np.hstack([m, curr.pos]).sum(1)}",
    "asarray and atleast_2d": "a = np.atleast_2d(np.asarray(action, dtype=np.float64))\nreturn {'p': -0.01 * np.abs(a).sum(-1)}",
    "guarding the action's shape": "a = action.reshape(len(action), -1)\nreturn {'p': -0.01 * (a ** 2).mean(1)}",
    "walrus": "if (n := len(action)) > 0:\n    pass\nreturn {'p': np.zeros(n) + curr.has_key}",
    "match": "match curr.pos.ndim:\n    case 2:\n        x = curr.pos[:, 0]\n    case _:\n        x = curr.pos\nreturn {'p': x}",
    "try": "try:\n    x = curr.pos[:, 0]\nexcept Exception:\n    x = np.zeros(len(action))\nfinally:\n    pass\nreturn {'p': x}",
    "assertions": "assert curr.pos.shape == curr.goal.shape, 'shapes'\nreturn {'p': curr.has_key}",
    "getattr with a default": "x = getattr(curr, 'has_key', None)\nreturn {'p': x if x is not None else 0.0}",
    "hasattr": "x = curr.has_key if hasattr(curr, 'has_key') else np.zeros(len(action))\nreturn {'p': x}",
    "nested functions": "def near(a, b, scale=1.0):\n    return scale * np.linalg.norm(a - b, axis=-1)\nreturn {'p': near(prev.pos, prev.goal) - near(curr.pos, curr.goal)}",
    "lambdas": "near = lambda s: np.linalg.norm(s.pos - s.goal, axis=-1)\nreturn {'p': near(prev) - near(curr)}",
    "map and filter": "parts = list(map(lambda k: curr.pos[:, k], filter(lambda k: k < 2, range(3))))\nreturn {'p': sum(parts)}",
    "star arguments": (
        "return {'p': total(curr.has_key, curr.room, scale=0.1)}",
        "def total(*parts, scale=1.0, **rest):\n    return scale * sum(parts)\n",
    ),
    "an early return": "if not len(action):\n    return {'p': np.zeros(0)}\nreturn {'p': curr.has_key}",
    "unused memory": ("return {'p': curr.has_key}", "MEMORY = {}\n"),
    "best so far": (
        "before = np.minimum(memory['best'], dist(prev))\nmemory['best'] = np.minimum(before, dist(curr))\nreturn {'p': before - memory['best']}",
        "MEMORY = {'best': np.inf}\n\n\n" + D,
    ),
    "nan for not yet": (
        "start = np.where(np.isnan(memory['start']), dist(prev), memory['start'])\nmemory['start'] = start\nreturn {'p': (dist(prev) - dist(curr)) / np.maximum(start, 1e-3)}",
        "MEMORY = {'start': np.nan}\n\n\n" + D,
    ),
    "first time flags": (
        "new = (curr.has_key > 0.5) & ~memory['had']\nmemory['had'] = memory['had'] | (curr.has_key > 0.5)\nreturn {'key': 0.5 * new}",
        "MEMORY = {'had': False}\nSPARSE = ('key',)\n",
    ),
    "flags as numbers": (
        "new = (curr.has_key > 0.5) * (1 - memory['had'])\nmemory['had'] = np.maximum(memory['had'], curr.has_key)\nreturn {'key': 0.5 * new}",
        "MEMORY = {'had': 0}\nSPARSE = ('key')\n",
    ),
    "flags turned to numbers": (
        "new = (curr.has_key > 0.5) & (memory['had'] == 0)\nmemory['had'] = np.where(new, 1.0, memory['had'])\nreturn {'key': 0.5 * new}",
        "MEMORY = {'had': False}\nSPARSE = ['key']\n",
    ),
    "numbers turned to flags": (
        "new = (curr.has_key > 0.5) & (memory['had'] < 0.5)\nmemory['had'] = curr.has_key > 0.5\nreturn {'key': 0.5 * new}",
        "MEMORY = {'had': 0.0}\n",
    ),
    "counting steps": (
        "memory['steps'] += 1\nreturn {'late': -0.001 * memory['steps']}",
        "MEMORY = {'steps': 0}\n",
    ),
    "memory in place by rows": (
        "mask = curr.has_key > 0.5\nmemory['n'][mask] += 1\nreturn {'p': 0.01 * memory['n']}",
        "MEMORY = {'n': 0.0}\n",
    ),
    "a vector in memory": (
        "moved = np.linalg.norm(curr.pos - np.where(np.isnan(memory['last']), prev.pos, memory['last']), axis=1)\nmemory['last'] = curr.pos.copy()\nreturn {'p': moved}",
        "MEMORY = {'last': np.array([np.nan, np.nan])}\n",
    ),
    "a list in memory": (
        "memory['last'][:] = curr.pos\nreturn {'p': memory['last'].sum(1)}",
        "MEMORY = {'last': [0.0, 0.0]}\n",
    ),
    "rooms visited": (
        "rows = np.arange(len(action))\nroom = curr.room.astype(int)\nnew = 1.0 - memory['seen'][rows, room]\nmemory['seen'][rows, room] = 1.0\nreturn {'new_room': 0.1 * new}",
        "MEMORY = {'seen': np.zeros(4)}\nSPARSE = ('new_room',)\n",
    ),
    "a window in memory": (
        "w = np.roll(memory['w'], 1, axis=1)\nw[:, 0] = curr.pos[:, 0]\nmemory['w'] = w\nreturn {'p': w.mean(1) * 0.1}",
        "MEMORY = {'w': np.zeros(5)}\n",
    ),
    "a phase in memory": (
        "phase = memory['phase'].astype(int)\nphase = np.where((phase == 0) & (curr.has_key > 0), 1, phase)\nmemory['phase'] = phase\nreturn {'p': np.where(phase == 0, -0.01, 0.0)}",
        "MEMORY = {'phase': 0}\n",
    ),
    "bitwise flags in memory": (
        "memory['had'] |= curr.has_key > 0.5\nreturn {'p': memory['had'] * 0.1}",
        "MEMORY = {'had': False}\n",
    ),
    "a scalar for all rows": (
        "memory['began'] = True\nreturn {'p': curr.has_key * memory['began']}",
        "MEMORY = {'began': False}\n",
    ),
    "memory.get": (
        "m = memory.get('m', 0.0)\nmemory['m'] = m + 0.1\nreturn {'p': memory['m']}",
        "MEMORY = {'m': 0.0}\n",
    ),
    "Greek letters": "θ = np.arctan2(curr.pos[:, 1], curr.pos[:, 0])\nΔ = curr.pos - prev.pos\nreturn {'p': θ + Δ[:, 0]}",
    "constants of a class": (
        "return {'p': Room.WEIGHT * (curr.room == Room.LAST)}",
        "class Room:\n    LAST = 3\n    WEIGHT = 0.5\n",
    ),
    "an enumeration": (
        "return {'p': 0.5 * (curr.room == Room.LAST)}",
        "from enum import IntEnum\n\n\nclass Room(IntEnum):\n    FIRST = 0\n    LAST = 3\n",
    ),
    "a named tuple": (
        "return {'p': S.key * curr.has_key}",
        "from collections import namedtuple\n\nScales = namedtuple('Scales', 'key room')\nS = Scales(1.0, 0.1)\n",
    ),
    "a dataclass": (
        "return {'p': S.key * curr.has_key}",
        "from dataclasses import dataclass\n\n\n@dataclass(frozen=True)\nclass Scales:\n    key: float = 1.0\n\n\nS = Scales()\n",
    ),
    "math": ("return {'p': math.exp(-1) * curr.has_key + math.pi}", "import math\n"),
    "math names": ("return {'p': sqrt(2) * curr.has_key + pi}", "from math import pi, sqrt\n"),
    "numpy names": (
        "return {'p': norm(curr.pos, axis=1) + clip(curr.room, 0, 1)}",
        "from numpy import clip\nfrom numpy.linalg import norm\n",
    ),
    "reduce": (
        "return {'p': reduce(np.maximum, [curr.has_key, curr.room, prev.room])}",
        "from functools import reduce\n",
    ),
    "combinations": (
        "return {'p': sum(np.abs(curr.pos[:, i] - curr.pos[:, j]) for i, j in itertools.combinations(range(2), 2))}",
        "import itertools\n",
    ),
    "polynomial": (
        "return {'p': Polynomial([0.1, 0.2])(curr.pos[:, 0])}",
        "from numpy.polynomial import Polynomial\n",
    ),
    "type hints": (
        "total: np.ndarray = curr.has_key * 1.0\nreturn {'p': total}",
        "from typing import Dict, Optional\nfrom numpy.typing import NDArray\n\nMEMORY: Dict[str, float] = {'m': 0.0}\n\n\ndef f(x: Optional[NDArray] = None) -> float:\n    return 1.0\n",
    ),
    "if main": ("return {'p': curr.has_key}", "if __name__ == '__main__':\n    raise SystemExit\n"),
}
POTENTIAL = (
    "def potential(state):\n    return {'near': -np.linalg.norm(state.pos - state.goal, axis=-1)}\n"
)
BOTH = reward("return {'effort': -0.01 * np.square(action).sum(-1)}")
TEXTS = {
    "modules of numpy by name": "import numpy as np\nimport numpy.linalg as la\nimport numpy.fft\n\n\ndef reward(prev, action, curr, memory):\n    return {'p': la.norm(curr.pos, axis=-1), 'q': np.abs(numpy.fft.fft(curr.quat, axis=1))[:, 0]}\n",
    "a class with a parent": HEAD
    + "class Scale:\n    def __init__(self, k):\n        self.k = k\n\n\nclass Half(Scale):\n    def __init__(self):\n        super().__init__(0.5)\n\n    def __call__(self, x):\n        return self.k * x\n\n\nhalf = Half()\n\n\ndef reward(prev, action, curr, memory):\n    return {'p': half(curr.has_key)}\n",
    "nonlocal within a call": reward(
        "total = np.zeros(len(action))\n\n\ndef add(x):\n    nonlocal total\n    total = total + x\n\n\nadd(curr.has_key)\nreturn {'p': total}"
    ),
    "a potential alone": HEAD + POTENTIAL,
    "reward and potential": BOTH + "\n\n" + POTENTIAL,
    "two potentials": HEAD
    + "def potential(s):\n    return {'near': -np.abs(s.pos - s.goal).sum(1), 'key': s.has_key - 1}\n",
    "potentials from a stage table": HEAD
    + "STAGE = np.array([-3.0, -2.0, -1.0, 0.0])\n\n\ndef potential(s):\n    return {'stage': STAGE[s.room.astype(int)]}\n",
    "lambdas as entry points": HEAD
    + "reward = lambda prev, action, curr, memory: {'p': curr.has_key}\npotential = lambda s: {'q': s.has_key - 1}\n",
    "annotations from the future": '"""Doc."""\nfrom __future__ import annotations\n\nimport numpy as np\n\n\ndef reward(prev: State, action: np.ndarray, curr: State, memory: dict[str, np.ndarray]) -> dict[str, np.ndarray]:\n    return {"p": curr.has_key}\n',
    "positional only": HEAD
    + "def reward(prev, action, curr, memory, /):\n    return {'p': curr.has_key}\n",
    "other names of arguments": HEAD
    + "def reward(s, a, s2, mem):\n    return {'p': s2.has_key - s.has_key}\n",
    "defaults and keywords": HEAD
    + "def reward(prev, action, curr, memory, scale=0.5, *, offset=0.0):\n    return {'p': scale * curr.has_key + offset}\n",
    "star arguments in reward": HEAD
    + "def reward(*args):\n    prev, action, curr, memory = args\n    return {'p': curr.has_key}\n",
    "docstrings and comments in many letters": '"""Nähe → Ziel: 90° ≤ θ², — “so” … 🎯 ⚠️."""\n# 中文注释；комментарий; تعليق; टिप्पणी\n'
    + BOTH.replace("    return", "    '''größer ≥'''\n    # ← Schritt\n    return"),
    "Windows line ends": BOTH.replace("\n", "\r\n"),
    "a byte order mark": "\ufeff" + BOTH,
    "tabs": BOTH.replace("    ", "\t"),
    "two spaces": BOTH.replace("    ", "  "),
    "no newline at the end": BOTH.rstrip("\n"),
    "trailing blanks": BOTH.replace("\n", "  \n"),
    "many blank lines": "\n\n\n" + BOTH.replace("\n", "\n\n") + "\n\n\n",
    "semicolons": "import numpy as np; K = 0.5\ndef reward(prev, action, curr, memory): x = curr.has_key; return {'p': K * x}\n",
    "line continuations": HEAD
    + "def reward(prev, action, curr, memory):\n    x = curr.has_key \\\n        + curr.room\n    return {\n        'p': x,\n    }\n",
    "numpy imported whole": BOTH.replace("import numpy as np", "import numpy").replace(
        "np.", "numpy."
    ),
    "numpy imported inside": "def reward(prev, action, curr, memory):\n    import numpy as np\n    return {'p': np.abs(curr.pos).sum(1)}\n",
    "a private helper and constants": HEAD
    + "_SCALE: float = 0.5\n_GOALS = {'key': 1.0}\n\n\ndef _near(s):\n    return _SCALE * np.abs(s.pos - s.goal).sum(-1)\n\n\ndef reward(prev, action, curr, memory):\n    return {'p': _near(prev) - _near(curr), 'key': _GOALS['key'] * curr.has_key}\n",
    "a decorated helper": HEAD
    + "def half(f):\n    def g(*a):\n        return 0.5 * f(*a)\n    return g\n\n\n@half\ndef near(s):\n    return np.abs(s.pos).sum(-1)\n\n\ndef reward(prev, action, curr, memory):\n    return {'p': near(curr)}\n",
    "a conditional constant": HEAD
    + "try:\n    TRAPEZOID = np.trapezoid\nexcept AttributeError:\n    TRAPEZOID = np.trapz\n\n\ndef reward(prev, action, curr, memory):\n    return {'p': TRAPEZOID(curr.quat, axis=1)}\n",
}
PROGRAMS = {
    name: reward(*([given] if isinstance(given, str) else given)) for name, given in BODIES.items()
} | TEXTS


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_that_does_its_work_is_accepted(patient, name):
    must_be_accepted(patient, PROGRAMS[name])


def test_there_are_more_than_a_hundred_of_them():
    assert len(set(PROGRAMS.values())) > 100
