"""Prompt templates: find, override, render, check, eject.

A template `prompts/METHOD/AGENT/NAME.md.j2` is looked up in --prompts DIR, then ./prompts, then
the shipped prompts, then those of installed methods; the first one found wins. Templates run in
Jinja2's sandbox, and an undefined variable is an error. What each agent's templates get is in
`variables`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import cached_property
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
from autoreward.models.variables import VARIABLES, examples, meanings
from autoreward.resources import installed, shipped

SUFFIX = ".md.j2"
# Templates that become a prompt, and the variables that each must use, itself or through its
# includes, whatever else is changed.
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
# Templates that become a prompt, and that a method may do without.
OPTIONAL = {"analyzer/summarize"}
# What rendering raises for a faulty template.
FAULTS = (
    UndefinedError,
    TemplateError,
    TypeError,
    ValueError,
    ZeroDivisionError,
    OverflowError,
    KeyError,
)


class Prompts:
    """The templates that one run uses.

    Raises UserError if `folder` does not exist.
    """

    def __init__(self, folder: str | None = None) -> None:
        if folder is not None and not Path(folder).is_dir():
            raise UserError(
                f"--prompts {folder}: folder not found",
                "autoreward prompts eject METHOD/AGENT makes one",
            )
        self.folders = [Path(folder)] if folder else []
        for place in (Path.cwd() / "prompts", shipped("prompts")):
            if place.is_dir():
                self.folders.append(place)
        self.folders += installed("autoreward.methods", "prompts")
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
        """Return `METHOD/AGENT/NAME` -> the file that is used."""
        found: dict[str, Path] = {}
        for folder in self.folders:
            for path in sorted(folder.glob(f"*/*/*{SUFFIX}")):
                name = str(path.relative_to(folder))[: -len(SUFFIX)]
                found.setdefault(name, path)
        return found

    def path(self, name: str) -> Path:
        """Return the file of `METHOD/AGENT/NAME`. Raises UserError if no folder has it."""
        parts = name.removesuffix(SUFFIX).split("/")
        if len(parts) == 3 and not {"", ".", ".."} & set(parts):
            method, agent, last = parts
            for folder in self.folders:
                path = folder.joinpath(method, agent, last + SUFFIX)
                if path.is_file():
                    return path
        raise UserError(f"unknown template {name!r}", "autoreward prompts list")

    def render(self, name: str, variables: Mapping[str, Any]) -> str:
        """Return the text of a prompt.

        Raises UserError with file and line if the template is faulty.
        """
        path = self.path(name)
        try:
            text = self._jinja.get_template(name + SUFFIX).render(**variables)
        except TemplateSyntaxError as error:
            place = Path(error.filename or path)
            raise _faulty(place, error.lineno, str(error.message)) from None
        except TemplateNotFound as error:
            raise _faulty(path, None, f"includes {error.name!r}, which does not exist") from None
        except FAULTS as error:
            place, line = _last_template_frame(error, path)
            raise _faulty(place, line, str(error)) from None
        return _tidy(text)

    def problems(self, name: str) -> list[str]:
        """Return what is wrong with a template, as `FILE:LINE: what`.

        First syntax and the names of variables, with those of its includes; then, if these are
        right, it is rendered with the example of every variable that its agent really gets.
        """
        path = self.path(name)
        agent = name.split("/")[1]
        try:
            used = self._undeclared(name + SUFFIX, set())
        except TemplateSyntaxError as error:
            return [f"{error.filename or path}:{error.lineno}: {error.message}"]
        except TemplateNotFound as error:
            return [f"{path}: includes {error.name!r}, which does not exist"]
        if agent not in VARIABLES:
            return []
        known = meanings(agent)
        found = []
        for variable in sorted(used.keys() - known.keys()):
            place, line = used[variable]
            found.append(
                f"{place}:{line}: unknown variable {variable!r}; "
                f"a {agent} template has {', '.join(known)}"
            )
        for variable in sorted(REQUIRED.get(_page(name), set()) - used.keys()):
            found.append(
                f"{path}:1: the required variable {variable!r} is missing: {known[variable]}"
            )
        return found or self._trial(name, agent)

    def _trial(self, name: str, agent: str) -> list[str]:
        """Render a template with examples: a misspelled attribute shows only then."""
        is_prompt = _page(name) in REQUIRED or _page(name) in OPTIONAL
        included = not is_prompt and name + SUFFIX in self._included
        try:
            self.render(name, examples(agent, included))
        except UserError as error:
            return [error.message]
        return []

    def require(self, method: str, agents: Collection[str]) -> None:
        """Raise UserError if a template that these agents need is missing or faulty.

        Called before a run starts, so that no template fails after a training.
        """
        listing = self.listing()
        for name in REQUIRED:
            if name.split("/")[0] in agents and f"{method}/{name}" not in listing:
                raise UserError(
                    f"method {method} lacks the template {method}/{name}{SUFFIX}",
                    "docs/methods.md lists what a method needs; autoreward prompts list",
                    REFUSED,
                )
        for name in listing:
            if not name.startswith(f"{method}/"):
                continue
            found = self.problems(name)
            if found:
                raise UserError(
                    found[0], "fix the template, then run: autoreward prompts check", REFUSED
                )

    def eject(self, prefix: str, folder: Path) -> list[Path]:
        """Copy the templates whose name begins with `prefix` into `folder` and return the copies.

        Existing files are left as they are. Raises UserError if no template matches.
        """
        chosen = {}
        for name, path in self.listing().items():
            if name == prefix.removesuffix(SUFFIX) or name.startswith(prefix.rstrip("/") + "/"):
                chosen[name] = path
        if not chosen:
            raise UserError(f"no template starts with {prefix!r}", "autoreward prompts list")
        written = []
        for name, path in chosen.items():
            target = folder / (name + SUFFIX)
            if target.exists():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
            written.append(target)
        return written

    def _undeclared(self, file: str, seen: set[str]) -> dict[str, tuple[Path, int]]:
        """Return the variables that a template and its includes expect, each with its first use."""
        seen.add(file)
        tree, filename = self._parsed(file)
        undeclared = meta.find_undeclared_variables(tree)
        found: dict[str, tuple[Path, int]] = {}
        for node in tree.find_all(nodes.Name):
            if node.name in undeclared:
                found.setdefault(node.name, (Path(filename or file), node.lineno))
        for include in meta.find_referenced_templates(tree):
            if include and include not in seen:
                for variable, place in self._undeclared(include, seen).items():
                    found.setdefault(variable, place)
        return found

    def _parsed(self, file: str) -> tuple[nodes.Template, str | None]:
        assert self._jinja.loader is not None
        source, filename, _ = self._jinja.loader.get_source(self._jinja, file)
        return self._jinja.parse(source, filename=filename), filename

    @cached_property
    def _included(self) -> set[str]:
        """Files that some template includes."""
        found: set[str] = set()
        for name in self.listing():
            try:
                tree, _ = self._parsed(name + SUFFIX)
            except TemplateSyntaxError:
                # `problems` of that template reports it.
                continue
            found.update(file for file in meta.find_referenced_templates(tree) if file)
        return found


def _page(name: str) -> str:
    """Return a template's name without its method: AGENT/NAME."""
    return name.split("/", 1)[1]


def _last_template_frame(error: Exception, path: Path) -> tuple[Path, int | None]:
    """Return the file and line of the template in which rendering failed."""
    place = path
    line = None
    trace = error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if file.endswith(SUFFIX):
            place = Path(file)
            line = trace.tb_lineno
        trace = trace.tb_next
    return place, line


def _faulty(path: Path, line: int | None, what: str) -> UserError:
    place = f"{path}:{line}" if line else str(path)
    return UserError(f"{place}: {what}", "autoreward prompts check", REFUSED)


def _tidy(text: str) -> str:
    """Put one blank line between parts and before headings; leave code blocks as they are."""
    parts = re.split(r"(^```.*?^```[ \t]*$)", text, flags=re.M | re.S)
    # Every other part is a code block.
    for k in range(0, len(parts), 2):
        spaced = re.sub(r"(?<=[^\n])\n(?=#{1,3} )", "\n\n", parts[k])
        parts[k] = re.sub(r"\n{3,}", "\n\n", spaced)
    return "".join(parts).strip()


def number(value: float | None, digits: int = 3) -> str:
    """Format a number for a prompt: `digits` significant digits, a dash for None and NaN."""
    if value is None or value != value:
        return "-"
    return f"{value:.{digits}g}"
