"""What roles attend to while they run, recorded and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cloudsched_env.agents.protocol import ClusterInfo
from cloudsched_env.rllib.networks.agent import TrainedAgent
from cloudsched_env.rllib.networks.attention import AttentionOutput
from cloudsched_env.whole_file import beside

__all__ = ["AttentionRecord", "draw_attention", "record_attention"]


@dataclass(frozen=True)
class AttentionRecord:
    """Attention over an episode; means over clusters, the agents of a role, and heads.

    Attributes:
        roles: names, in the order of the axes below.
        weights: alpha of each receiving role for each sending one, ``[steps, roles, roles]``; rows sum to 1.
        entropy: of alpha before averaging, as a share of log(roles), ``[steps, roles]``: 1 is a plain mean.
        step_s: simulated seconds of a step.
    """

    roles: tuple[str, ...]
    weights: NDArray[np.float64]
    entropy: NDArray[np.float64]
    step_s: float


@torch.no_grad()
def record_attention(env: Any, agent: TrainedAgent, critic: Any = None, *, seed: int = 0) -> AttentionRecord:
    """Run an episode and keep the weights of each step.

    Args:
        env: a `CloudSchedVectorEnv`; its B clusters are averaged over.
        agent: who acts.
        critic: a `CentralCritic` whose attention is recorded; None takes that of the agent's policies.
        seed: of the episodes and of drawn actions.

    Raises:
        ValueError: if nothing attends.
    """
    if critic is None and agent.execution == "none":
        raise ValueError(
            "the policies of this folder attend to nothing (execution 'none'): their attention is in the critic, which "
            "is kept in the run's checkpoints; name the folder of the run instead"
        )
    if critic is not None and getattr(critic, "attention", None) is None:
        raise ValueError(
            "the critic of this run attends to nothing: it was trained with similarity 'off' or other values"
        )
    env.reset(seed)
    agent.reset(ClusterInfo(env.scenario, env.layouts, env.action_levels, env.role_counts), env.num_envs, seed)
    roles: Sequence[str] = agent.attended_roles if critic is None else critic.roles
    weights, entropy = [], []
    done = False
    while not done:
        attended = None if critic is None else critic.with_attention(torch.from_numpy(env.state))[1]
        actions = agent.act(env.observations, env.masks)
        seen: AttentionOutput | None = agent.last_attention if critic is None else attended
        assert seen is not None
        weights.append([seen.weights[role].reshape(-1, len(roles)).mean(0).tolist() for role in roles])
        entropy.append([float(seen.entropy[role].mean()) / max(1e-9, np.log(len(roles))) for role in roles])
        done = env.step(actions)
    return AttentionRecord(tuple(roles), np.array(weights), np.array(entropy), float(env.scenario.time.step_s))


def draw_attention(record: AttentionRecord, path: Path, title: str = "") -> None:
    """Write a picture: mean weights between roles, and weights and entropy over the episode.

    Args:
        record: what was recorded.
        path: a file whose ending says the format (``.png``, ``.svg``, ``.pdf``).
        title: of the picture.

    Raises:
        ValueError: if matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ValueError(
            f'the figure needs {error.name}, which is not installed: pip install "cloudsched-env[viz]"'
        ) from error
    count = len(record.roles)
    figure = Figure(figsize=(11, 2.2 + 1.5 * count), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title or "Role attention", fontsize=11)
    grid = figure.add_gridspec(count + 1, 2, width_ratios=[1, 1.5])
    table = figure.add_subplot(grid[:, 0])
    mean = record.weights.mean(0)
    table.imshow(mean, vmin=0, vmax=1, cmap="cividis")
    table.set_xticks(range(count), record.roles, rotation=30, ha="right")
    table.set_yticks(range(count), record.roles)
    table.set_xlabel("attended role")
    table.set_ylabel("attending role")
    table.set_title("mean weight", fontsize=10)
    for i in range(count):
        for j in range(count):
            colour = "black" if mean[i, j] > 0.6 else "white"
            table.text(j, i, f"{mean[i, j]:.2f}", ha="center", va="center", color=colour)
    time = np.arange(len(record.weights)) * record.step_s
    styles = ("-", "--", ":", "-.")
    for i, role in enumerate(record.roles):
        axes = figure.add_subplot(grid[i, 1])
        for j, other in enumerate(record.roles):
            axes.plot(time, record.weights[:, i, j], styles[j % len(styles)], label=other, linewidth=1.2)
        axes.set_ylim(0, 1)
        axes.set_ylabel(f"weights of\n{role}", fontsize=8)
        axes.tick_params(labelbottom=False)
        if i == 0:
            axes.legend(fontsize=7, ncols=count, loc="upper right")
    axes = figure.add_subplot(grid[count, 1])
    for i, role in enumerate(record.roles):
        axes.plot(time, record.entropy[:, i], styles[i % len(styles)], label=role, linewidth=1.2)
    axes.set_ylim(0, 1.05)
    axes.set_ylabel("entropy /\nlog(roles)", fontsize=8)
    axes.set_xlabel("simulated time [s]")
    axes.legend(fontsize=7, ncols=count, loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the date that matplotlib would write, the same record gives the same bytes.
    with beside(path) as partial:
        figure.savefig(partial, dpi=130, metadata={"Software": None} if path.suffix == ".png" else None)
