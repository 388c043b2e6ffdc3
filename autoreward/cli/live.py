"""What a person sees while a run works: a live table in a terminal, plain lines elsewhere.

Everything goes to stderr.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoreward.store.run import Run

# Items of a list, and trainings in the table, that are shown.
MAX_ITEMS = 6
MAX_TRAININGS = 16
# Without a terminal, seconds between two lines about the same training.
LINE_SECONDS = 10
# Names of events in events.jsonl that read better otherwise.
EVENT_WORDS = {"refused": "draft rejected", "rejected": "candidate rejected"}
# Characters that reverse the direction of text, and so can disguise it.
BIDIRECTIONAL = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"

Progress = dict[str, float | None]


def clean(text: str) -> str:
    """Make text of unknown origin safe for a terminal.

    Control and bidirectional characters become visible escapes.
    """
    return "".join(c if _harmless(c) else f"\\u{ord(c):04x}" for c in text)


def _harmless(character: str) -> bool:
    if character in "\n\t":
        return True
    return character.isprintable() and character not in BIDIRECTIONAL


class Display:
    """Records events in the run and shows them; shows the progress of trainings.

    Use it as a context manager.
    """

    def __init__(self, run: Run | None, quiet: bool = False) -> None:
        self.run = run
        self.quiet = quiet
        self.terminal = sys.stderr.isatty() and not quiet
        self.started = time.monotonic()
        # training -> its last numbers, and when a line last showed them
        self.trainings: dict[str, Progress] = {}
        self.last_line: dict[str, float] = {}
        self._live: Any = None

    def __enter__(self) -> Display:
        if self.terminal:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(
                console=Console(stderr=True),
                refresh_per_second=4,
                transient=True,
                get_renderable=self._table,
            )
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def say(
        self,
        stage: str,
        what: str,
        iteration: int | None = None,
        candidate: str | None = None,
        **data: Any,
    ) -> None:
        """Record one event in events.jsonl, and show it as a line."""
        if self.run:
            self.run.event(stage, what, iteration, candidate, **data)
        if what in ("scored", "final", "feedback"):
            self.trainings.clear()
        place = f"{iteration}{candidate or ''}" if iteration else ""
        words = EVENT_WORDS.get(what, what)
        self._line(f"{stage:<10} {place:<4} {words}{_details(data)}")

    def progress(self, label: str, data: Progress) -> None:
        """Show a trainer's progress."""
        if label.startswith(("evaluation", "probes")):
            return
        self.trainings[label] = data
        now = time.monotonic()
        due = self.last_line.get(label, self.started) + LINE_SECONDS
        if not self.terminal and now >= due:
            self.last_line[label] = now
            self._line(f"{'training':<10} {'':<4} {label}: {_progress_words(data)}")

    def _line(self, text: str) -> None:
        if self.quiet:
            return
        minutes, seconds = divmod(int(time.monotonic() - self.started), 60)
        text = f"{minutes:02d}:{seconds:02d}  {text}"
        if self._live:
            from rich.text import Text

            self._live.console.print(Text(text))
        else:
            print(text, file=sys.stderr, flush=True)

    def _table(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        has_metric = any(data.get("metric") is not None for data in self.trainings.values())
        columns = ["training", "steps", "success", "episode"]
        if has_metric:
            columns.insert(2, "metric")
        table = Table(box=None, pad_edge=False)
        for name in columns:
            table.add_column(name, justify="left" if name == "training" else "right")
        for label, data in list(self.trainings.items())[-MAX_TRAININGS:]:
            cells = {
                "steps": f"{_steps(data):,}",
                "metric": _number(data.get("metric"), ".4g"),
                "success": _number(data.get("success"), ".0%"),
                "episode": _number(data.get("length"), ".0f"),
            }
            table.add_row(Text(clean(label)), *(cells[name] for name in columns[1:]))
        return table


def _steps(data: Progress) -> int:
    return int(data.get("steps") or 0)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _progress_words(data: Progress) -> str:
    words = f"{_steps(data):,} steps"
    success, metric = data.get("success"), data.get("metric")
    if success is not None:
        return f"{words}, success {success:.0%}"
    if metric is not None:
        return f"{words}, metric {metric:.4g}"
    return words


def _details(data: dict[str, Any]) -> str:
    """The data of an event in words; empty values and a first attempt are left out."""
    parts = []
    for key, value in data.items():
        empty = value is None or value == "" or value == [] or value == ()
        if empty or key in ("low", "high") or (key == "attempt" and value == 0):
            continue
        if key == "success":
            parts.append(_success_words(value, data))
        else:
            parts.append(f"{key.replace('_', ' ')} {_value_words(value)}")
    return clean(": " + "; ".join(parts)) if parts else ""


def _success_words(success: float, data: dict[str, Any]) -> str:
    from autoreward.results.scores import success_words

    return f"success {success_words(success, data.get('low'), data.get('high'))}"


def _value_words(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        shown = ", ".join(map(str, value[:MAX_ITEMS]))
        hidden = len(value) - MAX_ITEMS
        return f"{shown} and {hidden} more" if hidden > 0 else shown
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)
