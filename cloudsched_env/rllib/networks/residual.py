"""A trained policy beside a tuned rule: the rule's score is added to the network's (`rule_features`)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from cloudsched_env.agents.linear import LinearParameters
from cloudsched_env.agents.linear.parameters import Kind
from cloudsched_env.rllib.networks.build import build_networks
from cloudsched_env.rllib.networks.checkpoint import LoadedPolicy
from cloudsched_env.rllib.networks.scheduler import SchedulerPolicy

__all__ = ["rule_parameters", "set_rule", "with_rule"]

_PACKAGED: dict[str, Kind] = {"linear_static": "static", "linear_feedback": "feedback"}


def rule_parameters(rule: str) -> LinearParameters:
    """The packaged rule of that name, or the one in a file.

    Raises:
        FileNotFoundError: if it is neither.
        ValueError: if the file holds no linear parameters.
    """
    return LinearParameters.packaged(_PACKAGED[rule]) if rule in _PACKAGED else LinearParameters.load(rule)


def set_rule(policy: nn.Module, parameters: LinearParameters, scale: float) -> None:
    """Give a scheduler's linear path the weights of a rule.

    Args:
        policy: a `SchedulerPolicy` with `NetworkConfig.rule_features`.
        parameters: of the rule; a static rule has no weights for products with the situation: those are 0.
        scale: what its weights are multiplied by, in logits per unit of the rule's score.

    Raises:
        ValueError: if the policy has no such path.
    """
    if not isinstance(policy, SchedulerPolicy) or not policy.config.rule_features:
        raise ValueError("only a scheduler whose networks have rule_features=true can be given the weights of a rule")
    rule = parameters.as_feedback()
    with torch.no_grad():
        for layer, group in ((policy.rule, "placement"), (policy.rule_defer, "defer")):
            layer.weight.copy_(scale * torch.from_numpy(rule.group(group)).float().unsqueeze(0))


def with_rule(loaded: LoadedPolicy, parameters: LinearParameters, scale: float) -> LoadedPolicy:
    """The same policy with a rule's score added to its scheduler's.

    Args:
        loaded: a policy, with or without `rule_features`; weights of a rule that it has are replaced.
        parameters: of the rule.
        scale: see `set_rule`.

    Raises:
        ValueError: if the policy has no role named scheduler.
    """
    if "scheduler" not in loaded.networks:
        raise ValueError(f"a rule is added to the role 'scheduler', which the policy lacks: {sorted(loaded.networks)}")
    config = replace(loaded.config, rule_features=True)
    networks = {n: net for n, net in build_networks(loaded.scenario, config).items() if n in loaded.networks}
    for name, network in networks.items():
        weights = network.state_dict() | loaded.networks[name].state_dict()
        network.load_state_dict(weights)
        network.eval()
    set_rule(networks["scheduler"], parameters, scale)
    return replace(loaded, networks=networks, config=config)
