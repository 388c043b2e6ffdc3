"""report.html: one offline page about a run.

Charts are inline SVG, all text is escaped, nothing is loaded and no script runs.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from autoreward.results.chart import COLOURS, learning_curves
from autoreward.results.origin import origin_lines
from autoreward.results.scores import (
    agent_name,
    calls_words,
    score_words,
    seed_words,
)
from autoreward.results.summary import (
    annotator_lines,
    is_scored,
    summary,
    unseen_field_lines,
)
from autoreward.store.candidate import CandidateFolder
from autoreward.store.io import write
from autoreward.store.records import Evaluation
from autoreward.store.run import Run

# characters of one text
MAX_TEXT = 20_000
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2428; max-width: 960px; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; }
h2 { font-size: 1.1rem; margin-top: 2rem; border-bottom: 1px solid #dde3e6;
  padding-bottom: .2rem; }
.muted { color: #66737a; }
pre { background: #f5f7f8; padding: .8rem; overflow-x: auto; font-size: 13px; line-height: 1.4;
  border-radius: 4px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #e8ecee;
  vertical-align: top; }
th { font-weight: 600; color: #455056; white-space: nowrap; }
.number { text-align: right; white-space: nowrap; }
.score { min-width: 11em; }
.bar { background: #e8ecee; height: 8px; width: 120px; display: inline-block;
  border-radius: 4px; }
.bar span { background: #0b6e4f; height: 8px; display: block; border-radius: 4px; }
.warn { background: #fff4e0; border-left: 4px solid #c8782a; padding: .5rem .8rem; }
ul { margin: .2rem 0; padding-left: 1.1rem; }
svg { margin-top: 1rem; }
svg text { font: 12px system-ui, sans-serif; fill: #455056; }
details summary { cursor: pointer; }
"""


def write_report(path: Path) -> Path:
    """Write RUN/report.html from the run's files, and return its path."""
    run = Run(path)
    data = summary(path)
    head = (
        "<meta charset='utf-8'>"
        f"<title>{_escape(data['name'])}</title>"
        "<meta name='viewport' content='width=device-width'>"
        f"<style>{STYLE}</style>"
    )
    parts = [
        _heading(run, data),
        _confirmation(run, data),
        _program(run, data),
        _origin(data),
        _candidates(run, data),
        _about(run, data),
    ]
    body = "\n".join(parts)
    page = f"<!doctype html><html lang='en'><head>{head}</head><body>{body}</body></html>\n"
    write(run.report_path, page)
    return run.report_path


# -- pieces of HTML --------------------------------------------------------------------------------


def _escape(text: Any) -> str:
    """Text as HTML, without control characters."""
    from autoreward.sandbox.outside.worker import clean

    return html.escape(clean(str(text), MAX_TEXT))


