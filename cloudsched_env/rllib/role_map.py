"""The role map φ: which agents share a policy.

- ``agent_type``: compute nodes, storage nodes, schedulers. The default.
- ``node_size``: as before, with small and large compute nodes apart (large: more cores than halfway between the
  smallest and the largest node).
- ``shared``: one role for everybody. Observations and action masks are padded to the widest agent's, and a one-hot says
  what the agent is (the usual work-around for heterogeneous agents, as in PyMARL).
- ``random:<seed>``: as many roles as ``agent_type`` has, of the same sizes, but with members drawn at random from all
  agents. Padded as well; the networks are made as narrow as it takes for their parameters to number as many as those of
  ``agent_type``. What ``agent_type`` gains over this control is due to roles, not to three times the parameters.

The environment knows nothing of it: its arrays are by agent type. `RoleMap` splits them by role and joins actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.roles import compute, scheduler, storage
from cloudsched_env.roles.layout import Block, Field, Layout
from cloudsched_env.scenario import Scenario

__all__ = ["AGENT_TYPES", "DEFAULT_MAP", "Role", "RoleMap", "check_map_name"]

AGENT_TYPES = ("compute", "storage", "scheduler")
DEFAULT_MAP = "agent_type"
_DECLARATIONS: dict[str, Any] = {"compute": compute, "storage": storage, "scheduler": scheduler}


def check_map_name(name: str) -> None:
    """Refuse what is no role map.

    Raises:
        ValueError: saying what was expected.
    """
    if name in ("agent_type", "node_size", "shared"):
        return
    head, _, seed = str(name).partition(":")
    if head != "random" or not seed.isdecimal():
        raise ValueError(f"role map {name!r}: expected agent_type, node_size, shared or random:<seed>")


@dataclass(frozen=True)
class Role:
    """Agents that share a policy.

    Attributes:
        name: of the role, its modules and its columns in results.
        members: positions in the environment's arrays by agent type; in the role's own arrays they follow one another.
        padded: whether members may be of several types, so that observations and masks are padded.
        layout: of one member's observation.
        action_levels: choices of each sub-action.
    """

    name: str
    members: Mapping[str, tuple[int, ...]]
    padded: bool
    layout: Layout
    action_levels: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of agents."""
        return sum(len(positions) for positions in self.members.values())

    @property
    def agent_type(self) -> str:
        """The type of all members of a role that is not padded."""
        (only,) = self.members
        return only


