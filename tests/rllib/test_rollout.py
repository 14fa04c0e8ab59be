import numpy as np
import pytest

pytest.importorskip("ray")

from ray.rllib.utils.minibatch_utils import ShardEpisodesIterator

from cloudsched_env.rllib.not_finite import NotFiniteError
from cloudsched_env.rllib.rollout import RoleRollout

T, B = 6, 8


def rollout():
    steps = np.arange(T * B, dtype=np.float32).reshape(T, B)
    columns = {"log_probs": steps[..., None].repeat(2, -1), "observations": steps[..., None, None].repeat(2, 2)}
    columns["local_rewards"] = columns["log_probs"].copy()
    cut = np.array([(2, b) for b in range(B)] + [(4, 7)])
    return RoleRollout(
        roles={"compute": columns},
        states=steps[..., None].copy(),
        team_rewards=steps,
        truncated=np.zeros((T, B), bool),
        last_states=np.arange(B, dtype=np.float32)[:, None],
        cut_states=np.arange(len(cut), dtype=np.float32)[:, None],
        cut_index=cut,
    )


@pytest.mark.parametrize("learners", [2, 4])
def test_learners_get_equal_shares_of_whole_time_sequences(learners):
    shards = [shard for (shard,) in ShardEpisodesIterator([rollout()], num_shards=learners)]
    assert [len(shard) for shard in shards] == [T * B // learners] * learners
    joined = np.concatenate([shard.team_rewards for shard in shards], axis=1)
    np.testing.assert_array_equal(joined, rollout().team_rewards)
    for shard in shards:
        np.testing.assert_array_equal(shard.roles["compute"]["log_probs"][..., 0], shard.team_rewards)
        np.testing.assert_array_equal(shard.states[..., 0], shard.team_rewards)


def test_cut_states_go_with_their_clusters():
    first, second = rollout().clusters(0, 5), rollout().clusters(5, 8)
    assert first.cut_index.tolist() == [[2, b] for b in range(5)]
    assert second.cut_index.tolist() == [[2, 0], [2, 1], [2, 2], [4, 2]]
    assert second.cut_states[:, 0].tolist() == [5, 6, 7, 8]
    assert second.last_states[:, 0].tolist() == [5, 6, 7]


def test_steps_are_counted_over_clusters_and_agents():
    assert (len(rollout()), rollout().env_steps(), rollout().agent_steps()) == (T * B, T * B, 2 * T * B)


@pytest.mark.parametrize(
    ("column", "index", "message"),
    [
        ("states", (3, 5), "^states is not finite at step 3 of cluster 5"),
        ("team_rewards", (0, 7), "^team_rewards is not finite at step 0 of cluster 7"),
        ("compute.local_rewards", (2, 1), r"^compute\.local_rewards is not finite at step 2 of cluster 1"),
        ("compute.log_probs", (2, 1), r"^compute\.log_probs is not finite"),
        ("last_states", (6,), "^last_states is not finite after the last step of cluster 6"),
        ("cut_states", (8,), "^cut_states is not finite after step 4 of cluster 7"),
    ],
)
def test_numbers_that_are_not_finite_are_told_by_column_step_and_cluster(column, index, message):
    data = rollout()
    data.check_finite()
    role, _, name = column.rpartition(".")
    (data.roles[role][name] if role else getattr(data, name))[index] = np.inf
    with pytest.raises(NotFiniteError, match=message):
        data.check_finite()
