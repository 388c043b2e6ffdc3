"""The outcome of your own training of a candidate: what `Study.tell` takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from autoreward.seeds import SEED_BOUND
from autoreward.store.episodes import Episode

MAX_FAILURE_CHARACTERS = 1000


class Evidence(BaseModel):
    """One training of one candidate, scored on the true task.

    Give `outcomes`, or `successes` and `episodes`, or `failure`; the rest as you have it. The more
    there is, the better the next program can be: curves and term sums are shown to the designer,
    and recorded episodes are diagnosed by the analyzer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    outcomes: tuple[bool, ...] = Field(default=(), description="success of each evaluated episode")
    successes: int | None = Field(default=None, ge=0, description="number of successful episodes")
    episodes: int | None = Field(default=None, gt=0, description="number of evaluated episodes")
    metrics: dict[str, float] = Field(
        default={}, description="means over episodes, by the card's names of metrics"
    )
    mean_length: float = Field(default=0.0, ge=0, description="mean steps per episode")
    seed: int = Field(
        default=0, ge=0, lt=SEED_BOUND, description="training seed; several trainings need several"
    )
    steps: int = Field(default=0, ge=0, description="environment steps trained")
    steps_to_80: int | None = Field(
        default=None, ge=0, description="steps until 80% of the training's episodes succeeded"
    )
    curve: tuple[tuple[int, float | None, float | None], ...] = Field(
        default=(), description="(steps, success rate, mean length) over the training"
    )
    terms: dict[str, float] = Field(
        default={}, description="mean sum of each term over an episode, at the end of training"
    )
    failure: str = Field(
        default="",
        max_length=MAX_FAILURE_CHARACTERS,
        description="why the training failed: a rejected program, a diverged network",
    )
    trajectories: tuple[Episode, ...] = Field(
        default=(),
        exclude=True,
        repr=False,
        description="recorded episodes: autoreward.Episode(...)",
    )

    @model_validator(mode="before")
    @classmethod
    def _require_finite_metrics(cls, data: Any) -> Any:
        metrics = data.get("metrics") if isinstance(data, dict) else None
        if not isinstance(metrics, dict):
            return data
        for name, value in metrics.items():
            if isinstance(value, (int, float)) and not np.isfinite(value):
                raise ValueError(
                    f"metrics.{name} is not finite; report a failed training as failure='...'"
                )
        return data

    @model_validator(mode="after")
    def _require_consistent_counts(self) -> Evidence:
        if self.outcomes and self.successes is not None:
            raise ValueError("give `outcomes`, or `successes` and `episodes`, not both")
        if self.outcomes and self.episodes not in (None, len(self.outcomes)):
            raise ValueError(
                f"episodes is {self.episodes}, but there are {len(self.outcomes)} outcomes"
            )
        if self.successes is not None and (self.episodes is None or self.successes > self.episodes):
            raise ValueError(
                f"successes is {self.successes} and episodes is {self.episodes}: "
                "how many episodes were evaluated?"
            )
        if not (self.outcomes or self.episodes or self.failure):
            raise ValueError("give `outcomes`, or `successes` and `episodes`, or `failure`")
        return self

    @property
    def won(self) -> int | None:
        """Number of successful episodes; None if success was not measured."""
        return sum(self.outcomes) if self.outcomes else self.successes

    @property
    def count(self) -> int:
        """Number of evaluated episodes."""
        return len(self.outcomes) or self.episodes or 0

    @property
    def rate(self) -> float | None:
        """Success rate; None if success was not measured."""
        if self.won is None or not self.count:
            return None
        return self.won / self.count