class RoleMap:
    """Splits what the environment shows by agent type into roles, and joins actions again.

    Args:
        scenario: the cluster.
        name: which map; see the module's docstring.

    Attributes:
        name: as given.
        roles: the roles by name, in a fixed order.

    Raises:
        ValueError: for a name that is no map, or a cluster that cannot be divided by it.
    """

    def __init__(self, scenario: Scenario, name: str = DEFAULT_MAP) -> None:
        check_map_name(name)
        self.name = name
        self.scenario = scenario
        self._layouts: dict[str, Layout] = {kind: d.layout(scenario) for kind, d in _DECLARATIONS.items()}
        self._levels = {
            kind: tuple(int(level) for level in d.action_levels(scenario)) for kind, d in _DECLARATIONS.items()
        }
        self._identity = name == "agent_type"
        self._sub_actions = max(len(levels) for levels in self._levels.values())
        self._most_levels = max(max(levels) for levels in self._levels.values())
        self._columns = {kind: self._padded_columns(kind) for kind in AGENT_TYPES}
        self.roles: dict[str, Role] = {}
        for role, (members, padded) in _members(scenario, name).items():
            layout = self._padded_layout(role) if padded else self._layouts[next(iter(members))]
            levels = (self._most_levels,) * self._sub_actions if padded else self._levels[next(iter(members))]
            self.roles[role] = Role(role, members, padded, layout, levels)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the roles."""
        return tuple(self.roles)

    @property
    def counts(self) -> dict[str, int]:
        """Agents of each role."""
        return {name: role.count for name, role in self.roles.items()}

    def role_of(self, agent: str) -> str:
        """The role of an agent by its PettingZoo name, as ``compute_3``."""
        kind, _, position = agent.rpartition("_")
        for name, role in self.roles.items():
            if int(position) in role.members.get(kind, ()):
                return name
        raise KeyError(f"agent {agent!r} is none of scenario {self.scenario.id!r}")

    def observations(self, by_type: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Observations by role, ``{role: [*, agents, size]}``, from ``{agent type: [*, agents, size]}``."""
        if self._identity:
            return dict(by_type)
        result = {}
        for name, role in self.roles.items():
            if not role.padded:
                result[name] = by_type[role.agent_type][..., list(role.members[role.agent_type]), :]
                continue
            lead = by_type["compute"].shape[:-2]
            padded = np.zeros((*lead, role.count, role.layout.size), np.float32)
            for kind, positions, place in _places(role):
                padded[..., place, : by_type[kind].shape[-1]] = by_type[kind][..., positions, :]
                padded[..., place, role.layout.size - len(AGENT_TYPES) + AGENT_TYPES.index(kind)] = 1.0
            result[name] = padded
        return result

    def masks(self, by_type: Mapping[str, NDArray[np.int8]]) -> dict[str, NDArray[np.int8]]:
        """Action masks by role; a sub-action that an agent lacks allows its first level only."""
        if self._identity:
            return dict(by_type)
        result = {}
        for name, role in self.roles.items():
            if not role.padded:
                result[name] = by_type[role.agent_type][..., list(role.members[role.agent_type]), :]
                continue
            lead = by_type["compute"].shape[:-2]
            padded = np.zeros((*lead, role.count, self._sub_actions * self._most_levels), np.int8)
            for kind, positions, place in _places(role):
                part = np.zeros((*lead, len(positions), padded.shape[-1]), np.int8)
                part[..., self._columns[kind]] = by_type[kind][..., positions, :]
                part[..., len(self._levels[kind]) * self._most_levels :: self._most_levels] = 1
                padded[..., place, :] = part
            result[name] = padded
        return result

    def values(self, by_type: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """One number for each agent, by role: ``{role: [*, agents]}`` from ``{agent type: [*, agents]}``."""
        if self._identity:
            return dict(by_type)
        return {
            name: np.concatenate([by_type[kind][..., positions] for kind, positions, _ in _places(role)], axis=-1)
            for name, role in self.roles.items()
        }

    def join(self, actions: Mapping[str, NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
        """Actions by agent type, ``{agent type: [*, agents, sub-actions]}``, from those by role."""
        if self._identity:
            return dict(actions)
        counts = self.scenario.role_counts
        lead = next(iter(actions.values())).shape[:-2]
        result = {kind: np.empty((*lead, counts[kind], len(self._levels[kind])), np.int64) for kind in AGENT_TYPES}
        for name, role in self.roles.items():
            for kind, positions, place in _places(role):
                result[kind][..., positions, :] = actions[name][..., place, : len(self._levels[kind])]
        return result

    def _padded_columns(self, kind: str) -> NDArray[np.int64]:
        """Where each level of an agent type stands in a padded mask."""
        return np.concatenate(
            [np.arange(levels) + position * self._most_levels for position, levels in enumerate(self._levels[kind])]
        )

    def _padded_layout(self, name: str) -> Layout:
        size = max(layout.size for layout in self._layouts.values())
        low, high = np.zeros(size, np.float32), np.zeros(size, np.float32)
        for layout in self._layouts.values():
            low[: layout.size] = np.minimum(low[: layout.size], layout.low())
            high[: layout.size] = np.maximum(high[: layout.size], layout.high())
        padded = tuple(
            Field(f"entry_{i}", "of the agent's type", float(low[i]), float(high[i]), "entry of the agent's vector")
            for i in range(size)
        )
        kinds = tuple(Field(f"is_{kind}", "0/1", 0, 1, "static: the agent is of this type") for kind in AGENT_TYPES)
        return Layout(name, (Block("agent", padded + kinds),))


def _places(role: Role) -> list[tuple[str, list[int], slice]]:
    """Agent type, positions in the environment's arrays, and place in the role's arrays of each type's members."""
    result, start = [], 0
    for kind, positions in role.members.items():
        result.append((kind, list(positions), slice(start, start + len(positions))))
        start += len(positions)
    return result


def _members(scenario: Scenario, name: str) -> dict[str, tuple[dict[str, tuple[int, ...]], bool]]:
    """Members by agent type, and whether they are padded, of each role."""
    everybody = {kind: tuple(range(scenario.role_counts[kind])) for kind in AGENT_TYPES}
    if name == "agent_type":
        return {kind: ({kind: positions}, False) for kind, positions in everybody.items()}
    if name == "shared":
        return {"shared": (everybody, True)}
    if name == "node_size":
        cores = np.array([entry.cores for entry in scenario.cluster.compute_nodes for _ in range(entry.count)])
        large = cores > (cores.min() + cores.max()) / 2
        if not large.any():
            raise ValueError(
                f"role map 'node_size': all compute nodes of scenario {scenario.id!r} have {cores[0]:g} cores; "
                "expected nodes of at least two sizes, or another map"
            )
        return {
            "compute_small": ({"compute": tuple(np.flatnonzero(~large).tolist())}, False),
            "compute_large": ({"compute": tuple(np.flatnonzero(large).tolist())}, False),
            "storage": ({"storage": everybody["storage"]}, False),
            "scheduler": ({"scheduler": everybody["scheduler"]}, False),
        }
    agents = [(kind, position) for kind in AGENT_TYPES for position in everybody[kind]]
    order = np.random.default_rng(int(name.partition(":")[2])).permutation(len(agents))
    groups: dict[str, tuple[dict[str, tuple[int, ...]], bool]] = {}
    start = 0
    for index, kind in enumerate(AGENT_TYPES):
        chosen = sorted(order[start : start + len(everybody[kind])].tolist())
        start += len(everybody[kind])
        members = {t: tuple(agents[i][1] for i in chosen if agents[i][0] == t) for t in AGENT_TYPES}
        groups[f"group_{index}"] = ({t: positions for t, positions in members.items() if positions}, True)
    return groups