def _bullets(items: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{_escape(item)}</li>" for item in items) + "</ul>"


def _row(cells: Iterable[str]) -> str:
    return f"<tr>{''.join(cells)}</tr>"


def _table(headings: Iterable[str], rows: Iterable[str]) -> str:
    return f"<table>{_row(headings)}{''.join(rows)}</table>"


# -- sections --------------------------------------------------------------------------------------


def _heading(run: Run, data: dict[str, Any]) -> str:
    """Title, settings, the task and what counts."""
    card = run.header.card
    settings = ", ".join(
        [
            f"run {data['name']}",
            data["model"],
            data["method"],
            f"seed {data['seed']}",
            data["state"],
        ]
    )
    parts = [
        f"<h1>{_escape(card.get('title', data['task']))}</h1>",
        f"<p class='muted'>{_escape(settings)}</p>",
    ]
    if data["sandbox"] != "default":
        parts.append(
            "<p class='warn'>Reward programs ran with the sandbox profile "
            f"<b>{_escape(data['sandbox'])}</b>.</p>"
        )
    parts += [f"<p>{_escape(line)}</p>" for line in annotator_lines(data)]
    parts.append(f"<p>{_escape(card.get('description', ''))}</p>")
    parts.append(f"<p>{'<br>'.join(_what_counts(card))}</p>")
    return "".join(parts)


def _what_counts(card: dict[str, Any]) -> list[str]:
    """Success, metric and constraints of the card."""
    lines = []
    success = card.get("success")
    if success:
        lines.append(f"<b>Success:</b> {_escape(success.get('means') or 'see the card')}")
    metric = card.get("metric")
    if metric:
        goal = metric.get("direction", "maximize")
        lines.append(f"<b>Metric to {_escape(goal)}:</b> {_escape(_metric(metric))}")
    for constraint in card.get("constraints") or ():
        lines.append(f"<b>Constraint:</b> {_escape(_constraint(constraint))}")
    return lines


def _metric(metric: dict[str, Any]) -> str:
    reduced = metric.get("reduce", "sum")
    return f"{metric['name']} ({reduced} of {metric['of']} over an episode)"


def _constraint(constraint: dict[str, Any]) -> str:
    name = _metric(constraint["metric"])
    at_most = constraint.get("at_most")
    if at_most is not None:
        return f"{name} at most {at_most}"
    return f"{name} at least {constraint.get('at_least')}"


def _confirmation(run: Run, data: dict[str, Any]) -> str:
    """The winner beside its baselines, and their learning curves."""
    final = data["final"]
    if not final:
        command = f"<code>autoreward resume {_escape(data['path'])}</code>"
        return f"<h2>Not finished</h2><p>To continue: {command}</p>"
    if not final["winner"]:
        return f"<h2>No program passed</h2><p>{_escape(final['why'])}</p>"
    card = run.header.card
    counted = "success" if card.get("success") else "metric"
    headings = [
        "<th>agent</th>",
        "<th></th>",
        f"<th>{counted} (95% interval)</th>",
        "<th class='number'>by seed</th>",
    ]
    rows = [_agent_row(agent, result, data, card) for agent, result in final["arms"].items()]
    parts = [
        "<h2>Confirmed on new seeds and new episodes</h2>",
        f"<p>Winner: program {_escape(final['winner'])}. Intervals are over training seeds.</p>",
        _table(headings, rows),
    ]
    if data["hints_used"]:
        parts.append("<p class='muted'>The card's hints were used.</p>")
    parts.append(learning_curves(run))
    return "".join(parts)


def _agent_row(
    agent: str,
    result: dict[str, Any],
    data: dict[str, Any],
    card: dict[str, Any],
) -> str:
    bar = ""
    share = _bar_share(result, card)
    if share is not None:
        style = f"width:{100 * share:.0f}%;background:{COLOURS.get(agent, '#888')}"
        bar = f"<span class='bar'><span style='{style}'></span></span>"
    scores = Evaluation.model_validate(result).scores
    seeds = " ".join(seed_words(score) for score in scores)
    name = agent_name(agent, data["own_reward"])
    return _row(
        [
            f"<td>{_escape(name)}</td>",
            f"<td>{bar}</td>",
            f"<td>{_escape(score_words(result))}</td>",
            f"<td class='number'>{seeds}</td>",
        ]
    )


def _bar_share(result: dict[str, Any], card: dict[str, Any]) -> float | None:
    """How much of a bar is filled: success, or the metric's place in its range."""
    success: float | None = result.get("success")
    if success is not None or result.get("metric") is None:
        return success
    low, high = card["metric"]["range"]
    share: float = (result["metric"] - low) / (high - low)
    return min(1.0, max(0.0, share))


def _program(run: Run, data: dict[str, Any]) -> str:
    final = run.final
    if not final or not final.winner:
        return ""
    notes = ""
    for line in unseen_field_lines(data):
        text = line.removeprefix("terms").strip().capitalize()
        notes += f"<p>{_escape(text)}.</p>"
    return f"<h2>The winning program</h2><pre>{_escape(final.program)}</pre>{notes}"


def _origin(data: dict[str, Any]) -> str:
    text = "\n".join(origin_lines(data["origin"])).strip()
    return f"<h2>Starting point</h2><pre>{_escape(text)}</pre>" if text else ""


def _candidates(run: Run, data: dict[str, Any]) -> str:
    """Every candidate with its score in the search, what was found, and its program."""
    headings = [
        "<th></th>",
        "<th>state</th>",
        "<th>score in the search</th>",
        "<th>findings</th>",
    ]
    rows = []
    for folder, candidate in zip(run.candidates(), data["candidates"], strict=True):
        rows.append(_candidate_row(folder, candidate))
    return f"<h2>All candidates</h2>{_table(headings, rows)}"


def _candidate_row(folder: CandidateFolder, candidate: dict[str, Any]) -> str:
    notes = [candidate["why"]] if candidate["why"] else []
    notes += candidate["signal"]
    for measure in candidate["measures"]:
        notes.append(f"compared with the card's own subgoals: {measure}")
    notes += candidate["findings"]
    notes += [f"cause: {cause}" for cause in candidate["causes"]]
    notes += [f"warning: {warning}" for warning in candidate["warnings"]]
    for draft in folder.rejected_drafts():
        reasons = "; ".join(v.message for v in draft.verdicts if v.severity == "refuse")
        notes.append(f"draft rejected at {draft.stage}: {reasons}")
    program = ""
    if folder.program:
        code = f"<pre>{_escape(folder.program)}</pre>"
        program = f"<details><summary>program</summary>{code}</details>"
    score = score_words(candidate) if is_scored(candidate) else "-"
    return _row(
        [
            f"<td>{_escape(candidate['id'])}</td>",
            f"<td>{_escape(candidate['state'])}</td>",
            f"<td class='score'>{_escape(score)}</td>",
            f"<td>{_bullets(notes) if notes else ''}{program}</td>",
        ]
    )


def _about(run: Run, data: dict[str, Any]) -> str:
    """Costs, settings and versions, and the command that repeats the run."""
    header = run.header
    versions = ", ".join(f"{name} {version}" for name, version in header.versions.items())
    lines = [
        f"model {calls_words(data['usage'])}",
        f"method {header.method}; {header.iterations} iterations of {header.candidates} "
        f"candidates; sandbox {header.sandbox}",
        *(f"{agent}: {why}" for agent, why in data["alone"].items()),
        f"card {header.card_digest}; {versions}",
    ]
    command = f"autoreward design {header.task} --seed {header.seed}"
    return (
        f"<h2>About this run</h2>{_bullets(lines)}"
        f"<p>To repeat it: <code>{_escape(command)}</code></p>"
    )
