"""The buffer of fragments: what goes in comes out, and no more than was agreed."""

import numpy as np
import pytest

pytest.importorskip("torch")

from cloudsched_env.rllib.rollout import RoleRollout
from cloudsched_env.rllib.value_based.replay import FragmentReplay

STEPS, LEVELS, SIZE = 5, 11, 4


def rollout(clusters, first=0.0, steps=STEPS, seed=0):
    """Cluster b of the roll-out is marked by the state first + b."""
    rng = np.random.default_rng(seed)
    marks = np.broadcast_to(first + np.arange(clusters, dtype=np.float32), (steps, clusters))
    roles = {
        role: {
            "observations": rng.random((steps, clusters, n, SIZE), dtype=np.float32),
            "masks": (rng.random((steps, clusters, n, LEVELS)) < 0.5).astype(np.int8),
            "actions": rng.integers(0, LEVELS, (steps, clusters, n, 2)),
            "log_probs": np.zeros((steps, clusters, n), np.float32),
        }
        for role, n in (("compute", 3), ("scheduler", 1))
    }
    return RoleRollout(
        roles=roles,
        states=np.stack([marks, np.broadcast_to(np.arange(steps, dtype=np.float32)[:, None], marks.shape)], -1),
        team_rewards=marks + 0.25,
        truncated=rng.random((steps, clusters)) < 0.3,
        last_states=np.zeros((clusters, 2), np.float32),
        cut_states=np.zeros((0, 2), np.float32),
        cut_index=np.zeros((0, 2), np.int64),
    )


def marks_of(batch):
    return batch.states[0, :, 0].numpy()


def test_a_fragment_is_what_one_cluster_did_in_one_roll_out():
    given = rollout(6)
    replay = FragmentReplay(1000, 10, 0)
    ended = np.zeros((STEPS, 6), bool)
    ended[2, 4] = True
    replay.add(given, ended)
    batch = replay.sample(6)
    clusters = marks_of(batch).astype(int)
    assert sorted(clusters) == list(range(6))
    for role, columns in given.roles.items():
        for name in ("observations", "masks", "actions"):
            np.testing.assert_array_equal(batch.roles[role][name].numpy(), columns[name][:, clusters], err_msg=name)
    np.testing.assert_array_equal(batch.states.numpy(), given.states[:, clusters])
    np.testing.assert_array_equal(batch.team_rewards.numpy(), given.team_rewards[:, clusters])
    np.testing.assert_array_equal(batch.cut.numpy(), given.truncated[:, clusters])
    np.testing.assert_array_equal(batch.terminated.numpy(), ended[:, clusters])


def test_nothing_terminates_unless_said_so():
    replay = FragmentReplay(1000, 10, 0)
    replay.add(rollout(3))
    assert not replay.sample(3).terminated.any()


def test_the_oldest_fragments_make_room():
    replay = FragmentReplay(capacity_env_steps=4 * STEPS + 2, memory_mb=10, seed=0)
    for first in (0, 10, 20):
        replay.add(rollout(3, first=first))
    assert len(replay) == replay.capacity == 4 * STEPS
    assert set(marks_of(replay.sample(4))) == {12, 20, 21, 22}


def test_draws_are_even_and_follow_the_seed():
    def counts(seed):
        replay = FragmentReplay(1000, 10, seed)
        replay.add(rollout(5))
        return np.bincount(np.concatenate([marks_of(replay.sample(2)) for _ in range(1000)]).astype(int))

    assert counts(0).min() > 350
    assert counts(0).tolist() == counts(0).tolist() != counts(1).tolist()


def test_memory_is_bounded_claimed_once_and_stated():
    replay = FragmentReplay(capacity_env_steps=10**9, memory_mb=0.1, seed=0)
    for k in range(30):
        replay.add(rollout(40, seed=k))
    used = sum(array.nbytes for array in replay._arrays.values())
    # 4 agents see 4 numbers, have 11 choices (2 bytes) and take 2 (1 byte each); 2 of state, a reward, 2 flags.
    assert replay.bytes_per_env_step == 4 * (4 * SIZE + 2 + 2) + 4 * 2 + 4 + 2
    assert used == replay.capacity * replay.bytes_per_env_step == pytest.approx(1e6 * replay.claimed_mb)
    assert 0.09e6 < used <= 0.1e6


def test_a_buffer_without_room_says_what_to_change():
    with pytest.raises(ValueError, match=r"replay\.env_steps is 9.*replay\.memory_mb"):
        FragmentReplay(9, 10, 0).add(rollout(3))
    with pytest.raises(ValueError, match=r"takes 94 bytes.*memory_mb 0\.0005"):
        FragmentReplay(10**6, 0.0005, 0).add(rollout(3))


def test_roll_outs_of_another_length_are_refused():
    replay = FragmentReplay(1000, 10, 0)
    replay.add(rollout(3))
    with pytest.raises(ValueError, match=r"7 steps.*fragments of 5.*rollout_steps"):
        replay.add(rollout(3, steps=7))


def test_an_empty_buffer_cannot_be_drawn_from():
    with pytest.raises(ValueError, match="empty"):
        FragmentReplay(1000, 10, 0).sample(1)
