"""What the global state tells of work in progress, on paper; that kernel and oracle agree is tested with the rest."""

import numpy as np
import pytest

from cloudsched_env.roles import work
from cloudsched_env.vector import CloudSchedVectorEnv
from tests.simulator.drive import make_episode, play
from tests.simulator.isolated import isolated

NODE = [entry.name for entry in work.NODE_FIELDS]


def watched(scenario, episode, *names):
    """Values of state fields after each step, ``[steps, names]``."""
    seen = []

    def look(env, _):
        position = {name: i for i, name in enumerate(env.state_layout.names())}
        seen.append([float(env.state[0, position[name]]) for name in names])

    play(scenario, [episode], watch=look)
    return np.array(seen)


def test_work_done_and_left_add_up_to_the_task_until_it_completes():
    scenario = isolated()
    episode = make_episode(scenario, base_time_s=2.0, deadline_s=10.0)  # alone on a node of one core: 2 s
    seen = watched(scenario, episode, "compute[0].kept_work", "compute[0].work_left")
    during = seen[1:20]
    assert during.sum(axis=1) == pytest.approx(0.2, abs=1e-6)  # of 10 s of the node
    assert during[:, 0] == pytest.approx(np.arange(1, 20) / 100, abs=1e-6)
    assert (seen[22:] == 0).all()


def test_a_task_falls_due_when_its_time_left_passes_each_horizon():
    scenario = isolated()
    episode = make_episode(scenario, base_time_s=4.0, deadline_s=10.0)
    names = [f"compute[0].{name}" for name in NODE if name.startswith("due_in")]
    seen = watched(scenario, episode, *names)
    first = [int(np.flatnonzero(column > 0)[0]) for column in seen.T]
    left_s = [4.0 - 0.1 * steps for steps in first]
    for left, horizon in zip(left_s, work.DUE_S, strict=True):
        assert horizon - 0.1 - 1e-6 <= left <= horizon + 1e-6
    assert seen[39] == pytest.approx(0.4, abs=1e-6)


def test_work_is_lost_from_when_the_rest_takes_longer_than_the_deadline_leaves():
    scenario = isolated()
    # Two tasks share one core: after t seconds each has 2 - t/2 left, and 3 - t until its deadline.
    episode = make_episode(scenario, base_time_s=[2.0, 2.0], deadline_s=3.0)
    seen = watched(scenario, episode, "compute[0].work_left", "compute[0].lost_work_left", "compute[0].spare_work")
    lost = np.flatnonzero(seen[:, 1] > 0)
    assert 0.1 * lost[0] == pytest.approx(2.0, abs=0.2)
    assert (seen[lost, 0] == 0).all()
    assert seen[1, 2] == pytest.approx(
        0.4 * (1.0 - 0.05 / 2) / 2, rel=0.1
    )  # about half as much spare time as time left


def test_waiting_tasks_count_with_their_scheduler():
    scenario = isolated(scheduling__window_slots=1)
    episode = make_episode(scenario, base_time_s=[2.0, 2.0, 2.0], deadline_s=100.0)
    env = CloudSchedVectorEnv(scenario)
    env.reset(0, episodes=[episode])
    waiting = env.state_layout.names().index("scheduler[0].waiting_work")
    idle = {role: np.zeros((1, env.role_counts[role], len(env.action_levels[role])), np.int64) for role in env.roles}
    values = []
    for _ in range(4):  # one leaves in each step
        env.step(idle)
        values.append(float(env.state[0, waiting]))
    assert values == pytest.approx([4.0, 2.0, 0.0, 0.0])  # of 2 core-seconds each, in seconds of the one core
