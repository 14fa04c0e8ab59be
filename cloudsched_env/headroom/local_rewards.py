"""Local rewards against the team reward: how they correlate, and what maximising them alone does.

Were the two the same, credit assignment would be no problem; were they unrelated, local rewards would be no help.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.agents.linear import LinearParameters, linear_agent
from cloudsched_env.headroom.bench import Bench
from cloudsched_env.headroom.families import block, deviations, make_linear
from cloudsched_env.headroom.knockout import ROLES
from cloudsched_env.headroom.policies import parameters_of
from cloudsched_env.headroom.settings import HeadroomSettings
from cloudsched_env.headroom.tuning import Played, Search, tune
from cloudsched_env.vector import CloudSchedVectorEnv
from cloudsched_env.workload.episode import Episode

__all__ = ["RewardTrace", "episode_correlations", "study_local_rewards"]

Floats = NDArray[np.float64]


class RewardTrace:
    """Collects the rewards of every counted step of the episodes that one agent plays; a `Watch` of a player.

    Args:
        warmup_steps: first steps of each episode, which are left out.
    """

    def __init__(self, warmup_steps: int) -> None:
        self._warmup = warmup_steps
        self._batches: dict[int, list[tuple[Floats, dict[str, Floats]]]] = {}

    def __call__(self, env: CloudSchedVectorEnv, first: int) -> None:
        """Take down the rewards of the step that was just made."""
        local = {role: values.sum(axis=1, dtype=np.float64) for role, values in env.local_rewards.items()}
        self._batches.setdefault(first, []).append((env.team_reward.astype(np.float64), local))

    def _counted(self) -> list[list[tuple[Floats, dict[str, Floats]]]]:
        return [self._batches[first][self._warmup :] for first in sorted(self._batches)]

    @property
    def team(self) -> Floats:
        """Team reward, ``[episodes, counted steps]``."""
        return np.concatenate([np.stack([team for team, _ in rows], axis=1) for rows in self._counted()])

    def local(self, role: str) -> Floats:
        """Sum of the local rewards of a role's agents, ``[episodes, counted steps]``."""
        return np.concatenate([np.stack([local[role] for _, local in rows], axis=1) for rows in self._counted()])


def episode_correlations(first: Floats, second: Floats, steps: int) -> list[float | None]:
    """Pearson correlation within each episode, of averages over consecutive blocks of steps.

    Args:
        first: ``[episodes, steps]``.
        second: ``[episodes, steps]``.
        steps: length of a block; steps at the end that fill none are left out.

    Returns:
        One number for each episode; None where one of the two does not vary.
    """
    blocks = first.shape[1] // steps
    correlations: list[float | None] = []
    for x, y in zip(first, second, strict=True):
        a, b = (v[: blocks * steps].reshape(blocks, steps).mean(axis=1) for v in (x, y))
        varies = blocks > 1 and a.std() > 0 and b.std() > 0
        correlations.append(float(np.corrcoef(a, b)[0, 1]) if varies else None)
    return correlations


def study_local_rewards(
    bench: Bench, settings: HeadroomSettings, feedback: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    """Correlations under the feedback policy, and each role's parameters tuned for its own local reward.

    The roles take turns: each searches over its own block of weights for the highest mean local reward of its agents
    (train windows, best centre on validation windows), the others' weights being what they have become. A role's agents
    share weights, so that selfishness is of roles, not of single agents.

    Returns:
        ``correlation``: of the sum over all agents and of each role, in steps and in averages over one second;
        ``turns``: team reward and local reward of each role (mean over its agents) on test windows, before and after
        each turn.
    """
    episodes = bench.episodes("test", settings.episodes)
    policy = parameters_of(feedback)
    bench.progress.begin("local rewards", len(episodes))
    trace = _trace(bench, policy, episodes)
    bench.progress.advance(len(episodes))
    second = max(1, round(1.0 / bench.scenario.time.step_s))
    sums = {role: trace.local(role) for role in ROLES}
    sums["all"] = sum(sums.values())  # type: ignore[assignment]
    correlation = {
        name: {
            "step": episode_correlations(values, trace.team, 1),
            "second": episode_correlations(values, trace.team, second),
        }
        for name, values in sums.items()
    }
    turns = [_state(bench, trace, "start")]
    for turn in range(settings.selfish_rounds):
        for role in ROLES:
            policy = _selfish(bench, settings, policy, role, folder / f"{turn}-{role}")
            turns.append(_state(bench, _trace(bench, policy, episodes), f"{role}, round {turn + 1}"))
    return {"correlation": correlation, "turns": turns}


def _trace(bench: Bench, policy: LinearParameters, episodes: Sequence[Episode]) -> RewardTrace:
    trace = RewardTrace(bench.scenario.time.warmup_steps)
    bench.player.records(linear_agent("feedback", policy), episodes, bench.seed, trace)
    return trace


def _state(bench: Bench, trace: RewardTrace, after: str) -> dict[str, Any]:
    counts = bench.scenario.role_counts
    return {
        "after": after,
        "team_reward": trace.team.mean(axis=1).tolist(),
        "local_reward": {role: (trace.local(role).mean(axis=1) / counts[role]).tolist() for role in ROLES},
    }


def _selfish(
    bench: Bench, settings: HeadroomSettings, policy: LinearParameters, role: str, folder: Path
) -> LinearParameters:
    """The policy with one role's block of weights tuned for that role's local reward."""
    train = bench.episodes("train", settings.train_windows)
    validation = bench.episodes("validation", settings.validation_windows)
    search = Search(
        generations=settings.selfish_generations,
        population=settings.population,
        elite_share=settings.elite_share,
        windows=settings.windows,
        pool=len(train),
        validate_every=settings.validate_every,
        seed=settings.seed,
    )
    wide = np.where(block(policy, role), settings.refinement * deviations(policy, settings), 0.0)
    bench.progress.begin(f"selfish {role}", search.generations * search.population * search.windows)
    tuned = tune(policy.to_vector(), wide, _plays_local(bench, policy, role, train, validation), search, folder)
    return replace(LinearParameters.from_vector(policy.kind, tuned.vector, policy.origin), origin=f"selfish {role}")


def _plays_local(
    bench: Bench, policy: LinearParameters, role: str, train: Sequence[Episode], validation: Sequence[Episode]
) -> Played:
    """Local reward of a role, mean over its agents and counted steps, of each policy on each window."""

    def played(vectors: Floats, places: Sequence[int] | None, seed: int) -> Floats:
        episodes = validation if places is None else [train[place] for place in places]

        def one(vector: Floats) -> Floats:
            trace = RewardTrace(bench.scenario.time.warmup_steps)
            make = make_linear("selfish", LinearParameters.from_vector(policy.kind, vector, "search"))
            bench.player.records(make(), episodes, seed, trace)
            return trace.local(role).mean(axis=1) / bench.scenario.role_counts[role]

        return np.array(bench.player.map(one, vectors, partial(bench.progress.advance, len(episodes))))

    return played
