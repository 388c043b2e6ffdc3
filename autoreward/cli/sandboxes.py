"""`autoreward sandboxes`: the profiles that reward programs can run under."""

from __future__ import annotations

from typing import Annotated

from typer import Argument

from autoreward.cli.options import Json, group, show

app = group("Sandbox profiles: what a reward program may use.")


@app.command("list")
def list_sandboxes(as_json: Json = False) -> None:
    """List all sandbox profiles."""
    from autoreward.sandbox.outside.profiles import find_profile, listing

    data = {
        name: {**find_profile(name).model_dump(), "path": str(p)} for name, p in listing().items()
    }
    lines = [f"{name:<10} {p['backend']:<8} {p['description']}" for name, p in data.items()]
    show(data, "\n".join(lines), as_json)


@app.command("show")
def show_sandbox(
    name: Annotated[str, Argument(help="a profile (autoreward sandboxes list)")] = "default",
    as_json: Json = False,
) -> None:
    """Show the limits of one profile."""
    from autoreward.sandbox.outside.profiles import find_profile

    data = find_profile(name).model_dump()
    lines = [f"{key.replace('_', ' '):<18} {value}" for key, value in data.items()]
    show(data, "\n".join(lines), as_json)
