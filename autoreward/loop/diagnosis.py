"""Typed findings about a trained agent, by code, from recorded episodes and its reward's terms.

The kinds are listed in docs/diagnostics.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autoreward.state import Array, State
from autoreward.store.episodes import Trajectories
from autoreward.store.records import Citation, Diagnostic, EpisodeGroup, Evaluation, TrainingDone
from autoreward.tasks.card import TaskCard
from autoreward.tasks.criteria import all_hold
from autoreward.tasks.hints import Subgoal

# Changes of a flag per episode from which it is being toggled.
FLAG_TOGGLES = 4.0
# Share of failing episodes, or of the training budget, above which a finding is made.
MAJORITY = 0.5
# Shares of a term's pay in the second half of an episode: it keeps paying, or was earned early.
STEADY_SHARE = 0.35
EARLY_SHARE = 0.2
# Sums per episode: below it an early term is not worth staying for; above it a term may swamp the
# others; above it a price costs more than success is worth.
MIN_EARLY_SUM = 0.1
MAX_SIZE = 20
MAX_COST = 3
SWAMPING_SHARE = 0.9
# Numbers of the state that are described, and episodes that are cited.
MAX_COLUMNS = 40
MAX_CITED = 3


@dataclass(frozen=True)
class DiagnosisInput:
    """Recorded episodes and, for each, the values (T, k) of the terms in `names`."""

    card: TaskCard
    recorded: Trajectories
    names: tuple[str, ...]
    terms: list[Array]

    def indices(self, success: bool) -> list[int]:
        """The numbers of the episodes that succeeded, or of those that did not."""
        return [k for k, e in enumerate(self.recorded.episodes) if e.success == success]

    def sums(self, episodes: list[int]) -> Array:
        """(k,) the mean sum of every term over these episodes."""
        if not episodes:
            return np.zeros(len(self.names))
        return np.mean([self.terms[k].sum(0) for k in episodes], axis=0)


def endings(evidence: DiagnosisInput) -> dict[str, float]:
    """Shares of success, failure (ended early without success), limit; and the mean length."""
    episodes = evidence.recorded.episodes
    n = max(1, len(episodes))
    return {
        "success": sum(e.success for e in episodes) / n,
        "failure": sum(e.terminated and not e.success for e in episodes) / n,
        "limit": sum(e.truncated and not e.success for e in episodes) / n,
        "mean_length": float(np.mean([e.length for e in episodes])) if episodes else 0.0,
    }


def part(evidence: DiagnosisInput, success: bool) -> EpisodeGroup | None:
    """Statistics of the successful or the unsuccessful episodes; None if there are none."""
    chosen = evidence.indices(success)
    if not chosen:
        return None
    fields: dict[str, dict[str, float]] = {}
    flags: dict[str, dict[str, float]] = {}
    for name, column in _columns(evidence.card):
        series = [evidence.recorded.episodes[k].fields[:, column] for k in chosen]
        ends = np.array([s[-1] for s in series])
        fields[name] = {
            "end": float(ends.mean()),
            "end_std": float(ends.std()),
            "lowest": float(np.mean([s.min() for s in series])),
            "highest": float(np.mean([s.max() for s in series])),
        }
        if _is_flag(evidence.card, name):
            flags[name] = {
                "ever": float(np.mean([s.max() > 0 for s in series])),
                "changes": float(np.mean([(np.diff(s) != 0).sum() for s in series])),
            }
    sums = evidence.sums(chosen)
    length = float(np.mean([evidence.recorded.episodes[k].length for k in chosen]))
    return EpisodeGroup(
        episodes=len(chosen),
        mean_length=length,
        term_sums={n: float(v) for n, v in zip(evidence.names, sums, strict=True)},
        fields=fields,
        flags=flags,
    )


def _columns(card: TaskCard) -> list[tuple[str, int]]:
    """Names and columns of single numbers, such as `dock[0]`."""
    found = []
    for field in card.fields:
        if not field.reward:
            continue
        start, end, shape = card.layout.slices[field.name]
        for column in range(start, end):
            index = np.unravel_index(column - start, shape) if shape else ()
            found.append((field.name + "".join(f"[{i}]" for i in index), column))
    return found[:MAX_COLUMNS]


def _is_flag(card: TaskCard, name: str) -> bool:
    return any(f.name == name.split("[")[0] and f.unit == "flag" for f in card.fields)


def diagnose(
    evidence: DiagnosisInput, evaluation: Evaluation, training: list[TrainingDone]
) -> tuple[Diagnostic, ...]:
    """The findings, the most severe first."""
    found = [
        *_unfinished(evidence),
        *_terms(evidence, training),
        *_toggled(evidence),
        *_pace(evaluation, training),
        *_touched(evidence),
        *_subgoals(evidence),
    ]
    return tuple(sorted(found, key=lambda d: -d.severity))


def _unfinished(evidence: DiagnosisInput) -> list[Diagnostic]:
    """Failing episodes that end early, or run to the limit with a term that kept them there."""
    failures = evidence.indices(False)
    if not failures:
        return []

    episodes = evidence.recorded.episodes
    share = len(failures) / len(episodes)
    early = [k for k in failures if episodes[k].terminated]
    late = [k for k in failures if episodes[k].truncated]
    found = []
    if len(early) > MAJORITY * len(failures):
        found.append(_early_failure(evidence, early, len(failures), share))
    if len(late) > MAJORITY * len(failures):
        found += _kept_to_the_limit(evidence, late, share)
    return found


def _early_failure(
    evidence: DiagnosisInput, early: list[int], failures: int, share: float
) -> Diagnostic:
    episodes = evidence.recorded.episodes
    steps = np.mean([episodes[k].length for k in early])
    cited = tuple(
        Citation(episode=k, step=episodes[k].length, claim="ended without success", checked=True)
        for k in early[:MAX_CITED]
    )
    return Diagnostic(
        kind="early-failure",
        severity=share,
        words=f"{len(early)} of {failures} failing episodes end early, after {steps:.0f} steps",
        evidence=cited,
    )


def _kept_to_the_limit(evidence: DiagnosisInput, late: list[int], share: float) -> list[Diagnostic]:
    """Terms that pay for staying (`stalling`), or were earned long before the end (`hovering`)."""
    found = []
    sums = evidence.sums(late)
    successes = evidence.indices(True)
    better = evidence.sums(successes) if successes else None
    for j, name in enumerate(evidence.names):
        if sums[j] <= 0:
            continue
        values = [evidence.terms[k][:, j] for k in late]
        steady = np.mean([_last_half(v) for v in values])
        cited = tuple(
            Citation(
                episode=k,
                step=_earned(v),
                claim=f"{name} has earned 90% of its sum by here",
                checked=True,
            )
            for k, v in zip(late[:MAX_CITED], values, strict=False)
        )
        if steady > STEADY_SHARE and (better is None or sums[j] >= better[j]):
            words = (
                f"failing episodes run to the limit while {name!r} keeps paying "
                f"({sums[j]:.3g} per episode, {steady:.0%} of it in the second half)"
            )
            found.append(
                Diagnostic(kind="stalling", term=name, severity=share, words=words, evidence=cited)
            )
        elif steady < EARLY_SHARE and sums[j] > MIN_EARLY_SUM:
            words = (
                f"failing episodes earn {name!r} ({sums[j]:.3g}) early, and then stay where it is "
                "highest until the limit"
            )
            severity = share * 0.9
            found.append(
                Diagnostic(
                    kind="hovering", term=name, severity=severity, words=words, evidence=cited
                )
            )
    return found


def _last_half(values: Array) -> float:
    """Share of a term's positive pay that falls into the second half of the episode."""
    gains = np.maximum(values, 0)
    return float(gains[len(gains) // 2 :].sum() / max(gains.sum(), 1e-12))


def _earned(values: Array) -> int:
    """The step by which a term has paid 90% of what it pays in the episode."""
    total = np.cumsum(np.maximum(values, 0))
    return int(np.searchsorted(total, 0.9 * total[-1])) + 1


def _terms(evidence: DiagnosisInput, training: list[TrainingDone]) -> list[Diagnostic]:
    """Terms that never moved, that swamp the others, or that cost more than success is worth."""
    everyone = list(range(len(evidence.recorded.episodes)))
    if not everyone or not evidence.names:
        return []

    sizes = np.mean([np.abs(evidence.terms[k]).sum(0) for k in everyone], axis=0)
    sums = evidence.sums(everyone)
    total = float(sizes.sum()) or 1.0
    at_first = {t.name: t.first_window_sum for t in training[0].terms} if training else {}
    found = []
    for j, name in enumerate(evidence.names):
        if sizes[j] == 0:
            # A term that moved at first has done its work: the trained agent no longer meets it.
            if not at_first.get(name):
                words = f"{name!r} was 0 in every recorded episode"
                found.append(Diagnostic(kind="silent-term", term=name, severity=0.3, words=words))
        elif sizes[j] > MAX_SIZE and sizes[j] > SWAMPING_SHARE * total:
            words = (
                f"{name!r} moves {sizes[j]:.3g} per episode, {sizes[j] / total:.0%} of all terms, "
                "beside a success bonus of 1"
            )
            found.append(Diagnostic(kind="swamping", term=name, severity=0.6, words=words))
        elif sums[j] < -MAX_COST and _never_pays(evidence, j):
            words = f"{name!r} costs {-sums[j]:.3g} per episode, more than success pays"
            found.append(Diagnostic(kind="costly", term=name, severity=0.4, words=words))
    return found


def _never_pays(evidence: DiagnosisInput, term: int) -> bool:
    return bool(np.max([values[:, term].max() for values in evidence.terms]) <= 0)


def _toggled(evidence: DiagnosisInput) -> list[Diagnostic]:
    """Flags that failing episodes set and clear again and again."""
    failing = evidence.indices(False)
    if not failing:
        return []

    found = []
    for name, column in _columns(evidence.card):
        if not _is_flag(evidence.card, name):
            continue
        series = [evidence.recorded.episodes[k].fields[:, column] for k in failing]
        changes = float(np.mean([(np.diff(s) != 0).sum() for s in series]))
        if changes < FLAG_TOGGLES:
            continue
        words = f"{name} changes {changes:.0f} times in a failing episode"
        cited = tuple(
            Citation(episode=k, field=name, claim="toggled repeatedly", checked=True)
            for k in failing[:MAX_CITED]
        )
        found.append(
            Diagnostic(
                kind="loop-farming", fields=(name,), severity=0.5, words=words, evidence=cited
            )
        )
    return found


def _pace(evaluation: Evaluation, training: list[TrainingDone]) -> list[Diagnostic]:
    """An agent that never succeeds, or that learned late."""
    if evaluation.success is None or not training:
        return []
    done = training[0]
    if evaluation.success == 0:
        return [
            Diagnostic(kind="never-succeeds", severity=1.0, words="no evaluation episode succeeded")
        ]
    if evaluation.success >= 0.8 and done.steps_to_80 and done.steps_to_80 > MAJORITY * done.budget:
        return [
            Diagnostic(
                kind="slow",
                severity=0.2,
                words=f"80% was reached only after {done.steps_to_80} of {done.budget} steps",
            )
        ]
    return []


def _touched(evidence: DiagnosisInput) -> list[Diagnostic]:
    """Failing episodes that touch the goal, on a task whose success must hold at the end."""
    success = evidence.card.success
    if success is None or not success.when or success.latches:
        return []
    touched = []
    for k in evidence.indices(False):
        held = all_hold(success.when, evidence.recorded.states(k))
        if held.any():
            touched.append((k, int(np.argmax(held))))
    if not touched:
        return []
    cited = tuple(
        Citation(
            episode=k,
            step=s,
            claim="the success condition holds here, but not at the end",
            checked=True,
        )
        for k, s in touched[:MAX_CITED]
    )
    return [
        Diagnostic(
            kind="touched-not-held",
            severity=0.7,
            words=f"{len(touched)} failing episodes touch the goal and leave it",
            evidence=cited,
        )
    ]


def _subgoals(evidence: DiagnosisInput) -> list[Diagnostic]:
    """How far failing episodes come along the card's ordered subgoals.

    Computed from hints, and marked as such.
    """
    failing = evidence.indices(False)
    if not failing:
        return []

    found = []
    for hint in evidence.card.hints:
        if not hint.subgoals:
            continue
        reached = [_reached(evidence.recorded.states(k), hint.subgoals) for k in failing]
        counts = [reached.count(n) for n in range(len(hint.subgoals) + 1)]
        stuck = int(np.argmax(counts))
        missing = hint.subgoals[stuck].name if stuck < len(hint.subgoals) else "success itself"
        words = (
            f"{counts[stuck]} of {len(failing)} failing episodes reach {stuck} of "
            f"{len(hint.subgoals)} subgoals and miss {missing}"
        )
        found.append(
            Diagnostic(kind="furthest-subgoal", severity=0.8, words=words, from_hints=True)
        )
    return found


def _reached(states: State, subgoals: Sequence[Subgoal]) -> int:
    """How many subgoals an episode reaches, each at or after the one before."""
    start = 0
    for n, subgoal in enumerate(subgoals):
        held = np.flatnonzero(all_hold(subgoal.when, states)[start:])
        if not len(held):
            return n
        start += int(held[0])
    return len(subgoals)
