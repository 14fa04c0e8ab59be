"""`benchmarks/torchrl_check.py`: joined choices and masks, equal budgets, tables; TorchRL's halves where it is."""

import importlib.util
import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ray")

import torch

import cloudsched_env
from cloudsched_env.agents import ClusterInfo
from cloudsched_env.rllib.value_based.targets import peng_q_lambda
from cloudsched_env.vector import ROLES, CloudSchedVectorEnv

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
if str(BENCHMARKS) not in sys.path:
    sys.path.insert(0, str(BENCHMARKS))

from torchrl_check import report, trainings  # noqa: E402
from torchrl_check.joint import JointAgent, JointChoice, JointChoices  # noqa: E402
from torchrl_check.plan import Epoch, Plan  # noqa: E402

# The extra `test` brings TorchRL; who tests an installation without it still runs all that is ours.
needs_torchrl = pytest.mark.skipif(
    importlib.util.find_spec("torchrl") is None,
    reason="TorchRL is not installed: pip install 'cloudsched-env[torchrl]'",
)


def drawn(mask, rng):
    return int(rng.choice(np.flatnonzero(mask)))


def test_a_joint_choice_is_allowed_exactly_where_all_its_sub_actions_are():
    joint = JointChoice([3, 2, 2])
    rng = np.random.default_rng(0)
    masks = (rng.random((50, 7)) < 0.6).astype(np.int8)
    allowed = joint.allowed(masks)
    combinations = list(itertools.product(range(3), range(2), range(2)))
    assert joint.sub_actions.tolist() == [list(c) for c in combinations]
    expected = [[bool(m[i] and m[3 + j] and m[5 + k]) for i, j, k in combinations] for m in masks]
    assert allowed.tolist() == expected


def test_too_many_joint_choices_are_refused():
    with pytest.raises(ValueError, match="tiny-v1"):
        JointChoice([10] * 5)


@pytest.mark.parametrize("padded", [False, True])
def test_the_joined_environment_is_the_environment(padded):
    plain = cloudsched_env.parallel_env("tiny-v1")
    joined = JointChoices(cloudsched_env.parallel_env("tiny-v1"), padded=padded)
    rng = np.random.default_rng(1)
    observations, _ = joined.reset(seed=3)
    seen, _ = plain.reset(seed=3)
    for _ in range(60):
        actions = {agent: drawn(observations[agent]["action_mask"], rng) for agent in joined.agents}
        chosen = {agent: joined.joint[agent].sub_actions[action] for agent, action in actions.items()}
        for agent, values in chosen.items():
            # Never more choices than the agent has: what is allowed is allowed in every sub-action.
            starts = np.cumsum([0, *joined.joint[agent].levels[:-1]])
            assert seen[agent]["action_mask"][starts + values].all()
            size = len(seen[agent]["observation"])
            assert observations[agent]["observation"][:size].tolist() == seen[agent]["observation"].tolist()
            assert joined.observation_space(agent).contains(observations[agent])
        observations, rewards, *_ = joined.step(actions)
        seen, expected, *_ = plain.step(chosen)
        assert rewards == expected


def test_padded_agents_have_equal_spaces_and_no_choice_that_is_not_theirs():
    joined = JointChoices(cloudsched_env.parallel_env("tiny-v1"), padded=True)
    observations, _ = joined.reset(seed=0)
    assert len({space.n for space in joined.action_spaces.values()}) == 1
    assert len({space["observation"].shape for space in joined.observation_spaces.values()}) == 1
    for agent, values in observations.items():
        assert values["action_mask"].any()
        assert not values["action_mask"][joined.joint[agent].count :].any()


