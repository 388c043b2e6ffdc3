"""Syntax and load: texts that are no Python, no program, or break while they are loaded."""

import pytest
from harness import GOOD, HEAD, Case, must_be_accepted, must_be_refused, reward, twins

CASES = [
    Case("nothing", "", "missing-entry-point", "missing-entry-point", GOOD),
    Case(
        "prose",
        "I'm sorry, I can't help with that.",
        "syntax",
        "syntax",
        '"""I can help with that."""\n' + GOOD,
    ),
    Case("half a program", GOOD[: len(GOOD) // 2], "syntax", "syntax", GOOD),
    Case("unclosed bracket", GOOD.replace("}", ""), "syntax", "syntax", GOOD),
    Case("fences inside", "```python\n" + GOOD + "```\n", "syntax", "syntax", GOOD),
    Case("Python 2", GOOD + "\nprint 'hello'\n", "syntax", "syntax", GOOD),
    Case(
        "indentation",
        GOOD.replace("    return", "      x = 1\n    return"),
        "syntax",
        "syntax",
        GOOD.replace("    return", "    x = 1\n    return"),
    ),
    Case("null byte", GOOD + "\0", "hidden-text", "syntax", GOOD),
    Case("brackets without end", "(" * 20_000, "syntax", "syntax", GOOD),
    Case(
        "deep lists",
        "x = " + "[" * 150 + "]" * 150 + "\n" + GOOD,
        "",
        "|syntax",
        "x = [[1]]\n" + GOOD,
    ),
    Case(
        "deep unary", "x = " + "-" * 30_000 + "1\n" + GOOD, "syntax", "syntax", "x = --1\n" + GOOD
    ),
    Case("deep attributes", "x = a" + ".a" * 18_000 + "\n" + GOOD, "syntax", "syntax|load", GOOD),
    Case(
        "deep sums",
        "x = 1" + "+1" * 18_000 + "\n" + GOOD,
        "syntax",
        "syntax|",
        "x = 1 + 1\n" + GOOD,
    ),
    Case(
        "deep comparisons",
        "x = 1" + "<1" * 18_000 + "\n" + GOOD,
        "",
        "|syntax",
        "x = 1 < 2 < 3\n" + GOOD,
    ),
    Case(
        "deep calls",
        "f = lambda: f\nx = f" + "()" * 18_000 + "\n" + GOOD,
        "syntax",
        "syntax|load|",
        GOOD,
    ),
    Case("too long", GOOD + "# " + "x" * 50_000, "too-long", "", GOOD + "# " + "x" * 5_000),
    Case("far too long", GOOD + "# " + "x" * 1_100_000, "too-long", "too-long", GOOD),
    Case("lone surrogate", GOOD + "# \ud800\n", "hidden-text", "syntax", GOOD + "# 🎯\n"),
    Case(
        "another encoding",
        "# -*- coding: latin-1 -*-\n" + GOOD,
        "encoding",
        "",
        "# -*- coding: utf-8 -*-\n" + GOOD,
    ),
    Case(
        "misnamed",
        GOOD.replace("def reward", "def compute_reward"),
        "missing-entry-point",
        "missing-entry-point",
        GOOD,
    ),
    Case(
        "a class of rewards",
        HEAD + "class R:\n    def reward(self, prev, action, curr, memory):\n        return {}\n",
        "missing-entry-point",
        "missing-entry-point",
        GOOD,
    ),
    Case(
        "async",
        GOOD.replace("def reward", "async def reward"),
        "missing-entry-point",
        "return-form",
        GOOD,
    ),
    Case(
        "not callable", HEAD + "reward = 3.0\n", "missing-entry-point", "missing-entry-point", GOOD
    ),
    Case(
        "three arguments",
        GOOD.replace(", memory)", ")"),
        "signature",
        "exception",
        GOOD.replace("memory)", "memory=None)"),
    ),
    Case("keyword only", GOOD.replace(", memory)", ", *, memory)"), "signature", "exception", GOOD),
    Case("a generator", GOOD.replace("return", "yield"), "forbidden-name", "return-form", GOOD),
    Case("unknown module", "import torch\n" + GOOD, "import", "load", "import math\n" + GOOD),
    Case(
        "relative import",
        "from . import secrets\n" + GOOD,
        "import",
        "load",
        "from math import pi\n" + GOOD,
    ),
    Case(
        "name at load", GOOD + "\nSCALE = undefined\n", "", "load", GOOD + "\nSCALE = np.sqrt(2)\n"
    ),
    Case("division at load", HEAD + "A = 1 / 0\n" + GOOD, "", "load", HEAD + "A = 1 / 2\n" + GOOD),
    Case(
        "raise at load", GOOD + "\nraise SystemExit(0)\n", "", "load", GOOD + "\nassert np.pi > 3\n"
    ),
    Case("KeyboardInterrupt at load", GOOD + "\nraise KeyboardInterrupt\n", "", "load", GOOD),
    Case(
        "a forged syntax error",
        GOOD + "\nraise SyntaxError('no', ('x', 'seven', [], {}))\n",
        "",
        "load",
        GOOD,
    ),
    Case(
        "an error whose text fails",
        GOOD + "\nclass E(Exception):\n    def __str__(self): raise E\nraise E\n",
        "",
        "load",
        GOOD,
    ),
    Case(
        "an error that is no text",
        GOOD + "\nclass E(Exception):\n    def __str__(self): return 5\nraise E\n",
        "",
        "load",
        GOOD,
    ),
    Case("an enormous error", GOOD + "\nraise ValueError('x' * 10_000_000)\n", "", "load", GOOD),
    Case(
        "endless at load",
        GOOD + "\nx = 0\nwhile x < 1:\n    pass\n",
        "",
        "too-slow",
        GOOD + "\nx = 0\nwhile x < 1:\n    x += 1\n",
    ),
    Case(
        "memory at load",
        GOOD + "\nTABLE = np.ones((1 << 16, 1 << 16))\n",
        "",
        "memory",
        GOOD + "\nTABLE = np.ones((16, 16))\n",
    ),
    Case(
        "MEMORY is a list", GOOD + "\nMEMORY = [1]\n", "", "memory-form", GOOD + "\nMEMORY = {}\n"
    ),
    Case(
        "MEMORY of None",
        GOOD + "\nMEMORY = {'last': None}\n",
        "",
        "memory-form",
        GOOD + "\nMEMORY = {'last': np.nan}\n",
    ),
    Case(
        "MEMORY of text",
        GOOD + "\nMEMORY = {'phase': 'reach'}\n",
        "",
        "memory-form",
        GOOD + "\nMEMORY = {'phase': 0}\n",
    ),
    Case(
        "MEMORY of numbers as text",
        GOOD + "\nMEMORY = {'phase': '5'}\n",
        "",
        "memory-form",
        GOOD + "\nMEMORY = {'phase': 5}\n",
    ),
    Case(
        "MEMORY of ragged lists",
        GOOD + "\nMEMORY = {'p': [[1], [1, 2]]}\n",
        "",
        "memory-form",
        GOOD + "\nMEMORY = {'p': [1.0, 2.0]}\n",
    ),
    Case(
        "MEMORY of complex",
        GOOD + "\nMEMORY = {'p': 1j}\n",
        "",
        "memory-form",
        GOOD + "\nMEMORY = {'p': True}\n",
    ),
    Case(
        "MEMORY by number",
        GOOD + "\nMEMORY = {3: 0.0}\n",
        "",
        "memory-form",
        GOOD + "\nMEMORY = {'three': 0.0}\n",
    ),
    Case(
        "MEMORY that lies",
        GOOD
        + "\nclass D(dict):\n    def items(self): raise OSError\n    get = pop = items\nMEMORY = D(a=object())\n",
        "",
        "memory-form",
        GOOD + "\nMEMORY = dict(a=0.0)\n",
    ),
    Case(
        "MEMORY that is huge",
        GOOD + "\nMEMORY = {'p': np.zeros(1 << 26)}\n",
        "",
        "memory",
        GOOD + "\nMEMORY = {'p': np.zeros(4)}\n",
    ),
    Case(
        "SPARSE is a number", GOOD + "\nSPARSE = 5\n", "", "load", GOOD + "\nSPARSE = ('closer')\n"
    ),
    Case(
        "SPARSE without end",
        GOOD + "\nSPARSE = iter(int, 1)\n",
        "",
        "load",
        GOOD + "\nSPARSE = ['closer']\n",
    ),
    Case(
        "names at load time",
        "MEMORY = {'n': 0.0}\n" + reward("memory['n'] = memory['m']\nreturn {'a': memory['n']}"),
        "",
        "exception",
        "MEMORY = {'n': 0.0}\n"
        + reward("memory['n'] = memory['n'] + 1\nreturn {'a': memory['n']}"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_refused_with_its_class(bench, case):
    must_be_refused(bench, case)


@pytest.mark.parametrize(("name", "text"), twins(CASES), ids=[n for n, _ in twins(CASES)])
def test_its_twin_is_accepted(bench, name, text):
    must_be_accepted(bench, text)
