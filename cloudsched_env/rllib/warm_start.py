"""Warm start: what a run begins with, other than the initial networks.

Roles begin with the weights of a trained policy (``warm_start.policies``), or as clones of recorded agents, on whose
returns the critic is fitted too (``warm_start.trajectories``). A scheduler's network can begin as a correction of a
tuned rule (``warm_start.rule``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from cloudsched_env.evaluation.trajectories import load_trajectories
from cloudsched_env.rllib.cloning import BehaviourCloning, CloningProgress
from cloudsched_env.rllib.demonstrations import demonstrations
from cloudsched_env.rllib.modules import ROLES, HRACMultiModule, spaces
from cloudsched_env.rllib.networks import load_policy
from cloudsched_env.rllib.networks.residual import rule_parameters, set_rule
from cloudsched_env.rllib.networks.threads import one_thread
from cloudsched_env.rllib.settings import HRACSettings
from cloudsched_env.scenario import load_scenario

__all__ = ["WarmStart", "load_roles", "warm_start"]

_logger = logging.getLogger(__name__)


def load_roles(module: HRACMultiModule, settings: HRACSettings) -> None:
    """Give the roles in ``warm_start.policies`` the weights of the policies there, and the scheduler those of a rule.

    Args:
        module: of a run; changed in place.
        settings: of the run.

    Raises:
        FileNotFoundError: a folder holds no policy.
        ValueError: its networks have other sizes, or its roles observe or choose something else; role and folder are
            named.
    """
    scenario = load_scenario(settings.scenario, settings.overrides)
    for role, folder in settings.warm_start.policies.items():
        found = load_policy(folder, scenario)
        if role not in found.networks:
            raise ValueError(
                f"setting 'warm_start.policies': {folder} has the roles {', '.join(found.networks)}, not {role!r}; "
                "expected a policy of agent types (roles.map=agent_type)"
            )
        policy = module.policy(role)
        # A policy from before it was given the features of rules has no weights for them: they stay 0.
        path = {name: value for name, value in policy.state_dict().items() if name.startswith("rule")}
        try:
            policy.load_state_dict(path | found.networks[role].state_dict())
        except RuntimeError as error:
            raise ValueError(
                f"setting 'warm_start.policies': role {role!r} of {folder} does not fit the networks of this run, "
                f"expected the same settings networks.*: {error}"
            ) from error
    if settings.warm_start.rule:
        set_rule(module.policy("scheduler"), rule_parameters(settings.warm_start.rule), settings.warm_start.rule_scale)


def warm_start(
    module: Any, settings: HRACSettings, seed: int, report: Callable[[CloningProgress], None]
) -> CloningProgress:
    """Clone what ``warm_start.trajectories`` holds into the modules of a run.

    Args:
        module: an `HRACMultiModule` with its critic; changed in place.
        settings: of the run.
        seed: of the run.
        report: called after every pass.

    Raises:
        TrajectoryError: the folder holds no trajectories, or those of other roles.
    """
    assert settings.warm_start.trajectories is not None
    scenario = load_scenario(settings.scenario, settings.overrides)
    levels = {role: pair[1].nvec.tolist() for role, pair in spaces(scenario).items()}  # type: ignore[attr-defined]
    data = demonstrations(load_trajectories(settings.warm_start.trajectories, scenario), levels)
    return BehaviourCloning(module, data, settings, seed).run(report)


class WarmStart:
    """Makes an algorithm of RLlib load or clone before its first training step; stands before it as a base class.

    Restored from a checkpoint, an algorithm does not begin again. This happens where the algorithm is, on a copy of
    the learners' modules; learners and runners then get the result, so it does not matter how many there are.

    Attributes:
        on_warm_start: called after every pass of cloning; a line in the log by default.
        warm_start_result: how cloning ended; None without it.
    """

    on_warm_start: Callable[[CloningProgress], None] | None = None
    warm_start_result: CloningProgress | None = None
    _warm_start_done = False

    def training_step(self) -> None:
        """Load and clone if this is the first step of a run that begins so, then train as the algorithm does."""
        algorithm: Any = self
        if not self._warm_start_done:
            self._warm_start_done = True
            if algorithm.iteration == 0 and algorithm.config.settings.warm_start.wanted:
                self._begin(algorithm)
        super().training_step()  # type: ignore[misc]

    def _begin(self, algorithm: Any) -> None:
        config = algorithm.config
        module = config.rl_module_spec.build()
        state = algorithm.learner_group.get_state(components="learner/rl_module")["learner"]["rl_module"]
        module.set_state(state)
        load_roles(module, config.settings)
        if config.settings.warm_start.trajectories is not None:
            report = self.on_warm_start or (lambda progress: _logger.info(progress.describe()))
            with one_thread():
                self.warm_start_result = warm_start(module, config.settings, config.seed or 0, report)
        algorithm.learner_group.set_state({"learner": {"rl_module": module.get_state()}})
        algorithm.env_runner_group.sync_weights(
            from_worker_or_learner_group=algorithm.learner_group,
            policies=set(ROLES) & set(module.keys()),
            inference_only=True,
        )