def test_the_agent_of_the_array_face_takes_the_best_allowed_choice():
    env = CloudSchedVectorEnv("tiny-v1", 3)
    env.reset([0, 1, 2])
    info = ClusterInfo(env.scenario, env.layouts, env.action_levels, env.role_counts)
    sizes = {role: JointChoice(env.action_levels[role]).count for role in ROLES}
    weights = {role: torch.randn(env.observations[role].shape[-1], sizes[role]) for role in ROLES}
    agent = JointAgent({role: lambda seen, w=w: seen @ w for role, w in weights.items()})
    agent.reset(info, 3, 0)
    actions = agent.act(env.observations, env.masks)
    for role in ROLES:
        joint = JointChoice(env.action_levels[role])
        allowed = joint.allowed(env.masks[role])
        scores = env.observations[role] @ weights[role].numpy()
        for place in np.ndindex(allowed.shape[:-1]):
            best = max(np.flatnonzero(allowed[place]), key=lambda c, place=place: scores[(*place, c)])
            assert actions[role][place].tolist() == joint.sub_actions[best].tolist()
    env.step(actions)


def test_both_sides_make_as_many_gradient_steps_on_as_many_env_steps():
    from torchrl_check.plan import FRAGMENTS_OF_AN_EPISODE, GRADIENT_STEPS_OF_AN_EPISODE

    plan = Plan(episodes=10)
    ours = plan.qmix
    rollouts = plan.epoch_env_steps // (ours.sampling.clusters * ours.sampling.rollout_steps)
    assert rollouts * ours.update.steps == plan.episodes * GRADIENT_STEPS_OF_AN_EPISODE
    assert plan.fragment_steps * FRAGMENTS_OF_AN_EPISODE == plan.horizon_steps
    assert plan.mappo.sampling.clusters * plan.mappo.sampling.rollout_steps == plan.epoch_env_steps
    assert plan.mappo.discount == plan.qmix.discount
    with pytest.raises(ValueError, match="multiple of 5"):
        Plan(episodes=7)


def result_of(implementation, algorithm, seed, level, plan):
    validations = sorted({*range(0, plan.epochs + 1, plan.validate_every), plan.epochs})
    return {
        "implementation": implementation,
        "algorithm": algorithm,
        "seed": seed,
        "plan": plan.describe(),
        "data": "generated",
        "training_team_reward": [level] * plan.epochs,
        "validation_team_reward": {str(epoch): level + 0.001 * epoch for epoch in validations},
        "cpu_s": 60.0,
    }


