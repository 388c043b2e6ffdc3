"""Typed findings about a trained agent, by code, from recorded episodes and its reward's terms.

Kinds: docs/diagnostics.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autoreward.state import Array
from autoreward.store.episodes import Trajectories
from autoreward.store.records import Citation, Diagnostic, EpisodeGroup, Evaluation, TrainingDone
from autoreward.tasks.card import TaskCard
from autoreward.tasks.criteria import all_hold

# changes of a flag per episode from which it is being toggled
FLAG_TOGGLES = 4.0
MOST = 0.5


@dataclass(frozen=True)
class DiagnosisInput:
    """Recorded episodes and, for each, the values (T, k) of the terms in `names`."""

    card: TaskCard
    recorded: Trajectories
    names: tuple[str, ...]
    terms: list[Array]

    def indices(self, success: bool) -> list[int]:
        return [k for k, e in enumerate(self.recorded.episodes) if e.success == success]

    def sums(self, episodes: list[int]) -> Array:
        """(k,) mean sum per episode of every term."""
        return (
            np.mean([self.terms[k].sum(0) for k in episodes], axis=0)
            if episodes
            else np.zeros(len(self.names))
        )


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
    """Statistics of the successful, or the unsuccessful episodes; None where there are none."""
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
    found = []
    for field in card.fields:
        if field.reward:
            start, end, shape = card.layout.slices[field.name]
            for k in range(start, end):
                place = (
                    "".join(f"[{i}]" for i in np.unravel_index(k - start, shape)) if shape else ""
                )
                found.append((field.name + place, k))
    return found[:40]


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
    """Failing episodes: ended early; or ran to the limit, with a term that paid for staying, or
    that had been earned long before.
    """
    failures = evidence.indices(False)
    episodes = evidence.recorded.episodes
    if not failures:
        return []
    share = len(failures) / len(episodes)
    early = [k for k in failures if episodes[k].terminated]
    late = [k for k in failures if episodes[k].truncated]
    found = []
    if len(early) > MOST * len(failures):
        steps = np.mean([episodes[k].length for k in early])
        evidence_ = tuple(
            Citation(
                episode=k, step=episodes[k].length, claim="ended without success", checked=True
            )
            for k in early[:3]
        )
        found.append(
            Diagnostic(
                kind="early-failure",
                severity=share,
                words=f"{len(early)} of {len(failures)} failing episodes end early, after {steps:.0f} steps",
                evidence=evidence_,
            )
        )
    if len(late) <= MOST * len(failures) or not evidence.names:
        return found
    sums = evidence.sums(late)
    successes = evidence.indices(True)
    better = evidence.sums(successes) if successes else None
    for j, name in enumerate(evidence.names):
        if sums[j] <= 0:
            continue
        steady = np.mean([_last_half(evidence.terms[k][:, j]) for k in late])
        cited = tuple(
            Citation(
                episode=k,
                step=_earned(evidence.terms[k][:, j]),
                claim=f"{name} has earned 90% of its sum by here",
                checked=True,
            )
            for k in late[:3]
        )
        if steady > 0.35 and (better is None or sums[j] >= better[j]):
            words = f"failing episodes run to the limit while {name!r} goes on paying ({sums[j]:.3g} an episode, {steady:.0%} of it in the second half)"
            found.append(
                Diagnostic(kind="stalling", term=name, severity=share, words=words, evidence=cited)
            )
        elif steady < 0.2 and sums[j] > 0.1:
            words = f"failing episodes earn {name!r} ({sums[j]:.3g}) early, and then stay where it is highest until the limit"
            found.append(
                Diagnostic(
                    kind="hovering", term=name, severity=share * 0.9, words=words, evidence=cited
                )
            )
    return found


def _last_half(values: Array) -> float:
    """Share of a term's positive pay that falls into the second half of the episode."""
    gains = np.maximum(values, 0)
    return float(gains[len(gains) // 2 :].sum() / max(gains.sum(), 1e-12))


def _earned(values: Array) -> int:
    total = np.cumsum(np.maximum(values, 0))
    return int(np.searchsorted(total, 0.9 * total[-1])) + 1


def _terms(evidence: DiagnosisInput, training: list[TrainingDone]) -> list[Diagnostic]:
    """Terms that never moved, that drown the others, that cost more than success is worth."""
    everyone = list(range(len(evidence.recorded.episodes)))
    if not everyone or not evidence.names:
        return []
    sizes = np.mean([np.abs(evidence.terms[k]).sum(0) for k in everyone], axis=0)
    sums, total, found = evidence.sums(everyone), float(sizes.sum()) or 1.0, []
    at_first = {t.name: t.first_window_sum for t in training[0].terms} if training else {}
    for j, name in enumerate(evidence.names):
        if sizes[j] == 0 and at_first.get(name):
            # it has done its work: the trained agent no longer meets it
            continue
        if sizes[j] == 0:
            found.append(
                Diagnostic(
                    kind="silent-term",
                    term=name,
                    severity=0.3,
                    words=f"{name!r} was 0 in every recorded episode",
                )
            )
        elif sizes[j] > 20 and sizes[j] > 0.9 * total:
            found.append(
                Diagnostic(
                    kind="swamping",
                    term=name,
                    severity=0.6,
                    words=f"{name!r} moves {sizes[j]:.3g} an episode, {sizes[j] / total:.0%} of all terms, against a success bonus of 1",
                )
            )
        elif sums[j] < -3 and np.max([evidence.terms[k][:, j].max() for k in everyone]) <= 0:
            found.append(
                Diagnostic(
                    kind="costly",
                    term=name,
                    severity=0.4,
                    words=f"{name!r} costs {-sums[j]:.3g} an episode, more than success pays",
                )
            )
    return found


def _toggled(evidence: DiagnosisInput) -> list[Diagnostic]:
    found = []
    failing = evidence.indices(False)
    for name, column in _columns(evidence.card):
        if not failing or not _is_flag(evidence.card, name):
            continue
        changes = float(
            np.mean(
                [
                    (np.diff(evidence.recorded.episodes[k].fields[:, column]) != 0).sum()
                    for k in failing
                ]
            )
        )
        if changes >= FLAG_TOGGLES:
            words = f"{name} changes {changes:.0f} times in a failing episode"
            cited = tuple(
                Citation(episode=k, field=name, claim="toggled again and again", checked=True)
                for k in failing[:3]
            )
            found.append(
                Diagnostic(
                    kind="loop-farming", fields=(name,), severity=0.5, words=words, evidence=cited
                )
            )
    return found


def _pace(evaluation: Evaluation, training: list[TrainingDone]) -> list[Diagnostic]:
    if evaluation.success is None or not training:
        return []
    done = training[0]
    if evaluation.success == 0:
        return [
            Diagnostic(kind="never-succeeds", severity=1.0, words="no evaluation episode succeeded")
        ]
    if evaluation.success >= 0.8 and done.steps_to_80 and done.steps_to_80 > MOST * done.budget:
        return [
            Diagnostic(
                kind="slow",
                severity=0.2,
                words=f"80% was reached only after {done.steps_to_80} of {done.budget} steps",
            )
        ]
    return []


def _touched(evidence: DiagnosisInput) -> list[Diagnostic]:
    """First touch of the goal where touching it is not enough (success that must hold at the end)."""
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
            claim="the success condition holds here, and not at the end",
            checked=True,
        )
        for k, s in touched[:3]
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

    Computed from hints, and marked so.
    """
    failing = evidence.indices(False)
    found = []
    for hint in evidence.card.hints:
        if not hint.subgoals or not failing:
            continue
        furthest = []
        for k in failing:
            states, at = evidence.recorded.states(k), 0
            start = 0
            for sub in hint.subgoals:
                held = np.flatnonzero(all_hold(sub.when, states)[start:])
                if not len(held):
                    break
                at, start = at + 1, start + int(held[0])
            furthest.append(at)
        counts = [sum(f == n for f in furthest) for n in range(len(hint.subgoals) + 1)]
        stuck = int(np.argmax(counts))
        missing = hint.subgoals[stuck].name if stuck < len(hint.subgoals) else "success itself"
        words = f"{counts[stuck]} of {len(failing)} failing episodes reach {stuck} of {len(hint.subgoals)} subgoals and miss {missing}"
        found.append(
            Diagnostic(kind="furthest-subgoal", severity=0.8, words=words, from_hints=True)
        )
    return found
