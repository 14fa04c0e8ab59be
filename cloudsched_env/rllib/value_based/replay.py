"""`FragmentReplay`: a bounded circular buffer of fragments of roll-outs, in plain arrays.

A fragment is what one cluster did in one roll-out: T consecutive env steps. Stored is what agents saw (float32), their
masks (one bit a choice), their actions (one or two bytes), the state and the team reward. Memory is claimed once and
never grows; `FragmentReplay.bytes_per_env_step` says how much of it an env step takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cloudsched_env.rllib.rollout import RoleRollout

__all__ = ["FragmentBatch", "FragmentReplay"]


@dataclass(frozen=True)
class FragmentBatch:
    """F fragments of T steps, time-major.

    Attributes:
        roles: for each role ``observations`` float32 [T, F, n, d], ``masks`` [T, F, n, L] (non-zero = allowed) and
            ``actions`` int64 [T, F, n, k].
        states: before each step, float32 [T, F, s].
        team_rewards: float32 [T, F].
        terminated: whether the step ended the episode for good, bool [T, F].
        cut: whether the episode was cut by time after the step, bool [T, F].
    """

    roles: dict[str, dict[str, Tensor]]
    states: Tensor
    team_rewards: Tensor
    terminated: Tensor
    cut: Tensor


class FragmentReplay:
    """Keeps the newest fragments and draws from them evenly.

    Args:
        capacity_env_steps: how many env steps to remember at most (whole fragments).
        memory_mb: how much memory (10^6 bytes) to use at most; the smaller bound counts.
        seed: of the draws.

    Raises:
        ValueError: on the first roll-out, if not even two fragments fit.
    """

    def __init__(self, capacity_env_steps: int, memory_mb: float, seed: int | Sequence[int]) -> None:
        self.capacity_env_steps = capacity_env_steps
        self.memory_mb = memory_mb
        self._rng = np.random.default_rng(seed)
        self._arrays: dict[tuple[str, str], NDArray[Any]] = {}
        self._widths: dict[str, int] = {}
        self._fragments = 0  # room for
        self._filled = 0
        self._next = 0
        self.steps = 0  # of a fragment
        self.bytes_per_env_step = 0

    def __len__(self) -> int:
        """Env steps that are remembered."""
        return self._filled * self.steps

    @property
    def fragments(self) -> int:
        """Fragments that are remembered."""
        return self._filled

    @property
    def capacity(self) -> int:
        """Env steps for which there is room; 0 before the first roll-out."""
        return self._fragments * self.steps

    @property
    def claimed_mb(self) -> float:
        """Memory that the buffer takes when it is full, in 10^6 bytes."""
        return self.capacity * self.bytes_per_env_step / 1e6

    def add(self, rollout: RoleRollout, terminated: NDArray[np.bool_] | None = None) -> None:
        """Remember a roll-out's clusters as fragments; the oldest fragments make room.

        Args:
            rollout: T steps of B clusters.
            terminated: which steps ended their episode for good, [T, B]; none by default, as only time ends the
                episodes of a cluster.

        Raises:
            ValueError: if its steps or shapes are not those of the first one.
        """
        columns = _columns(rollout, terminated)
        steps, clusters = rollout.shape
        if not self._arrays:
            self._allocate(columns, steps)
            self._widths = {role: values["masks"].shape[-1] for role, values in rollout.roles.items()}
        if steps != self.steps:
            raise ValueError(
                f"a roll-out of {steps} steps cannot join fragments of {self.steps}: "
                "all runners must use the same sampling.rollout_steps"
            )
        kept = min(clusters, self._fragments)
        places = (self._next + np.arange(kept)) % self._fragments
        for key, values in columns.items():
            self._arrays[key][places] = values.swapaxes(0, 1)[:kept]
        self._next = int((self._next + kept) % self._fragments)
        self._filled = min(self._fragments, self._filled + kept)

    def sample(self, fragments: int) -> FragmentBatch:
        """Draw fragments evenly, without repetition where there are enough.

        Raises:
            ValueError: if the buffer is empty.
        """
        if not self._filled:
            raise ValueError("the buffer is empty: add a roll-out first")
        chosen = self._rng.choice(self._filled, size=fragments, replace=self._filled < fragments)

        def take(owner: str, name: str) -> NDArray[Any]:
            return self._arrays[owner, name][chosen].swapaxes(0, 1)

        def tensor(values: NDArray[Any]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(values))

        roles = {
            role: {
                "observations": tensor(take(role, "observations")),
                "masks": tensor(np.unpackbits(take(role, "masks"), axis=-1, count=width)),
                "actions": tensor(take(role, "actions").astype(np.int64)),
            }
            for role, width in self._widths.items()
        }
        return FragmentBatch(
            roles=roles,
            states=tensor(take("", "states")),
            team_rewards=tensor(take("", "team_rewards")),
            terminated=tensor(take("", "terminated")),
            cut=tensor(take("", "cut")),
        )

    def _allocate(self, columns: dict[tuple[str, str], NDArray[Any]], steps: int) -> None:
        self.steps = steps
        self.bytes_per_env_step = sum(
            int(np.prod(values.shape[2:], dtype=np.int64)) * values.dtype.itemsize for values in columns.values()
        )
        by_memory = int(self.memory_mb * 1e6 / self.bytes_per_env_step)
        self._fragments = min(self.capacity_env_steps, by_memory) // steps
        if self._fragments < 2:
            raise ValueError(
                f"the replay buffer has no room for two fragments of {steps} env steps: an env step takes "
                f"{self.bytes_per_env_step:,} bytes, replay.env_steps is {self.capacity_env_steps:,} and "
                f"replay.memory_mb {self.memory_mb:g}; raise them or lower sampling.rollout_steps"
            )
        for key, values in columns.items():
            self._arrays[key] = np.zeros((self._fragments, steps, *values.shape[2:]), values.dtype)


def _columns(rollout: RoleRollout, terminated: NDArray[np.bool_] | None) -> dict[tuple[str, str], NDArray[Any]]:
    """What is stored of a roll-out, [T, B, ...] each, in the types in which it is stored."""
    columns: dict[tuple[str, str], NDArray[Any]] = {
        ("", "states"): rollout.states,
        ("", "team_rewards"): rollout.team_rewards,
        ("", "terminated"): np.zeros_like(rollout.truncated) if terminated is None else terminated,
        ("", "cut"): rollout.truncated,
    }
    pack: Callable[..., NDArray[np.uint8]] = np.packbits
    for role, values in rollout.roles.items():
        columns[role, "observations"] = values["observations"]
        columns[role, "masks"] = pack(values["masks"] != 0, axis=-1)
        # A sub-action has never more choices than all of them together.
        small = values["masks"].shape[-1] <= 256
        columns[role, "actions"] = values["actions"].astype(np.uint8 if small else np.uint16)
    return columns