def test_the_table_has_means_with_students_interval_and_the_figure_is_reproducible(tmp_path):
    plan = Plan(epochs=8)
    results = [
        result_of(implementation, algorithm, seed, level, plan)
        for implementation in ("torchrl", "ours")
        for algorithm in ("mappo", "qmix")
        for seed, level in enumerate((0.4, 0.5, 0.6))
    ]
    text = report.table(results, {"random": 0.3}, "python benchmarks/torchrl_check.py")
    reach = 4.302653 * 0.1 / 3**0.5
    assert f"| MAPPO | TorchRL | 3 | 0.500 [{0.5 - reach:.3f}, {0.5 + reach:.3f}] |" in text
    assert "`random` on the same validation episodes: 0.300" in text
    for name in ("a.svg", "b.svg"):
        report.draw(results, {"random": 0.3}, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_finished_trainings_are_kept_and_other_plans_are_refused(tmp_path, monkeypatch):
    plan = Plan(epochs=4, validate_every=3, validation_episodes=2)

    class Hold:
        name = "hold"

        def reset(self, info, batch_size, seed):
            self.info = info

        def act(self, observations, masks):
            return {
                role: JointChoice(levels).sub_actions[JointChoice(levels).allowed(masks[role]).argmax(-1)]
                for role, levels in self.info.action_levels.items()
            }

    def fake(plan, seed):
        yield Epoch(None, Hold())
        for epoch in range(plan.epochs):
            yield Epoch(0.1 * epoch, Hold())

    monkeypatch.setattr(trainings.Training, "trainer", lambda self: fake)
    cell = trainings.all_trainings(2, ["ours-qmix"])[1]
    assert cell.file == "ours_qmix_seed1.json"
    assert trainings.finished(tmp_path, cell, plan) is None
    counted = []
    result = trainings.train(cell, plan, trainings.Validation(plan), counted.append)
    trainings.write_result(tmp_path, cell, result)
    assert counted == [1, 2, 3, 4]
    assert list(result["validation_team_reward"]) == ["0", "3", "4"]
    assert len(set(result["validation_team_reward"].values())) == 1  # the same agent on the same episodes
    assert result["training_team_reward"] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert trainings.finished(tmp_path, cell, plan) == json.loads(json.dumps(result))
    with pytest.raises(ValueError, match="use another --out"):
        trainings.finished(tmp_path, cell, Plan(epochs=5))


def test_all_seeds_of_all_four_unless_told_otherwise():
    cells = trainings.all_trainings(3)
    assert len(cells) == len({cell.file for cell in cells}) == 12
    assert {cell.seed for cell in cells[:4]} == {0}
    assert {cell.implementation for cell in trainings.all_trainings(1, ["ours"])} == {"ours"}


@pytest.mark.ray
@pytest.mark.parametrize("algorithm", ["mappo", "qmix"])
def test_ours_trains_and_acts(ray_local, algorithm):
    from torchrl_check import ours

    plan = Plan(epochs=1, validation_episodes=2)
    epochs = list(getattr(ours, algorithm)(plan, 0))
    assert epochs[0].team_reward is None
    assert 0.0 < epochs[1].team_reward < 1.0


@needs_torchrl
def test_torchrls_mappo_trains_every_role():
    from torchrl_check import torchrl_mappo

    state = torchrl_mappo.mappo(Plan(epochs=1), 0)
    networks = next(state).agent.scores
    before = {role: [p.detach().clone() for p in net.parameters()] for role, net in networks.items()}
    assert 0.0 < next(state).team_reward < 1.0
    for role, network in networks.items():
        assert any(not torch.equal(old, new) for old, new in zip(before[role], network.parameters(), strict=True))


@needs_torchrl
def test_torchrls_qmix_has_the_targets_of_pengs_q_lambda_and_stays_within_the_masks(monkeypatch):
    from torchrl.objectives.multiagent import QMixerLoss
    from torchrl_check import torchrl_qmix

    batches = []
    forward = QMixerLoss.forward

    def recording(loss, batch):
        if not batches:
            with torch.no_grad():
                targets = loss.value_estimator.value_estimate(
                    batch.clone(), target_params=loss._cached_target_params
                ).squeeze(-1)
                following = batch["next"].clone()
                with loss._cached_target_params.to_module(loss.global_value_network):
                    loss.global_value_network(following)
            batches.append((batch.clone(), targets, following["chosen_action_value"].squeeze(-1)))
        return forward(loss, batch)

    monkeypatch.setattr(QMixerLoss, "forward", recording)
    plan = Plan(epochs=1)
    state = torchrl_qmix.qmix(plan, 0)
    networks = next(state).agent.scores
    before = {role: [p.detach().clone() for p in net.parameters()] for role, net in networks.items()}
    assert 0.0 < next(state).team_reward < 1.0
    for role, network in networks.items():
        assert any(not torch.equal(old, new) for old, new in zip(before[role], network.parameters(), strict=True))

    ((batch, targets, next_values),) = batches
    assert batch["agents", "action_mask"].gather(-1, batch["agents", "action"].unsqueeze(-1)).all()
    compute_choices, widest = 100, batch["agents", "action_mask"].shape[-1]
    assert widest == compute_choices
    for mask in (batch["agents", "action_mask"], batch["next", "agents", "action_mask"]):
        assert not mask[..., 2:4, 15:].any()  # storage nodes have 15 choices, after an episode's last step too
    rewards = batch["next", "reward"].squeeze(-1).T
    # Ours are indexed by the state before a step, and have no target for the last step that they see.
    none = torch.zeros(rewards.shape[0] + 1, rewards.shape[1], dtype=torch.bool)
    padding = torch.zeros(1, rewards.shape[1])
    expected, _ = peng_q_lambda(
        torch.cat([rewards, padding]),
        torch.cat([padding, next_values.T]),
        none,
        none,
        gamma=plan.qmix.discount,
        lambda_=plan.qmix.update.trace,
    )
    torch.testing.assert_close(targets.T, expected[:-1], rtol=1e-4, atol=1e-5)
