"""report.html: one offline page of a run.

Charts are inline SVG, all text is escaped, nothing is loaded and no script runs.
"""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import numpy as np

from autoreward.results.origin import lines
from autoreward.results.summary import called, judged, rate, seeing, summary
from autoreward.store.files import read_arrays, write
from autoreward.store.run import Run
from autoreward.store.training import training_folders

COLOURS = {"winner": "#0b6e4f", "sparse": "#9a9a9a", "human": "#c8782a"}
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2428; max-width: 960px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin-top: 2rem; border-bottom: 1px solid #dde3e6; padding-bottom: .2rem; }
.muted { color: #66737a; } pre { background: #f5f7f8; padding: .8rem; overflow-x: auto; font-size: 13px; line-height: 1.4; border-radius: 4px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; } th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #e8ecee; vertical-align: top; }
th { font-weight: 600; color: #455056; } .number { text-align: right; white-space: nowrap; } .bar { background: #e8ecee; height: 8px; width: 120px; display: inline-block; border-radius: 4px; }
.bar span { background: #0b6e4f; height: 8px; display: block; border-radius: 4px; } .warn { background: #fff4e0; border-left: 4px solid #c8782a; padding: .5rem .8rem; }
ul { margin: .2rem 0; padding-left: 1.1rem; } svg text { font: 12px system-ui, sans-serif; fill: #455056; } details summary { cursor: pointer; }
"""


def write_report(path: Path) -> Path:
    """Write RUN/report.html from the run's files, and return its path."""
    run = Run(path)
    data = summary(path)
    parts = [
        _head(run, data),
        _confirmation(run, data),
        _program(data, run),
        _origin(data),
        _candidates(run, data),
        _about(run, data),
    ]
    page = f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{_(data['name'])}</title><meta name='viewport' content='width=device-width'><style>{STYLE}</style></head><body>"
    out = run.report_path
    write(out, page + "\n".join(parts) + "</body></html>\n")
    return out


def _(text: Any) -> str:
    from autoreward.sandbox.outside.worker import clean

    return html.escape(clean(str(text), 20_000))


def _head(run: Run, data: dict[str, Any]) -> str:
    card = run.header.card
    counts = (
        [f"<b>Success:</b> {_((card.get('success') or {}).get('means') or 'see the card')}"]
        if card.get("success")
        else []
    )
    counts += (
        [
            f"<b>Metric:</b> {_(_metric(card['metric']))}, to {_(card['metric'].get('direction', 'maximize'))}"
        ]
        if card.get("metric")
        else []
    )
    counts += [f"<b>Constraint:</b> {_(_bound(c))}" for c in card.get("constraints") or ()]
    unsafe = (
        ""
        if data["sandbox"] == "default"
        else f"<p class='warn'>Reward programs ran with the sandbox profile <b>{_(data['sandbox'])}</b>.</p>"
    )
    unsafe += "".join(f"<p>{_(line)}</p>" for line in judged(data))
    return (
        f"<h1>{_(card.get('title', data['task']))}</h1><p class='muted'>run {_(data['name'])}, {_(data['model'])}, {_(data['method'])}, seed {data['seed']}, {_(data['state'])}</p>{unsafe}"
        f"<p>{_(card.get('description', ''))}</p><p>{'<br>'.join(counts)}</p>"
    )


def _metric(metric: dict[str, Any]) -> str:
    return f"{metric['name']} ({metric.get('reduce', 'sum')} of {metric['of']} over an episode)"


def _bound(constraint: dict[str, Any]) -> str:
    most = constraint.get("at_most")
    return f"{_metric(constraint['metric'])} at {'most' if most is not None else 'least'} {most if most is not None else constraint.get('at_least')}"


def _confirmation(run: Run, data: dict[str, Any]) -> str:
    final = data["final"]
    if not final:
        return (
            f"<h2>Not finished</h2><p>Go on: <code>autoreward resume {_(data['path'])}</code></p>"
        )
    if not final["winner"]:
        return f"<h2>No program came through</h2><p>{_(final['why'])}</p>"
    rows, card = [], run.header.card
    for arm, result in final["arms"].items():
        value = _share(result, card)
        bar = (
            f"<span class='bar'><span style='width:{100 * value:.0f}%;background:{COLOURS.get(arm, '#888')}'></span></span>"
            if value is not None
            else ""
        )
        seeds = " ".join(_by_seed(s) for s in result["scores"])
        rows.append(
            f"<tr><td>{_(called(arm, data))}</td><td>{bar}</td><td>{_(rate(result))}</td><td class='number'>{seeds}</td></tr>"
        )
    counted = "success" if card.get("success") else "metric"
    hints = "<p class='muted'>The card's hints were used.</p>" if data["hints_used"] else ""
    return (
        f"<h2>Confirmed on new seeds and new episodes</h2><p>Winner: program {_(final['winner'])}. Intervals are 95%, over training seeds.</p>"
        f"<table><tr><th>reward</th><th></th><th>{counted} (95% interval)</th><th class='number'>by seed</th></tr>{''.join(rows)}</table>{hints}{_chart(run, data)}"
    )


def _share(result: dict[str, Any], card: dict[str, Any]) -> float | None:
    """How long a bar is drawn: success, or where the metric lies in its range."""
    if result.get("success") is not None or result.get("metric") is None:
        return result.get("success")
    low, high = card["metric"]["range"]
    return min(1.0, max(0.0, (result["metric"] - low) / (high - low)))


def _by_seed(score: dict[str, Any]) -> str:
    if score.get("successes") is not None:
        return f"{score['successes'] / score['episodes']:.2f}"
    return f"{np.mean(score['values']):.4g}" if score.get("values") else "-"


def _curves(folder: Path, column: str) -> list[tuple[Any, Any]]:
    found = []
    for training in training_folders(folder):
        if not training.curve_path.exists():
            continue
        data = read_arrays(training.curve_path)
        if column in data and (keep := np.isfinite(data[column])).any():
            found.append((data["steps"][keep], data[column][keep]))
    return found


def _chart(run: Run, data: dict[str, Any]) -> str:
    """Success (or the metric) of training episodes over steps: mean over seeds, and the range of
    the seeds.
    """
    card = run.header.card
    column = "success" if card.get("success") else "metric"
    bottom, ceiling = (0.0, 1.0) if card.get("success") else card["metric"]["range"]
    arms = {name: _curves(run.final_trainings_path(name), column) for name in COLOURS}
    arms = {name: curves for name, curves in arms.items() if curves}
    if not arms:
        return ""
    most = max(float(c[0][-1]) for curves in arms.values() for c in curves)
    wide, high, left, top = 760.0, 240.0, 46.0, 14.0

    def place(x: float, y: float) -> str:
        share = min(1.0, max(0.0, (y - bottom) / (ceiling - bottom)))
        return f"{left + x / most * wide:.1f},{top + (1 - share) * high:.1f}"

    def label(tick: float) -> str:
        return f"{tick:.0%}" if column == "success" else f"{bottom + tick * (ceiling - bottom):.4g}"

    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = top + (1 - tick) * high
        parts.append(
            f"<line x1='{left}' x2='{left + wide}' y1='{y:.1f}' y2='{y:.1f}' stroke='#e8ecee'/><text x='4' y='{y + 4:.1f}'>{label(tick)}</text>"
        )
    for tick in np.linspace(0, most, 6):
        parts.append(
            f"<text x='{left + tick / most * wide:.1f}' y='{top + high + 18}' text-anchor='middle'>{tick / 1000:.0f}k</text>"
        )
    legend = []
    for k, (name, curves) in enumerate(arms.items()):
        grid = np.linspace(0, max(float(c[0][-1]) for c in curves), 120)
        values = np.stack(
            [np.interp(grid, x, y, left=0.0 if card.get("success") else None) for x, y in curves]
        )
        mean, low, highest = values.mean(0), values.min(0), values.max(0)
        around = (
            " ".join(place(x, y) for x, y in zip(grid, highest, strict=True))
            + " "
            + " ".join(place(x, y) for x, y in zip(grid[::-1], low[::-1], strict=True))
        )
        line = " ".join(place(x, y) for x, y in zip(grid, mean, strict=True))
        colour = COLOURS[name]
        parts.append(
            f"<polygon points='{around}' fill='{colour}' opacity='.14'/><polyline points='{line}' fill='none' stroke='{colour}' stroke-width='2'/>"
        )
        legend.append(
            f"<rect x='{left + 10 + 110 * k}' y='{top + high + 30}' width='14' height='4' fill='{colour}'/><text x='{left + 30 + 110 * k}' y='{top + high + 36}'>{called(name, data)}</text>"
        )
    return (
        f"<svg viewBox='0 0 {left + wide + 20} {top + high + 48}' width='100%' role='img' aria-label='{column} over steps'>{''.join(parts)}{''.join(legend)}</svg>"
        f"<p class='muted'>{column.capitalize()} of training episodes over environment steps: mean and range over training seeds. A curve ends where the training was stopped as solved.</p>"
    )


def _program(data: dict[str, Any], run: Run) -> str:
    final = run.final
    if not final or not final.winner:
        return ""
    hidden = "".join(
        f"<p>{_(line.removeprefix('terms').strip().capitalize())}.</p>" for line in seeing(data)
    )
    return f"<h2>The winning program</h2><pre>{_(final.program)}</pre>{hidden}"


def _origin(data: dict[str, Any]) -> str:
    told = "\n".join(lines(data["origin"], rate)).strip()
    return f"<h2>Where it began</h2><pre>{_(told)}</pre>" if told else ""


def _candidates(run: Run, data: dict[str, Any]) -> str:
    rows = []
    for folder, c in zip(run.candidates(), data["candidates"], strict=True):
        notes = [
            *([c["why"]] if c["why"] else []),
            *c["signal"],
            *(f"judged as the card's own subgoals: {m}" for m in c["measures"]),
            *c["findings"],
            *(f"cause: {x}" for x in c["causes"]),
            *(f"warning: {w}" for w in c["warnings"]),
        ]
        drafts = "".join(
            f"<li>refused at {_(r.stage)}: {_('; '.join(v.message for v in r.verdicts if v.severity == 'refuse'))}</li>"
            for r in folder.rejected_drafts()
        )
        listed = "".join(f"<li>{_(n)}</li>" for n in notes) + drafts
        code = (
            f"<details><summary>program</summary><pre>{_(folder.program)}</pre></details>"
            if folder.program
            else ""
        )
        told = rate(c) if c["success"] is not None or c["metric"] is not None else c["state"]
        rows.append(
            f"<tr><td>{_(c['id'])}</td><td>{_(c['state'])}</td><td>{_(told)}</td><td><ul>{listed}</ul>{code}</td></tr>"
        )
    return f"<h2>Every candidate</h2><table><tr><th></th><th>state</th><th>in the search</th><th>what became of it</th></tr>{''.join(rows)}</table>"


def _about(run: Run, data: dict[str, Any]) -> str:
    usage, header = data["usage"], run.header
    price = "unknown" if usage["cost"] is None else f"${usage['cost']:.4f}"
    versions = ", ".join(f"{k} {v}" for k, v in header.versions.items())
    lines = [
        f"model calls {usage['calls']}, tokens {usage['prompt_tokens'] + usage['completion_tokens']:,}, price {price}",
        f"method {header.method}; {header.iterations} iterations of {header.candidates} candidates; sandbox {header.sandbox}",
        *(f"{part}: {why}" for part, why in data["alone"].items()),
        f"card {header.card_digest}; {versions}",
    ]
    return (
        "<h2>About this run</h2><ul>"
        + "".join(f"<li>{_(line)}</li>" for line in lines)
        + f"</ul><p>The same again: <code>autoreward design {_(header.task)} --seed {header.seed}</code></p>"
    )
