"""The README's picture: what `make demo` prints, drawn from a run directory.

`make demo`, then `python docs/picture.py runs/RUN > docs/demo.svg`. The lines are those of the
command itself: the run's events as they are shown live, and the summary at its end. Progress lines
of single trainings are left out; nothing else is changed.
"""

import contextlib
import io
import re
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from autoreward.cli.live import Display
from autoreward.store.run import Run

COLUMNS = 118
STYLES = {
    r"\bsuccess \d+%": "bold green",
    r"^(winner|sparse|human|hints|model|program|report|next)\b": "cyan",
    r"^\d\d:\d\d": "bright_black",
    r"^\$.*": "bold",
}


def echoed_line() -> str:
    """The command that make prints before it runs it."""
    makefile = (Path(__file__).parents[1] / "Makefile").read_text()
    echoed = re.search(r"^demo:.*\n\t\$\(BIN\)/(.*)$", makefile, re.M)
    return echoed[1] if echoed else ""


def live_lines(run: Run) -> list[str]:
    """The run's events, as the command showed them while it ran."""
    events = run.events()
    began = datetime.fromisoformat(events[0].time)
    captured = io.StringIO()
    with contextlib.redirect_stderr(captured):
        display = Display(None)
        for event in events:
            elapsed = (datetime.fromisoformat(event.time) - began).total_seconds()
            display.started = time.monotonic() - elapsed
            display.say(event.stage, event.what, event.iteration, event.candidate, **event.data)
    return captured.getvalue().splitlines()


def summary_lines(run: Run) -> list[str]:
    """The summary that a finished run ends with; `resume` prints it again."""
    command = [sys.executable, "-m", "autoreward", "resume", str(run.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def main() -> None:
    run = Run(Path(sys.argv[1]))
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    lines = ["$ make demo", echoed_line(), *live_lines(run), *summary_lines(run)]
    for line in lines:
        text = Text(line)
        for pattern, style in STYLES.items():
            text.highlight_regex(pattern, style)
        console.print(text)
    svg = console.export_svg(title="make demo", theme=MONOKAI)
    # The fonts would come from the network; the reader's own monospace does as well.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.S)
    print(svg.replace("Fira Code", "ui-monospace, Menlo, Consolas"))


if __name__ == "__main__":
    main()
