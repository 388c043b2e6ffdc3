"""What a person sees while a run goes on: a live table in a terminal, plain lines elsewhere.

Everything on stderr.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from autoreward.store.run import Run

# items of a list that a line shows
LISTED = 6


def clean(text: str) -> str:
    """Text of unknown origin made safe for a terminal: control and bidirectional characters become
    visible escapes.
    """
    return "".join(
        c
        if c in "\n\t"
        or (
            c.isprintable()
            and c not in "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
        )
        else f"\\u{ord(c):04x}"
        for c in text
    )


class Display:
    """Writes events to the run and tells them; shows the progress of trainings.

    Use as a context manager.
    """

    def __init__(self, run: Run | None, quiet: bool = False) -> None:
        self.run, self.quiet = run, quiet
        self.started, self.trainings, self.told = (
            time.monotonic(),
            dict[str, dict[str, float | None]](),
            dict[str, float](),
        )
        self.terminal = sys.stderr.isatty() and not quiet
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
        """One event: into events.jsonl, and a line for people."""
        if self.run:
            self.run.event(stage, what, iteration, candidate, **data)
        if what in ("scored", "final", "feedback"):
            self.trainings.clear()
        place = f"{iteration}{candidate or ''}" if iteration else ""
        self._line(f"{stage:<10} {place:<4} {what}{self._told(data)}")

    def progress(self, label: str, data: dict[str, float | None]) -> None:
        """A trainer's progress line; without a terminal, told at most every ten seconds a
        training.
        """
        if label.startswith(("evaluation", "probes")):
            return
        self.trainings[label] = data
        if not self.terminal and time.monotonic() - self.told.get(label, self.started) >= 10:
            self.told[label] = time.monotonic()
            success, metric = data.get("success"), data.get("metric")
            told = (
                f", success {success:.0%}"
                if success is not None
                else f", metric {metric:.4g}"
                if metric is not None
                else ""
            )
            self._line(
                f"{'training':<10} {'':<4} {label}: {int(data.get('steps') or 0):,} steps{told}"
            )

    @staticmethod
    def _told(data: dict[str, Any]) -> str:
        parts = []
        for key, value in data.items():
            if (
                value in (None, "", [], ())
                or (key == "attempt" and value == 0)
                or key in ("low", "high")
            ):
                continue
            if key == "success":
                between = (
                    f" ({data['low']:.0%} to {data['high']:.0%})"
                    if data.get("low") is not None
                    else ""
                )
                parts.append(f"success {value:.0%}{between}")
            elif isinstance(value, (list, tuple)):
                more = f" and {len(value) - LISTED} more" if len(value) > LISTED else ""
                parts.append(f"{key} {', '.join(map(str, value[:LISTED]))}{more}")
            else:
                parts.append(f"{key} {value:,}" if isinstance(value, int) else f"{key} {value}")
        return clean(": " + "; ".join(parts)) if parts else ""

    def _line(self, text: str) -> None:
        if self.quiet:
            return
        elapsed = int(time.monotonic() - self.started)
        text = f"{elapsed // 60:02d}:{elapsed % 60:02d}  {text}"
        if self._live:
            from rich.text import Text

            self._live.console.print(Text(text))
        else:
            print(text, file=sys.stderr, flush=True)

    def _table(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        measured = any(d.get("metric") is not None for d in self.trainings.values())
        for name in ("training", "steps", *(("metric",) if measured else ()), "success", "episode"):
            table.add_column(name, justify="left" if name == "training" else "right")
        for label, data in list(self.trainings.items())[-16:]:
            success, length = data.get("success"), data.get("length")
            metric = (
                [f"{data['metric']:.4g}" if data.get("metric") is not None else "-"]
                if measured
                else []
            )
            table.add_row(
                Text(clean(label)),
                f"{int(data.get('steps') or 0):,}",
                *metric,
                "-" if success is None else f"{success:.0%}",
                "-" if length is None else f"{length:.0f}",
            )
        return table
