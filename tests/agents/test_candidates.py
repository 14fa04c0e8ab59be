"""Agents on clusters where schedulers see a sample of the nodes."""

import numpy as np
import pytest

import cloudsched_env
from cloudsched_env.agents import ClusterInfo, check_actions, load_agent
from cloudsched_env.agents.heuristics.order import DominantResourceFairness
from cloudsched_env.agents.registry import LINEAR, PLACEMENTS
from cloudsched_env.agents.view import SchedulerView
from cloudsched_env.vector import CloudSchedVectorEnv
from tests.agents.observations import cluster_info, equal_nodes, scheduling

FEW = {"scheduling.candidate_nodes": 5, "time.warmup_steps": 0, "failure.compute_failures_per_hour": 60.0}


@pytest.mark.parametrize("name", [*PLACEMENTS, *LINEAR])
def test_every_agent_places_tasks_among_candidates_and_respects_masks(name):
    env = CloudSchedVectorEnv("paper-v1", 2, overrides=FEW)
    info = ClusterInfo(env.scenario, env.layouts, env.action_levels, env.role_counts)
    agent = load_agent(name)
    agent.reset(info, 2, 0)
    env.reset(0)
    for _ in range(80):
        env.step(check_actions(agent.act(env.observations, env.masks), info, 2, name))
    for result in env.results():
        assert result.totals["invalid_actions"] == 0
        assert np.isfinite(result.start_s).sum() > 50
    used = np.flatnonzero(env.simulator_state.schedulers.sent_cores.sum(axis=(0, 1)))
    assert len(used) > 10, "only few nodes are ever a candidate"


def test_dominant_shares_are_those_of_the_cluster_and_not_of_the_candidates():
    tasks = [
        {"cores": 4.8, "tenant_share": 0.0},
        {"cores": 4.8, "tenant_share": 0.0},
        {"cores": 0.5, "tenant_share": 0.1},
    ]
    orders = []
    for nodes in (4, 8):  # 4 are seen in both
        info = cluster_info(equal_nodes(nodes).scenario.override({"scheduling.candidate_nodes": 4}))
        observations, masks = scheduling(info, tasks)
        view = SchedulerView(info, observations["scheduler"], masks["scheduler"])
        assert view.nodes == 4
        orders.append(DominantResourceFairness().order(view, None)[0, 0, :3].tolist())
    # 4.8 of 32 cores is a share of 0.15 and makes the second tenant the poorer one; of 64 cores it is 0.075.
    assert orders == [[0, 2, 1], [0, 1, 2]]


def test_parallel_env_tells_which_nodes_the_candidates_are():
    env = cloudsched_env.parallel_env("paper-v1", overrides=FEW)
    twin = CloudSchedVectorEnv("paper-v1", 1, overrides=FEW)
    _, infos = env.reset(seed=4)
    twin.reset([4])
    kept = []
    for _ in range(10):
        for s in range(3):
            assert infos[f"scheduler_{s}"]["candidates"].tolist() == twin.candidates[0, s].tolist()
        kept.append((infos["scheduler_1"]["candidates"], twin.candidates[0, 1].tolist()))
        assert "candidates" not in infos["compute_0"]
        actions = {agent: env.action_space(agent).sample() for agent in env.agents}
        infos = env.step(actions)[-1]
        twin.step(
            {
                role: np.array([[actions[f"{role}_{i}"] for i in range(count)]])
                for role, count in twin.role_counts.items()
            }
        )
    assert all(given.tolist() == then for given, then in kept), "infos of earlier steps change"
