"""`autoreward envs`: task cards, yours and the shipped ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoreward.cli.envs_check import caption_env, check_env
from autoreward.cli.envs_new import new_env
from autoreward.cli.options import Json, TaskName, group, show
from autoreward.errors import UserError

if TYPE_CHECKING:
    from autoreward.tasks.card import Field, TaskCard
    from autoreward.tasks.find import LocatedCard

app = group("Task cards: what an environment is, and what success means in it.")
app.command("new")(new_env)
app.command("check")(check_env)
app.command("caption")(caption_env)


@app.command("list")
def list_envs(as_json: Json = False) -> None:
    """List task cards: yours in ./envs, installed, shipped."""
    from autoreward.tasks.find import listing, load

    data: list[dict[str, Any]] = []
    lines = [f"{'task':<16} {'title':<44} {'extra':<10} from"]
    for name, (origin, path) in listing().items():
        entry: dict[str, Any] = {"name": name, "origin": origin, "path": str(path)}
        data.append(entry)
        try:
            card = load(path).card
        except UserError as error:
            entry["problem"] = error.message
            lines.append(f"{name:<16} broken: {error.message}")
            continue
        extra = card.environment.extra
        entry |= {"title": card.title, "extra": extra, "steps": card.training.steps}
        lines.append(f"{name:<16} {card.title:<44} {extra or '-':<10} {origin}")
    lines += ["", "next: autoreward envs show TASK; autoreward design TASK"]
    show(data, "\n".join(lines), as_json)


@app.command("show")
def show_env(task: TaskName, as_json: Json = False) -> None:
    """Show one card: fields, success, training budget, hints."""
    from autoreward.tasks.find import find

    located = find(task)
    lines = _lines(located)
    lines += ["", f"next: autoreward envs check {task}; autoreward design {task}"]
    show(located.card.model_dump(mode="json", by_alias=True), "\n".join(lines), as_json)


def _lines(located: LocatedCard) -> list[str]:
    from autoreward.models import briefing

    card = located.card
    task = briefing.task(card)
    action = task["action"]
    hints = briefing.hints(card, True)
    return [
        f"{card.name}: {card.title}",
        f"card     {located.path}",
        "",
        task["description"],
        "",
        f"success  {task['success'] or '-'}",
        f"endings  {task['endings']}",
        f"limit    {task['limit']} steps",
        f"action   {action['type']}, {action['shape']}: {action['meaning']}",
        "",
        "fields",
        *(_field_line(field) for field in card.fields),
        "",
        f"training {_training(card)}",
        f"human    {card.human or '-'}",
        "hints    (read by offline/search; shown to a language model with --hints)",
        *([f"  - {hint}" for hint in hints] or ["  none"]),
    ]


def _field_line(field: Field) -> str:
    line = (
        f"  {field.name:<24} {list(field.shape)!s:<8} {field.unit:<14} {field.range:<24} "
        f"{field.meaning}"
    )
    hidden = []
    if not field.policy:
        hidden.append("not seen by the policy")
    if not field.reward:
        hidden.append("not seen by rewards")
    return f"{line} ({', '.join(hidden)})" if hidden else line


def _training(card: TaskCard) -> str:
    training = card.training
    text = (
        f"{training.algorithm}, {training.steps:,} steps, {training.n_envs} environments, "
        f"gamma {training.gamma}"
    )
    if training.her:
        text += f", {training.her} hindsight goals per real one"
    return text
