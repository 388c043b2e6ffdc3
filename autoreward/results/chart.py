"""The report's chart: learning curves of the confirmed agents, as inline SVG."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from autoreward.results.scores import agent_name
from autoreward.state import Array
from autoreward.store.io import read_arrays
from autoreward.store.records import RunHeader
from autoreward.store.run import Run
from autoreward.store.training import training_folders

COLOURS = {
    "winner": "#0b6e4f",
    "sparse": "#9a9a9a",
    "human": "#c8782a",
}
GRID_COLOUR = "#e8ecee"
# the plotting area, in units of the SVG's view box
WIDTH = 760.0
HEIGHT = 240.0
LEFT = 46.0
TOP = 14.0
# space below the area for the axis and the legend, and to its right
BELOW = 58
RIGHT = 20
LEGEND_STEP = 110
# intervals on the axis of steps
MAX_TICKS = 6
# points of a drawn curve
POINTS = 120
# steps and values (n,) of one training
Curve = tuple[Array, Array]


def learning_curves(run: Run) -> str:
    """Success, or the metric, of training episodes over environment steps.

    For each agent the mean and the range over training seeds. "" if no curve was recorded.
    """
    column = "success" if run.header.card.get("success") else "metric"
    curves = {}
    for agent in COLOURS:
        found = _curves(run.final_trainings_path(agent), column)
        if found:
            curves[agent] = found
    if not curves:
        return ""
    last_step = max(_last_step(found) for found in curves.values())
    chart = _Chart(run.header, column, last_step)
    parts = chart.axes()
    for k, (agent, found) in enumerate(curves.items()):
        parts += chart.band(found, COLOURS[agent])
        parts += chart.legend(k, agent)
    view = f"0 0 {LEFT + WIDTH + RIGHT} {TOP + HEIGHT + BELOW}"
    return (
        f"<svg viewBox='{view}' width='100%' role='img' aria-label='{column} over steps'>"
        f"{''.join(parts)}</svg>"
        f"<p class='muted'>{column.capitalize()} in training episodes by environment step: mean "
        "and range over training seeds. A curve ends when its training was stopped as solved.</p>"
    )


def _curves(folder: Path, column: str) -> list[Curve]:
    """The curves of an agent's trainings, without windows in which no episode ended."""
    found = []
    for training in training_folders(folder):
        if not training.curve_path.exists():
            continue
        data = read_arrays(training.curve_path)
        if column not in data:
            continue
        recorded = np.isfinite(data[column])
        if recorded.any():
            found.append(
                (
                    data["steps"][recorded],
                    data[column][recorded],
                )
            )
    return found


def _last_step(curves: list[Curve]) -> float:
    return max(float(steps[-1]) for steps, _ in curves)


class _Chart:
    """Turns steps and values into places of the drawing."""

    def __init__(self, header: RunHeader, column: str, last_step: float) -> None:
        self.is_success = column == "success"
        self.own_reward = header.card.get("task_reward") == "environment"
        self.last_step = last_step
        self.low = 0.0
        self.high = 1.0
        if not self.is_success:
            self.low, self.high = header.card["metric"]["range"]

    def _x(self, step: float) -> float:
        return LEFT + step / self.last_step * WIDTH

    def _y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return TOP + (1 - min(1.0, max(0.0, share))) * HEIGHT

    def _points(self, steps: Array, values: Array) -> str:
        pairs = zip(steps, values, strict=True)
        return " ".join(f"{self._x(step):.1f},{self._y(value):.1f}" for step, value in pairs)

    def axes(self) -> list[str]:
        """Grid lines with their values, and steps below."""
        parts = []
        for value in np.linspace(self.low, self.high, 5):
            y = self._y(value)
            label = f"{value:.0%}" if self.is_success else f"{value:.4g}"
            parts.append(
                f"<line x1='{LEFT}' x2='{LEFT + WIDTH}' y1='{y:.1f}' y2='{y:.1f}' "
                f"stroke='{GRID_COLOUR}'/>"
                f"<text x='{LEFT - 6}' y='{y + 4:.1f}' text-anchor='end'>{label}</text>"
            )
        for step in round_ticks(self.last_step):
            parts.append(
                f"<text x='{self._x(step):.1f}' y='{TOP + HEIGHT + 18}' text-anchor='middle'>"
                f"{_thousands(step)}</text>"
            )
        return parts

    def band(self, curves: list[Curve], colour: str) -> list[str]:
        """The mean over seeds as a line, in the area between the lowest and the highest."""
        grid = np.linspace(0, _last_step(curves), POINTS)
        # nothing succeeds before the first window; a metric is as in that window
        left = 0.0 if self.is_success else None
        values = np.stack([np.interp(grid, steps, ys, left=left) for steps, ys in curves])
        upper = self._points(grid, values.max(0))
        lower = self._points(grid[::-1], values.min(0)[::-1])
        mean = self._points(grid, values.mean(0))
        return [
            f"<polygon points='{upper} {lower}' fill='{colour}' opacity='.14'/>",
            f"<polyline points='{mean}' fill='none' stroke='{colour}' stroke-width='2'/>",
        ]

    def legend(self, k: int, agent: str) -> list[str]:
        x = LEFT + LEGEND_STEP * k
        y = TOP + HEIGHT + 40
        return [
            f"<rect x='{x}' y='{y}' width='14' height='4' fill='{COLOURS[agent]}'/>",
            f"<text x='{x + 20}' y='{y + 6}'>{agent_name(agent, self.own_reward)}</text>",
        ]


def round_ticks(last_step: float) -> list[float]:
    """Round numbers from 0 to the last step, at most six intervals: 0, 2000, 4000, ..."""
    size = 10.0 ** math.floor(math.log10(max(last_step, 1.0)) - 1)
    for factor in (1, 2, 5, 10, 20):
        distance = size * factor
        if last_step / distance <= MAX_TICKS:
            break
    count = int(last_step / distance)
    return [k * distance for k in range(count + 1)]


def _thousands(step: float) -> str:
    """`2.5k`."""
    return f"{step / 1000:g}k" if step else "0"
