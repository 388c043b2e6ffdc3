"""Options are declared once: command line, `--config`, Python and `bench` agree on every one."""

import dataclasses
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from autoreward.errors import UserError
from autoreward.loop import setup
from autoreward.loop.options import (
    COMMAND_LINE,
    DECLARED,
    PYTHON,
    DesignOptions,
    command_line_names,
    flag_of,
    info_of,
    read_options,
)
from autoreward.methods import DEFAULT
from autoreward.store.records import Limits, RunHeader

# A value other than the default for every option of the command line.
OTHER = {
    "model": "cmd:cat",
    "method": "eureka",
    "iterations": 3,
    "candidates": 4,
    "steps": 5000,
    "seed": 7,
    "final_seeds": 2,
    "jobs": 1,
    "device": "cpu",
    "max_cost": 1.5,
    "max_tokens": 100_000,
    "max_calls": 50,
    "max_time": 30,
    "hints": True,
    "settings": {"critic": "off", "timeout": 20},
    "prompts": "templates",
    "base_url": "http://127.0.0.1:9/v1",
    "headers": {"X-Team": "robots"},
    "key_command": "echo key",
    "prices": "prices.yaml",
    "sandbox": "bwrap",
    "unsafe_no_sandbox": True,
    "trainer_python": "/usr/bin/python3",
    "name": "mine",
    "origin": "given.py",
    "compose": "signs",
    "episodic_return": True,
}


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder with everything that the values above name; `started` collects what would run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOREWARD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "templates").mkdir()
    (tmp_path / "prices.yaml").write_text("m: {input: 1.0, output: 2.0, window: 1000}\n")
    (tmp_path / "given.py").write_text("def reward(obs, action, next_obs):\n    return 0.0\n")
    return tmp_path


def design(monkeypatch, *words: str) -> tuple[object, object, DesignOptions]:
    """(run, model options, options) of `autoreward design WORDS`, stopped before the loop."""
    import typer

    from autoreward.cli import design as command

    seen: list[tuple[object, object]] = []
    options: list[DesignOptions] = []
    start = setup.start

    def started(given: DesignOptions, model_options: object) -> object:
        options.append(given)
        return start(given, model_options)  # type: ignore[arg-type]

    monkeypatch.setattr(setup, "start", started)
    monkeypatch.setattr(
        command, "run_design", lambda run, model, as_json: seen.append((run, model))
    )
    app = typer.Typer()
    app.command()(command.design)
    done = CliRunner().invoke(app, list(words), catch_exceptions=True)
    if done.exception is not None:
        raise done.exception
    return (*seen[0], options[0])


def effects(run, model_options, context) -> dict[str, object]:
    """Every option's value as read back from the place where it takes effect."""
    header = run.header
    resumed = setup.model_options(header.settings)
    return {
        "model": context.caller.model.name,
        "method": context.method.name,
        "iterations": header.iterations,
        "candidates": header.candidates,
        "steps": header.steps,
        "seed": header.seed,
        "final_seeds": header.final_seeds,
        "jobs": context.engine.jobs,
        "device": header.device,
        "max_cost": context.caller.limits.max_cost,
        "max_tokens": context.caller.limits.max_tokens,
        "max_calls": context.caller.limits.max_calls,
        "max_time": context.caller.limits.max_time / 60,
        "hints": header.hints_used,
        "settings": {
            "critic": context.caller.settings["critic"],
            "timeout": resumed.timeout and model_options.timeout,
        },
        "prompts": str(Path(header.prompts).relative_to(Path.cwd().resolve())),
        "base_url": resumed.base_url and model_options.base_url,
        "headers": model_options.headers,
        "key_command": resumed.key_command and model_options.key_command,
        "prices": resumed.prices and model_options.prices,
        "sandbox": header.sandbox,
        "unsafe_no_sandbox": header.sandbox == "unsafe",
        "trainer_python": context.engine.python,
        "name": run.path.name,
        "origin": (run.path / "origin" / "given.py").is_file() and header.origin,
        "compose": header.compose,
        "episodic_return": context.card.card.episodic_return,
    }


@pytest.mark.parametrize("how", ["file", "words"])
def test_every_option_takes_effect(place, monkeypatch, how):
    """In a config file, and on the command line."""
    assert set(OTHER) == set(command_line_names()), "a new option needs a value above"
    # The two that would hide each other are tried one after the other.
    for left_out in ("sandbox", "unsafe_no_sandbox"):
        given = {k: v for k, v in OTHER.items() if k != left_out}
        given["name"] = f"without-{left_out}"
        words = ["pendulum"]
        if how == "file":
            (place / "all.yaml").write_text(yaml.safe_dump(given))
            words += ["--config", "all.yaml"]
        else:
            words += [word for name, value in given.items() for word in typed(name, value)]
        with monkeypatch.context() as patch:
            run, model_options, _ = design(patch, *words)
        context = setup.run_context(run, model_options, lambda *_, **__: None, lambda *_: None)
        found = effects(run, model_options, context)
        for name, value in given.items():
            assert found[name] == value, name


