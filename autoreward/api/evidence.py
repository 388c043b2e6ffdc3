"""What somebody's own training of a candidate came to: what `Study.tell` takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from autoreward.seeds import SEED_BOUND
from autoreward.store.episodes import Episode


class Evidence(BaseModel):
    """One training of one candidate, scored on the true task.

    Give `outcomes`, or `successes` and `episodes`, or `failure`; the rest as you have it.

    The more there is, the more the next program is written from: curves and term sums are shown to
    the designer, recorded episodes are diagnosed by the analyzer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    outcomes: tuple[bool, ...] = Field(
        default=(), description="success of every episode that was scored"
    )
    successes: int | None = Field(default=None, ge=0, description="how many episodes succeeded")
    episodes: int | None = Field(default=None, gt=0, description="how many were scored")
    metrics: dict[str, float] = Field(
        default={}, description="means over episodes, by the card's names of metrics"
    )
    mean_length: float = Field(default=0.0, ge=0, description="steps of an episode")
    seed: int = Field(
        default=0, ge=0, lt=SEED_BOUND, description="of the training; told apart by it"
    )
    steps: int = Field(default=0, ge=0, description="environment steps that were trained")
    steps_to_80: int | None = Field(
        default=None, ge=0, description="steps until 80% of the training's episodes succeeded"
    )
    curve: tuple[tuple[int, float | None, float | None], ...] = Field(
        default=(), description="(steps, success rate, mean length) over the training"
    )
    terms: dict[str, float] = Field(
        default={}, description="mean sum of every term over an episode, at the training's end"
    )
    failure: str = Field(
        default="",
        max_length=1000,
        description="why the training failed, in words: a refused program, a diverged network",
    )
    trajectories: tuple[Episode, ...] = Field(
        default=(),
        exclude=True,
        repr=False,
        description="recorded episodes: autoreward.episode(...)",
    )

    @model_validator(mode="before")
    @classmethod
    def _finite(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for name, value in (
                (data.get("metrics") or {}).items() if isinstance(data.get("metrics"), dict) else ()
            ):
                if isinstance(value, (int, float)) and not np.isfinite(value):
                    raise ValueError(
                        f"metrics.{name} is not finite; a training that failed is told as failure='...'"
                    )
        return data

    @model_validator(mode="after")
    def _counts(self) -> Evidence:
        if self.outcomes and self.successes is not None:
            raise ValueError("give `outcomes`, or `successes` and `episodes`, not both")
        if self.outcomes and self.episodes not in (None, len(self.outcomes)):
            raise ValueError(
                f"episodes is {self.episodes}, and there are {len(self.outcomes)} outcomes"
            )
        if self.successes is not None and (self.episodes is None or self.successes > self.episodes):
            raise ValueError(
                f"successes is {self.successes}, episodes {self.episodes}: how many episodes were scored?"
            )
        if not (self.outcomes or self.episodes or self.failure):
            raise ValueError("tell `outcomes`, or `successes` and `episodes`, or `failure`")
        return self

    @property
    def won(self) -> int | None:
        return sum(self.outcomes) if self.outcomes else self.successes

    @property
    def count(self) -> int:
        return len(self.outcomes) or self.episodes or 0

    @property
    def rate(self) -> float | None:
        return self.won / self.count if self.won is not None and self.count else None
