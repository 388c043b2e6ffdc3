"""Prompt templates: find, override, render, check, eject.

`prompts/METHOD/AGENT/NAME.md.j2` is looked for in --prompts DIR, then ./prompts, then among the
shipped, then in installed methods: the same path overrides. Jinja2 in its sandbox, and an undefined
variable is an error. `VARIABLES` documents what each agent's templates get.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from jinja2 import (
    FileSystemLoader,
    StrictUndefined,
    TemplateError,
    TemplateNotFound,
    TemplateSyntaxError,
    UndefinedError,
    meta,
    nodes,
)
from jinja2.sandbox import SandboxedEnvironment

from autoreward.errors import REFUSED, UserError
from autoreward.resources import installed, shipped

SUFFIX = ".md.j2"
TASK = {
    "task": "the card, no hints: title, description, success, endings, limit, action, fields, policy (what it sees), own_reward, episodic_return, ends_at_success, training (algorithm, steps, ...)",
    "hints": "the card's hints as sentences; empty unless --hints is given",
    "composition": "how terms become the reward where that is not the plain sum: yaml, and a line on each of its transforms; else empty (not in the analyzer's)",
}
VARIABLES: dict[str, dict[str, str]] = {
    "designer": {
        **TASK,
        "number": "this candidate's number, from 1",
        "candidates": "how many programs are asked for in this iteration",
        "feedback": "outcomes so far, best first: id, program, composition (yaml, empty for the plain sum), status, success, verdicts, curve, "
        "terms (each with curve, most, mean, least over training), endings, diagnostics, parts, causes, suggestions, notes (of the signal)",
        "outcome": "in outcome.md.j2, inside a loop over `feedback`: one item of it",
        "iteration": "from 1",
        "verdicts": "why the last draft was refused: kind, line, message, hint",
        "from_scratch": "true where the repairs are used up",
        "origin": "in port.md.j2: a person's reward function to be ported: code, sources (of fields), why it was not taken as it is",
        "given": "what the method's settings give: name, means (subgoals of the card or of a file, for example); else empty",
        "replies": "of the calls that prepared this one, in the first iteration: template, number, text",
        "transforms": "with --compose designer: what the designer may choose from, each with kind, fields, title, equation, paper, use; else empty",
    },
    "critic": {
        **TASK,
        "program": "the program under review",
        "warnings": "what the linter found",
        "problem": "why the last answer could not be read; empty at first",
    },
    "drafter": {
        "facts": "what random play found: title, observation, action, reward, endings, info (keys), fields (name, source, shape, unit, range, meaning, by)",
        "documentation": "the environment's docstring; empty where it has none",
        "source": "the source of the environment's class; empty with --no-source",
        "problem": "as for the critic",
    },
    "annotator": {
        "task": TASK["task"],
        "subgoals": "what is looked for: name, means",
        "captions": "transitions in words (autoreward envs caption TASK), to be numbered from 1",
        "problem": "as for the critic",
    },
    "analyzer": {
        **TASK,
        "program": "the program",
        "outcome": "the numbers: as one item of the designer's feedback",
        "episodes": "excerpts of recorded episodes",
        "parts": "in summarize.md.j2: what was said of each batch: summary, causes, suggestions, citations",
        "problem": "as for the critic",
    },
}
# What a template must say, whatever else is changed: variables that it or its includes must use.
REQUIRED: dict[str, set[str]] = {
    "designer/system": set(),
    "designer/first": {"task"},
    "designer/port": {"origin"},
    "designer/revise": {"feedback"},
    "designer/repair": {"verdicts"},
    "critic/review": {"task", "program"},
    "analyzer/explain": {"outcome"},
    "drafter/card": {"facts"},
    "annotator/judge": {"subgoals", "captions"},
}


class Prompts:
    """Templates as one run sees them."""

    def __init__(self, folder: str | None = None) -> None:
        if folder is not None and not Path(folder).is_dir():
            raise UserError(
                f"--prompts {folder}: there is no such folder",
                "autoreward prompts eject METHOD/AGENT makes one",
            )
        self.folders = [Path(folder)] if folder else []
        self.folders += [
            p for p in (Path.cwd() / "prompts", shipped("prompts")) if p.is_dir()
        ] + installed("autoreward.methods", "prompts")
        self._jinja = SandboxedEnvironment(
            loader=FileSystemLoader([str(f) for f in self.folders]),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=False,
        )
        self._jinja.filters["number"] = number
        self._jinja.globals["range"] = range

    def listing(self) -> dict[str, Path]:
        """`METHOD/AGENT/NAME` -> the file that counts."""
        found: dict[str, Path] = {}
        for folder in self.folders:
            for path in sorted(folder.glob(f"*/*/*{SUFFIX}")):
                found.setdefault(str(path.relative_to(folder))[: -len(SUFFIX)], path)
        return found

    def path(self, name: str) -> Path:
        """The file of `METHOD/AGENT/NAME`; UserError where there is none."""
        parts = name.removesuffix(SUFFIX).split("/")
        if len(parts) == 3 and not {"", ".", ".."} & set(parts):
            for folder in self.folders:
                if (path := folder.joinpath(*parts[:2], parts[2] + SUFFIX)).is_file():
                    return path
        raise UserError(f"no template {name!r}", "autoreward prompts list")

    def render(self, name: str, variables: Mapping[str, Any]) -> str:
        """The text; UserError with file and line where the template is wrong."""
        path = self.path(name)
        try:
            text = self._jinja.get_template(name + SUFFIX).render(**variables)
        except TemplateSyntaxError as error:
            raise self._wrong(
                Path(error.filename or path), error.lineno, str(error.message)
            ) from None
        except TemplateNotFound as error:
            raise self._wrong(
                path, None, f"includes {error.message!r}, and there is no such template"
            ) from None
        except (
            UndefinedError,
            TemplateError,
            TypeError,
            ValueError,
            ZeroDivisionError,
            OverflowError,
            KeyError,
        ) as error:
            place, line = self._blamed(error, path)
            raise self._wrong(place, line, str(error)) from None
        return _tidy(text)

    def problems(self, name: str) -> list[str]:
        """What is wrong with a template before anything is rendered: `FILE:LINE: what`."""
        path, agent = self.path(name), name.split("/")[1]
        try:
            used = self._variables(name + SUFFIX, set())
        except TemplateSyntaxError as error:
            return [f"{error.filename or path}:{error.lineno}: {error.message}"]
        except TemplateNotFound as error:
            return [f"{path}: includes {error.message!r}, and there is no such template"]
        known = VARIABLES.get(agent)
        if known is None:
            return []
        found = []
        for variable in sorted(used.keys() - known.keys()):
            place, line = used[variable]
            found.append(
                f"{place}:{line}: no variable {variable!r}; a {agent} template has {', '.join(known)}"
            )
        for variable in sorted(REQUIRED.get(name.split("/", 1)[1], set()) - used.keys()):
            found.append(f"{path}:1: the required part {variable!r} is lost: {known[variable]}")
        return found

    def require(self, method: str, agents: Collection[str]) -> None:
        """UserError with the first thing that is wrong with a method's templates, or missing for
        its agents, before a run begins.
        """
        listing = self.listing()
        for name in REQUIRED:
            if name.split("/")[0] in agents and f"{method}/{name}" not in listing:
                raise UserError(
                    f"the method {method} has no template {method}/{name}{SUFFIX}",
                    "docs/methods.md says what a method needs; autoreward prompts list",
                    REFUSED,
                )
        for name in listing:
            if name.startswith(method + "/") and (found := self.problems(name)):
                raise UserError(
                    found[0], "mend the template, then: autoreward prompts check", REFUSED
                )

    def _variables(self, file: str, seen: set[str]) -> dict[str, tuple[Path, int]]:
        """Undeclared variables of a template and what it includes, with the place of their first
        use.
        """
        seen.add(file)
        assert self._jinja.loader is not None
        source, filename, _ = self._jinja.loader.get_source(self._jinja, file)
        tree = self._jinja.parse(source, filename=filename)
        undeclared = meta.find_undeclared_variables(tree)
        found: dict[str, tuple[Path, int]] = {}
        for node in tree.find_all(nodes.Name):
            if node.name in undeclared:
                found.setdefault(node.name, (Path(filename or file), node.lineno))
        for include in meta.find_referenced_templates(tree):
            if include and include not in seen:
                for key, value in self._variables(include, seen).items():
                    found.setdefault(key, value)
        return found

    def eject(self, prefix: str, folder: Path) -> list[Path]:
        """Copy the templates whose name begins with `prefix` into `folder`, for changing.

        Existing files are left alone.
        """
        chosen = {
            n: p
            for n, p in self.listing().items()
            if n == prefix.removesuffix(SUFFIX) or n.startswith(prefix.rstrip("/") + "/")
        }
        if not chosen:
            raise UserError(f"no template begins with {prefix!r}", "autoreward prompts list")
        written = []
        for name, path in chosen.items():
            target = folder / (name + SUFFIX)
            if target.exists():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
            written.append(target)
        return written

    @staticmethod
    def _blamed(error: Exception, path: Path) -> tuple[Path, int | None]:
        """The last template frame of the traceback."""
        place, line, trace = path, None, error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename.endswith(SUFFIX):
                place, line = Path(trace.tb_frame.f_code.co_filename), trace.tb_lineno
            trace = trace.tb_next
        return place, line

    @staticmethod
    def _wrong(path: Path, line: int | None, what: str) -> UserError:
        return UserError(
            f"{path}{f':{line}' if line else ''}: {what}", "autoreward prompts check", REFUSED
        )


def _tidy(text: str) -> str:
    """One blank line between parts and before headings; code blocks stay as they are."""
    parts = re.split(r"(^```.*?^```[ \t]*$)", text, flags=re.M | re.S)
    for k in range(0, len(parts), 2):
        parts[k] = re.sub(r"\n{3,}", "\n\n", re.sub(r"(?<=[^\n])\n(?=#{1,3} )", "\n\n", parts[k]))
    return "".join(parts).strip()


def number(value: float | None, digits: int = 3) -> str:
    """A number for a prompt: short, and a dash where there is none."""
    return "-" if value is None or value != value else f"{value:.{digits}g}"