def typed(name: str, value: object) -> list[str]:
    """An option as words of the command line."""
    flag = str(flag_of(name))
    if value is True:
        return [flag]
    if isinstance(value, dict):
        joint = ": " if name == "headers" else "="
        return [word for k, v in value.items() for word in (flag, f"{k}{joint}{v}")]
    return [flag, str(value)]


def test_defaults_are_the_declared_ones(place, monkeypatch):
    *_, options = design(monkeypatch, "corridor")
    assert options == DesignOptions("corridor")
    assert read_options(({"task": "corridor"}, PYTHON)) == options
    assert options.method == DEFAULT


def test_every_destination_exists():
    """A key that the header does not have would be lost, or fail at the first use."""
    for name, declared in DECLARED.items():
        info = info_of(declared)
        if info.destination == "header":
            assert (info.key or name) in RunHeader.model_fields, name
        if info.destination == "limits":
            assert name in Limits.model_fields, name
    assert not set(OTHER) - {f.name for f in dataclasses.fields(DesignOptions)}


def test_what_is_typed_wins_over_the_file(place, monkeypatch):
    (place / "c.yaml").write_text(
        "iterations: 5\ncandidates: 6\nset: {critic: off, analyzer: code}\nmax-calls: 9\n"
    )
    words = ["corridor", "--config", "c.yaml", "--iterations", "4", "--set", "analyzer=off"]
    *_, options = design(monkeypatch, *words)
    assert (options.iterations, options.candidates, options.max_calls) == (4, 6, 9)
    # YAML reads `off` as false
    assert options.settings == {"critic": "off", "analyzer": "off"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("iterations: two\n", "c.yaml: iterations is 'two'; it must be a whole number from 1"),
        ("iterations: 0\n", "c.yaml: iterations is 0; it must be a whole number from 1 to 100"),
        ("iterations: true\n", "c.yaml: iterations is True; it must be a whole number"),
        ("max_cost: much\n", "c.yaml: max_cost is 'much'; it must be a number"),
        ("hints: 1\n", "c.yaml: hints is 1; it must be true or false"),
        ("model: 3\n", "c.yaml: model is 3; it must be text"),
        ("itterations: 1\n", "c.yaml: unknown option 'itterations'"),
        ("external_training: true\n", "c.yaml: unknown option 'external_training'"),
        ("task: corridor\n", "c.yaml: unknown option 'task'"),
        ("set: {colour: red}\n", "c.yaml: settings colour=red: unknown setting 'colour'"),
        ("set: [critic]\n", "c.yaml: settings takes KEY=VALUE, not 'critic'"),
        ("set: critic=off\n", "c.yaml: settings is 'critic=off'; it must be a mapping"),
        ("header: [secret]\n", "the value has no colon"),
        ("- iterations\n", "c.yaml: this is a list"),
    ],
)
def test_a_wrong_file_is_named_with_key_value_and_what_is_expected(
    place, monkeypatch, text, message
):
    (place / "c.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        design(monkeypatch, "corridor", "--config", "c.yaml")
    assert message in caught.value.message and caught.value.code == 2 and caught.value.hint
    assert "secret" not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"iteration": 1}, "unknown option 'iteration'"),
        ({"iterations": "2"}, "iterations is '2'; it must be a whole number from 1 to 100"),
        ({"final_seeds": 50}, "final_seeds is 50; it must be a whole number from 1 to 49"),
        ({"settings": {"colour": "red"}}, "unknown setting 'colour'"),
    ],
)
def test_python_names_options_as_python_does(given, message):
    with pytest.raises(UserError, match=message) as caught:
        read_options(({**given, "task": "corridor"}, PYTHON))
    assert "did you mean 'iterations'" in caught.value.hint or "iteration" not in given


def test_numbers_of_numpy_and_paths_are_taken():
    import numpy as np

    options = read_options(
        ({"task": "corridor", "seed": np.int64(3), "max_cost": 1, "folder": "r"}, PYTHON)
    )
    assert options.seed == 3 and options.max_cost == 1.0 and options.folder == Path("r")


def test_the_command_line_spells_flags():
    with pytest.raises(UserError, match="--final-seeds is 0"):
        read_options(({"task": "corridor", "final_seeds": 0}, COMMAND_LINE))
    with pytest.raises(UserError, match="--steps is 0"):
        DesignOptions("corridor", steps=0)


def test_a_suite_takes_every_option(place):
    from autoreward.cli.bench import Suite, grid

    given = {k: v for k, v in OTHER.items() if k not in ("model", "seed", "name")}
    plan = Suite(tasks=["pendulum"], options=given, variants={"b": {"iterations": 1}})
    (variant, options), *more = grid(plan, Path("s.yaml"), Path("out"), {"jobs": None})
    assert variant == "b" and options.iterations == 1 and not more
    for name, value in given.items():
        if name not in ("iterations", "settings"):
            found = getattr(options, name)
            assert (str(found) if isinstance(found, Path) else found) == value, name
    assert options.settings == {"critic": "off", "timeout": "20"}
    with pytest.raises(UserError, match=r"s.yaml: options: unknown option 'seed'"):
        grid(Suite(tasks=["corridor"], options={"seed": 1}), Path("s.yaml"), Path("out"), {})
