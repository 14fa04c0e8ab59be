import numpy as np
import pytest
import torch

pytest.importorskip("ray")

from cloudsched_env.rllib.common_noise import CommonNoise
from cloudsched_env.rllib.networks.layers import sample
from cloudsched_env.rllib.role_map import RoleMap
from cloudsched_env.scenario import load_scenario
from tests.rllib.test_runner import make_runner

TINY = RoleMap(load_scenario("tiny-v1"))
LEVELS = TINY.roles["compute"].action_levels[0]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_agents_with_common_noise_still_draw_from_their_own_distributions():
    probabilities = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0.0, 0.05, 0.95]])
    clusters = 40_000
    noise = CommonNoise(TINY, {"compute": 1}, clusters).draw(generator())["compute"]
    drawn = sample(probabilities.log().clamp_min(-30).expand(clusters, 3, 3), False, None, noise[..., :3])
    shares = torch.stack([torch.bincount(drawn[:, i], minlength=3) / clusters for i in range(3)])
    torch.testing.assert_close(shares, probabilities, atol=0.01, rtol=0)


def test_agents_in_the_same_situation_choose_the_same_with_common_noise():
    noise = CommonNoise(TINY, {"compute": 1}, 500).draw(generator())["compute"]
    alike = torch.randn(LEVELS, generator=generator(1)).log_softmax(-1).expand(500, 6, LEVELS)
    drawn = sample(alike, False, None, noise[..., :LEVELS])
    assert (drawn == drawn[:, :1]).all()
    assert len(drawn[:, 0].unique()) == LEVELS  # while clusters choose apart
    apart = sample(alike, False, generator(2))
    assert (apart != apart[:, :1]).any(1).float().mean() > 0.5


def test_noise_is_kept_for_the_mean_time_asked_for_and_renewed_cluster_by_cluster():
    source, random = CommonNoise(TINY, {"storage": 8}, 2_000), generator()
    steps = torch.stack([source.draw(random)["storage"][:, 0, 0] for _ in range(41)])
    renewed = (steps[1:] != steps[:-1]).float()
    assert renewed.mean() == pytest.approx(1 / 8, abs=0.01)
    assert renewed.mean(1).max() < 0.5  # never all clusters at once
    assert (steps > 0).all()


def test_roles_without_common_noise_get_none():
    assert CommonNoise(TINY, {}, 10).draw(generator()) == {}


def test_a_roll_out_with_common_noise_stores_the_log_probabilities_of_its_actions(ray_local):
    runner = make_runner({"exploration.common_noise_steps": {"compute": 10, "storage": 5}})
    (rollout,) = runner.sample()
    batch = {role: {k: torch.from_numpy(v) for k, v in columns.items()} for role, columns in rollout.roles.items()}
    with torch.no_grad():
        output = runner.module.forward_train(batch)
    for role in batch:
        np.testing.assert_allclose(output[role]["log_probs"], rollout.roles[role]["log_probs"], atol=1e-4)
    # A new policy hardly tells situations apart, so compute nodes of a cluster go together; schedulers never do.
    levels = rollout.roles["compute"]["actions"]
    off = {"exploration.common_noise_steps": {"compute": 0, "storage": 0}}
    independent = make_runner(off).sample()[0].roles["compute"]["actions"]
    assert (levels[:, :, 0] == levels[:, :, 1]).mean() > (independent[:, :, 0] == independent[:, :, 1]).mean() + 0.1


def test_an_agent_type_stands_for_all_roles_made_of_it_alone():
    by_size = RoleMap(load_scenario("tiny-v1"), "node_size")
    kept = {"compute": 30, "storage": 0}
    assert set(CommonNoise(by_size, kept, 2).draw(generator())) == {
        name for name, role in by_size.roles.items() if set(role.members) == {"compute"}
    }
    one_role = RoleMap(load_scenario("tiny-v1"), "shared")
    assert CommonNoise(one_role, kept, 2).draw(generator()) == {}


def test_common_noise_of_an_unknown_role_is_refused(ray_local):
    with pytest.raises(ValueError, match=r"common_noise_steps.*'computer'.*compute, storage"):
        make_runner({"exploration.common_noise_steps": {"computer": 10}})


def test_schedulers_cannot_have_common_noise(ray_local):
    with pytest.raises(ValueError, match=r"common_noise_steps.*scheduler"):
        make_runner({"exploration.common_noise_steps": {"scheduler": 10}})
