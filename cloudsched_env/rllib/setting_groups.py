"""Groups of settings, one a mechanism, each with its default, range and meaning; `settings` puts them together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic.dataclasses import dataclass

from cloudsched_env.config_tree import CHECKED, number, option
from cloudsched_env.rllib.role_map import DEFAULT_MAP
from cloudsched_env.workload.storage_load import DEFAULT_MEAN_SHARE, StorageLoad

__all__ = [
    "ExplorationSettings",
    "LGRSSettings",
    "ReplaySettings",
    "RoleSettings",
    "SamplingSettings",
    "StorageLoadSettings",
    "UpdateSettings",
    "VTraceSettings",
    "ValidationSettings",
    "WarmStartSettings",
]


@dataclass(frozen=True, config=CHECKED)
class RoleSettings:
    """Which agents share networks and normalisers.

    Attributes:
        map: ``agent_type``, ``node_size``, ``shared`` or ``random:<seed>`` (`cloudsched_env.rllib.role_map`).
    """

    map: str = DEFAULT_MAP


@dataclass(frozen=True, config=CHECKED)
class LGRSSettings:
    """Local-global reward shaping (`cloudsched_env.rllib.lgrs` has the equations)."""

    mode: Literal["literal", "pbrs", "td", "mix", "off"] = "td"
    lambda_: float = number(
        0.0, 0.0, 1.0, "weight of the local reward; 1 - lambda goes to the global term", name="lambda"
    )
    lambda_by_role: Mapping[str, float] = option(dict, "weight of the local reward of single roles, where it differs")
    potential_rate: float = number(0.1, 0.0, 1.0, "share of the critic that the lagged potential takes over per update")
    normalise: bool = False


@dataclass(frozen=True, config=CHECKED)
class VTraceSettings:
    """Off-policy correction (Espeholt et al. 2018) with lambda-weighted traces.

    Attributes:
        ratio: importance weight of replayed steps: ``joint``, of all agents' actions, on which any reward of the team
            depends; ``agent``, of the agent's own actions, which takes the others for part of an environment that did
            not change.
    """

    lambda_: float = number(
        0.9, 0.0, 1.0, "trace decay; with on-policy data the targets are those of GAE(lambda)", name="lambda"
    )
    lambda_by_role: Mapping[str, float] = option(dict, "trace decay of single roles, where it differs")
    common_share: float = number(
        0.2, 0.0, 1.0, "share that value targets keep of what arrivals did to all clusters that met them"
    )
    rho_bar: float = number(1.0, 0.01, 100.0, "truncation of the importance weight of the temporal difference")
    c_bar: float = number(1.0, 0.01, 100.0, "truncation of the importance weight of the trace")
    ratio: Literal["joint", "agent"] = "joint"


@dataclass(frozen=True, config=CHECKED)
class ReplaySettings:
    """The circular buffer of recent roll-outs, kept by each learner.

    Off by default: at equal wall-clock time, training on fresh roll-outs alone reached higher validation scores
    (docs/dev/learning-log.md); V-trace then corrects nothing and its targets are those of GAE(lambda).
    """

    rollouts: int = number(0, 0, 1000, "older roll-outs that are remembered; 0 makes training on-policy")
    passes: int = number(0, 0, 100, "older roll-outs that an update trains on beside the newest")


@dataclass(frozen=True, config=CHECKED)
class UpdateSettings:
    """Gradient updates on one batch.

    Attributes:
        roles: roles whose policies learn, all if none is named; the others act as they began.
    """

    roles: tuple[str, ...] = ()
    epochs: int = number(3, 1, 100, "passes over the batch")
    minibatch_steps: int = number(1000, 1, 10_000_000, "env steps of a minibatch (all agents of a step stay together)")
    agents_per_role: int = number(
        4, 0, 1_000_000, "agents of a role, per env step, that a minibatch trains its policy on at most; 0: all"
    )
    clip: float = number(0.2, 0.001, 10.0, "clip range of the policy ratio")
    value_clip: float = number(0.2, 0.0, 100.0, "clip range of normalised values; 0 turns value clipping off")
    normaliser_decay: float = number(0.99, 0.0, 0.99999, "decay of the value normalisers' moments per update")
    huber_delta: float = number(10.0, 0.01, 1e6, "normalised error from which the value loss is linear")
    factor_clip: float = number(
        2.0, 1.0, 1e6, "HAPPO: the factor of earlier roles' ratios is kept between its inverse and this"
    )
    value_weight: float = number(1.0, 0.0, 1000.0, "weight of the value loss")
    entropy: float = number(0.001, 0.0, 10.0, "entropy bonus of a role, per sub-action decision")
    entropy_by_role: Mapping[str, float] = option(dict, "entropy bonus of single roles, where it differs")
    learning_rate: float = number(1.5e-3, 0.0, 1.0, "Adam step size of the policies")
    critic_learning_rate: float = number(1e-3, 0.0, 1.0, "Adam step size of the critic")
    warmup_epochs: int = number(
        10, 0, 10_000_000, "epochs over which the policies' step size rises from 0, while the critic learns to judge"
    )
    anneal_epochs: int = number(
        100, 0, 10_000_000, "epochs over which both step sizes fall linearly to a tenth, where they stay; 0: constant"
    )
    adam_epsilon: float = number(1e-5, 1e-12, 1.0, "Adam epsilon")
    max_gradient_norm: float = number(1.0, 1e-6, 1e9, "gradient norm limit of each module")


@dataclass(frozen=True, config=CHECKED)
class SamplingSettings:
    """How a runner gathers experience."""

    clusters: int = number(100, 1, 100_000, "clusters that one runner steps at once")
    rollout_steps: int = number(50, 1, 1_000_000, "env steps of each cluster between updates")
    phases: int = number(5, 1, 10_000, "groups of clusters that stand at different times of the episode")
    copies: int = number(
        0, 0, 10_000, "clusters of a group that meet the same arrivals, disturbances and failures; 0: all of the group"
    )

    @property
    def inputs(self) -> NDArray[np.int64]:
        """Number of what each cluster meets: the same for copies, ``[clusters]``."""
        copies = self.copies or self.clusters // self.phases
        return np.arange(self.clusters) // copies


@dataclass(frozen=True, config=CHECKED)
class StorageLoadSettings:
    """Disks of a block trace that compete for the storage nodes (`cloudsched_env.workload.storage_load`).

    Attributes:
        table: path of a load table (Parquet); None for none.
        mean_share: mean share of the storage nodes' bandwidth that they take.
    """

    table: str | None = None
    mean_share: float = number(DEFAULT_MEAN_SHARE, 0.001, 0.89, "mean share of the storage nodes' bandwidth")

    def load(self) -> StorageLoad | None:
        """The load, read from its table; None if there is none."""
        return None if self.table is None else StorageLoad(self.table, self.mean_share)


@dataclass(frozen=True, config=CHECKED)
class ExplorationSettings:
    """What policies draw their actions with.

    Attributes:
        common_noise_steps: for how many env steps on average the agents of a role share and keep the noise of their
            cluster (`cloudsched_env.rllib.common_noise`); 0, or a role that is missing: they draw independently. What
            is said of an agent type holds for every role made of that type alone.
    """

    common_noise_steps: Mapping[str, float] = field(default_factory=lambda: {"compute": 30, "storage": 30})


@dataclass(frozen=True, config=CHECKED)
class WarmStartSettings:
    """What a run begins with: clones of recorded agents (`cloudsched_env.rllib.cloning`), policies of earlier runs.

    Attributes:
        trajectories: folder that `cloudsched record` wrote; None begins from the initial networks.
        policies: roles that begin with the weights of a trained policy, and its folder; they are not cloned.
        roles: roles whose policies are cloned; if none is named, all of them, or with ``policies`` none. A role that is
            neither here nor there begins from the initial networks.
        critic: fit the critic on the recorded returns too.
        rule: tuned rule whose score is added to the scheduler's network (`cloudsched_env.rllib.networks.residual`);
            needs ``networks.rule_features=true``.
    """

    trajectories: str | None = None
    policies: Mapping[Literal["compute", "storage", "scheduler"], str] = field(default_factory=dict)
    roles: tuple[Literal["compute", "storage", "scheduler"], ...] = ()
    epochs: int = number(10, 1, 10_000, "passes over the recorded episodes")
    minibatch_steps: int = number(500, 1, 10_000_000, "env steps of a minibatch")
    learning_rate: float = number(2e-3, 0.0, 1.0, "Adam step size of cloning, policies and critic")
    entropy: float = number(
        0.2, 0.0, 10.0, "entropy bonus per sub-action while cloning: what the clone keeps of the other choices"
    )
    held_out: float = number(0.1, 0.0, 0.9, "share of the episodes that only judge the clone; at least one")
    critic: bool = True
    rule: Literal["", "linear_static", "linear_feedback"] = ""
    rule_scale: float = number(2.5, 0.0, 1e3, "logits per unit of the rule's score")

    def clones(self, role: str) -> bool:
        """Whether a role begins as a clone."""
        return role in self.roles or not (self.roles or self.policies)

    @property
    def wanted(self) -> bool:
        """Whether a run begins with anything but the initial networks."""
        return self.trajectories is not None or bool(self.policies) or bool(self.rule)


@dataclass(frozen=True, config=CHECKED)
class ValidationSettings:
    """How training is judged: fixed episodes of the validation split, fixed seeds.

    Greedy and drawn actions of one policy can differ by 0.1 in team reward, in both directions; the mode in which a
    policy is judged is the mode in which its folder acts unless told otherwise.
    """

    every_epochs: int = number(5, 0, 1_000_000, "epochs between validations; 0 turns validation off")
    episodes: int = number(16, 1, 100_000, "episodes of a validation")
    deterministic: bool = True
