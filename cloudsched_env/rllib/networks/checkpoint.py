"""A trained policy as a folder: weights in safetensors, everything else in JSON; nothing is pickled.

    policy.json          format, scenario, network configuration, the fields that each role observes, metadata
    weights.safetensors  tensors named ``network.parameter``

Weights do not depend on the number of nodes, slots or agents, so a policy loads into any scenario whose roles observe
the same fields and choose among the same levels.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from cloudsched_env.rllib.networks.build import CRITIC, ROLES, build_networks
from cloudsched_env.rllib.networks.config import NetworkConfig
from cloudsched_env.roles import compute, scheduler, state, storage
from cloudsched_env.scenario import Scenario
from cloudsched_env.whole_file import beside, write_whole

__all__ = ["FORMAT", "LoadedPolicy", "load_policy", "save_policy"]

FORMAT = "cloudsched-policy/1"
_DESCRIPTION, _WEIGHTS = "policy.json", "weights.safetensors"


@dataclass(frozen=True)
class LoadedPolicy:
    """What `load_policy` read.

    Attributes:
        networks: as `build_networks` makes them, with the stored weights, in evaluation mode.
        scenario: the one that the networks are built for.
        config: of the networks.
        metadata: what `save_policy` was given.
    """

    networks: dict[str, nn.Module]
    scenario: Scenario
    config: NetworkConfig
    metadata: dict[str, Any]


def save_policy(
    folder: str | os.PathLike[str],
    networks: Mapping[str, nn.Module],
    scenario: Scenario,
    config: NetworkConfig,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write networks to a folder, which is created if needed.

    Each file is written under a temporary name and renamed, the description last: a reader never sees half a file.

    Args:
        folder: where.
        networks: from `build_networks`; the critic may be left out, it is not needed to act.
        scenario: that they were trained on.
        config: that they were built with.
        metadata: JSON types, for people and result files: algorithm, seed, steps, command.

    Raises:
        ValueError: if a network of the configuration is missing, or metadata is not JSON.
    """
    expected = set(build_networks(scenario, config)) - {CRITIC}
    missing = sorted(expected - set(networks))
    if missing:
        raise ValueError(f"cannot save a policy without its networks {missing}: got {sorted(networks)}")
    description = {
        "format": FORMAT,
        "scenario": scenario.to_dict(),
        "network": config.to_dict(),
        "roles": _interface(scenario),
        "networks": sorted(networks),
        "metadata": dict(metadata or {}),
    }
    try:
        text = json.dumps(description, indent=1, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"metadata of a policy must be plain JSON types: {error}") from error
    tensors = {
        f"{name}.{key}": value.detach().cpu().contiguous().clone()
        for name, network in networks.items()
        for key, value in network.state_dict().items()
    }
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    with beside(target / _WEIGHTS) as partial:
        save_file(tensors, partial)
    write_whole(target / _DESCRIPTION, text + "\n")


def load_policy(folder: str | os.PathLike[str], scenario: Scenario | None = None) -> LoadedPolicy:
    """Read what `save_policy` wrote.

    Args:
        folder: where.
        scenario: build the networks for this one instead of the one they were trained on, to evaluate a policy on
            another cluster size or with other dynamics.

    Raises:
        FileNotFoundError: if the folder holds no policy.
        ValueError: if the files are damaged or of another format, or if a role of the scenario observes other fields or
            chooses among other levels than the policy was trained with (role and field are named).
    """
    source = Path(folder)
    for name in (_DESCRIPTION, _WEIGHTS):
        if not (source / name).is_file():
            raise FileNotFoundError(
                f"{source} holds no trained policy: expected the files {_DESCRIPTION} and {_WEIGHTS}"
            )
    try:
        description = json.loads((source / _DESCRIPTION).read_text(encoding="utf-8"))
        tensors = load_file(source / _WEIGHTS)
    except (json.JSONDecodeError, UnicodeDecodeError, SafetensorError) as error:
        raise ValueError(f"the policy in {source} is damaged: {error}") from error
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        found = description.get("format") if isinstance(description, dict) else type(description).__name__
        raise ValueError(f"the policy in {source} has format {found!r}: this version reads {FORMAT!r}")
    config = NetworkConfig.from_dict(description["network"])
    scenario = scenario or _scenario(description["scenario"])
    _check_interface(description["roles"], _interface(scenario), scenario.id)
    networks = {name: net for name, net in build_networks(scenario, config).items() if name in description["networks"]}
    for name, network in networks.items():
        prefix = f"{name}."
        stored = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        try:
            network.load_state_dict(stored)
        except RuntimeError as error:
            raise ValueError(f"the weights of {name!r} in {source} do not fit its description: {error}") from error
        network.eval()
    return LoadedPolicy(networks, scenario, config, description["metadata"])


def _interface(scenario: Scenario) -> dict[str, Any]:
    """What weights depend on: per role the fields of each block, and the levels of the nodes' sub-actions."""
    modules = {"compute": compute, "storage": storage, "scheduler": scheduler, "state": state}
    described: dict[str, Any] = {}
    for role, module in modules.items():
        blocks = {
            block.name: [f"{entry.name} [{entry.unit}]" for entry in block.fields]
            for block in module.layout(scenario).blocks
        }
        described[role] = {"observes": blocks}
    for role, module in (("compute", compute), ("storage", storage)):
        levels = module.action_levels(scenario).tolist()
        described[role]["levels"] = dict(zip(module.actions(scenario), levels, strict=True))
    assert set(ROLES) <= set(described)
    return described


def _check_interface(stored: Mapping[str, Any], wanted: Mapping[str, Any], scenario_id: str) -> None:
    for role, expected in wanted.items():
        if role not in stored:
            raise ValueError(f"the policy does not know the role {role!r} of scenario {scenario_id!r}")
        for block, fields in expected["observes"].items():
            known = stored[role]["observes"].get(block)
            if known is None:
                raise ValueError(
                    f"role {role!r} observes the block {block!r} in {scenario_id!r}, which the policy lacks"
                )
            for position in range(max(len(fields), len(known))):
                ours = fields[position] if position < len(fields) else "nothing"
                theirs = known[position] if position < len(known) else "nothing"
                if ours != theirs:
                    raise ValueError(
                        f"role {role!r}, block {block!r}, field {position}: scenario {scenario_id!r} has {ours}, but "
                        f"the policy was trained with {theirs}; retrain it, or use the version it was trained with"
                    )
        for action, levels in expected.get("levels", {}).items():
            known_levels = stored[role].get("levels", {}).get(action)
            if levels != known_levels:
                raise ValueError(
                    f"role {role!r}, action {action!r}: scenario {scenario_id!r} has {levels} levels, but the policy "
                    f"was trained with {known_levels}"
                )


def _scenario(values: Mapping[str, Any]) -> Scenario:
    """The inverse of `Scenario.to_dict`."""
    changes: dict[str, Any] = {}
    for group, value in values.items():
        if isinstance(value, Mapping):
            changes.update({f"{group}.{name}": entry for name, entry in value.items()})
        else:
            changes[group] = value
    return Scenario().override(changes)
