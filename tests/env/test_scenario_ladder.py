"""Every scenario of the package: valid, registered, and a PettingZoo environment."""

import json
from importlib import resources

import numpy as np
import pettingzoo
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test
from pettingzoo.test.state_test import state_test
from pettingzoo.utils.conversions import parallel_to_aec

import cloudsched_env
from cloudsched_env.scenario import Scenario, load_scenario, scenario_chain, scenario_ids
from cloudsched_env.scenario import files as scenario_files

IDS = scenario_ids()
# PettingZoo's tests walk through agents one by one, so that large clusters get fewer cycles.
CYCLES = {"internet": 2, "large": 5, "tenants-64-per-tenant": 10, "tenants-32-per-tenant": 20}
LADDER = {
    "tiny-v1": (2, 2, 1),
    "paper-v1": (16, 6, 3),
    "medium-v1": (32, 12, 6),
    "large-v1": (160, 60, 30),
    "internet-v1": (640, 256, 128),
}
TENANTS = (4, 8, 16, 32, 64)


def cycles(scenario, default):
    return min(default, CYCLES.get(scenario.rsplit("-", 1)[0], default))


def cores(scenario):
    return sum(t.count * t.cores for t in scenario.cluster.compute_nodes)


@pytest.mark.parametrize("scenario", IDS)
def test_passes_pettingzoo_api_test(scenario):
    parallel_api_test(cloudsched_env.parallel_env(scenario), num_cycles=cycles(scenario, 40))


@pytest.mark.parametrize("scenario", IDS)
def test_passes_pettingzoo_seed_test(scenario):
    parallel_seed_test(lambda: cloudsched_env.parallel_env(scenario), num_cycles=cycles(scenario, 10))


@pytest.mark.parametrize("scenario", IDS)
def test_passes_pettingzoo_state_test(scenario):
    # A short episode: PettingZoo's test goes on to its end.
    short = {"time.horizon_steps": 8, "time.warmup_steps": 2, "workload.flash_crowd_duration_s": 0.2}
    env, parallel = (cloudsched_env.parallel_env(scenario, overrides=short) for _ in range(2))
    state_test(parallel_to_aec(env), parallel)


@pytest.mark.parametrize("scenario", IDS)
def test_is_registered_and_its_observations_stay_in_their_spaces(scenario):
    env = pettingzoo.make("parallel", f"cloudsched/{scenario}").unwrapped
    assert env.scenario.id == scenario
    observations, _ = env.reset(seed=1)
    for agent in env.agents:
        env.action_space(agent).seed(0)
    for _ in range(cycles(scenario, 60)):
        for agent, observation in observations.items():
            assert env.observation_space(agent).contains(observation), agent
        assert env.state_space.contains(env.state())
        actions = {a: env.action_space(a).sample(observations[a]["action_mask"]) for a in env.agents}
        observations, rewards, *_ = env.step(actions)
        assert all(np.isfinite(list(rewards.values())))


@pytest.mark.parametrize(("scenario", "counts"), LADDER.items())
def test_the_ladder_has_its_agents(scenario, counts):
    assert tuple(load_scenario(scenario).role_counts.values()) == counts


@pytest.mark.parametrize("rung", ["medium-v1", "large-v1", "internet-v1"])
def test_larger_rungs_have_the_load_of_paper_on_every_node(rung):
    large, paper = load_scenario(rung), load_scenario("paper-v1")
    compute = large.compute_count / paper.compute_count
    schedulers = large.cluster.schedulers / paper.cluster.schedulers
    mix = [(t.count, t.cores, t.memory_gb) for t in large.cluster.compute_nodes]
    assert mix == [(t.count * compute, t.cores, t.memory_gb) for t in paper.cluster.compute_nodes]
    assert large.cluster.storage_nodes == paper.cluster.storage_nodes * schedulers
    assert large.workload.task_rate_per_s == pytest.approx(paper.workload.task_rate_per_s * schedulers)
    assert large.workload.tenants == paper.workload.tenants * schedulers
    hot_sets = [s.shards * s.cache.hot_set_mean_gb / s.compute_count for s in (large, paper)]
    assert hot_sets[0] == pytest.approx(hot_sets[1])
    assert large.shards <= 1024
    for field in ("cpu_load", "memory_load", "read_load", "write_load"):
        assert getattr(large.workload, field) == getattr(paper.workload, field)


@pytest.mark.parametrize("tenants", TENANTS)
def test_tenants_at_fixed_total_load_change_nothing_but_their_number_and_the_size_of_shards(tenants):
    changed, paper = load_scenario(f"tenants-{tenants}-v1"), load_scenario("paper-v1")
    assert changed.workload.tenants == tenants
    for field in ("hot_set_mean_gb", "hot_set_minimum_gb", "hot_set_maximum_gb"):
        total = [s.shards * getattr(s.cache, field) for s in (changed, paper)]
        assert total[0] == pytest.approx(total[1])
    restored = changed.override(
        {
            "id": paper.id,
            "description": paper.description,
            "workload.tenants": paper.workload.tenants,
            **{f"cache.{f}": getattr(paper.cache, f) for f in ("hot_set_mean_gb", "hot_set_minimum_gb")},
            "cache.hot_set_maximum_gb": paper.cache.hot_set_maximum_gb,
        }
    )
    assert restored == paper


@pytest.mark.parametrize("tenants", TENANTS)
def test_tenants_at_fixed_load_each_bring_their_own_part_of_the_cluster(tenants):
    changed, paper = load_scenario(f"tenants-{tenants}-per-tenant-v1"), load_scenario("paper-v1")

    def per_tenant(s: Scenario) -> list[float]:
        memory = sum(t.count * t.memory_gb for t in s.cluster.compute_nodes)
        return [
            cores(s) / s.workload.tenants,
            s.workload.task_rate_per_s / s.workload.tenants,
            s.cluster.schedulers / s.workload.tenants,
            s.cluster.storage_nodes * s.storage.bandwidth_mb_per_s / s.workload.tenants,
            s.workload.memory_load * memory / s.workload.tenants,
            s.shards * s.cache.hot_set_mean_gb / s.workload.tenants,
        ]

    assert changed.workload.tenants == tenants
    assert per_tenant(changed) == pytest.approx(per_tenant(paper), rel=1e-5)
    assert changed.workload.cpu_load == paper.workload.cpu_load
    assert changed.compute_count / tenants == pytest.approx(paper.compute_count / 12, rel=0.15)


@pytest.mark.parametrize(
    ("scenario", "changes"),
    [
        *[(f"loss-{p}-v1", {"telemetry.loss_probability": p / 100}) for p in (10, 30, 50, 70)],
        *[
            (f"loss-{p}-bursty-v1", {"telemetry.loss_probability": p / 100, "telemetry.loss_burst_length": 10.0})
            for p in (30, 50, 70)
        ],
        *[(f"stale-{k}-v1", {"telemetry.delay_steps": k}) for k in (0, 10, 25, 50)],
    ],
)
def test_information_stress_is_paper_with_one_change(scenario, changes):
    stressed = load_scenario(scenario)
    identity = {"id": stressed.id, "description": stressed.description}
    assert load_scenario("paper-v1", {**changes, **identity}) == stressed


@pytest.mark.parametrize("scenario", [i for i in IDS if i not in LADDER and i.endswith("-v1")])
def test_stress_variants_extend_paper_and_have_a_description(scenario):
    assert scenario_chain(scenario)[-1] == "paper-v1"
    assert len(load_scenario(scenario).description) > 20


def write_scenarios(folder, monkeypatch, **files):
    for name, content in files.items():
        (folder / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
    monkeypatch.setattr(scenario_files, "_scenario_folder", lambda: folder)


def test_a_file_may_extend_another_through_several_steps(tmp_path, monkeypatch):
    write_scenarios(
        tmp_path,
        monkeypatch,
        base={"description": "of the base", "workload": {"tenants": 5, "cpu_load": 0.5}},
        middle={"extends": "base", "workload": {"cpu_load": 0.6, "read_load": 0.1}},
        leaf={"extends": "middle", "workload": {"read_load": 0.2}},
    )
    leaf = load_scenario("leaf")
    assert (leaf.workload.tenants, leaf.workload.cpu_load, leaf.workload.read_load) == (5, 0.6, 0.2)
    assert (leaf.id, leaf.description) == ("leaf", "")
    assert scenario_chain("leaf") == ["leaf", "middle", "base"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a": {"extends": "a"}}, r"in a circle: a -> a; remove"),
        ({"a": {"extends": "b"}, "b": {"extends": "c"}, "c": {"extends": "b"}}, r"in a circle: a -> b -> c -> b"),
        ({"a": {"extends": "z"}, "b": {}}, r"unknown scenario 'z' \(extended by 'a'\): expected one of a, b"),
        ({"a": {"extends": ["b"]}, "b": {}}, r"'a': \"extends\" is \['b'\]: expected the id of a scenario"),
        ({"a": {"extends": "b", "workload": {"tenant": 1}}, "b": {}}, r"unknown scenario field 'workload.tenant'"),
        ({"a": [1]}, r"scenario file 'a': expected an object of fields, got list"),
    ],
)
def test_wrong_inheritance_is_refused(tmp_path, monkeypatch, files, message):
    write_scenarios(tmp_path, monkeypatch, **files)
    with pytest.raises(ValueError, match=message):
        load_scenario("a")


def test_files_say_only_in_what_they_differ():
    folder = resources.files("cloudsched_env") / "scenarios"
    for scenario in IDS:
        content = json.loads((folder / f"{scenario}.json").read_text())
        base = load_scenario(content.pop("extends")) if "extends" in content else Scenario()
        content.pop("description")
        for group, fields in content.items():
            for name in fields:
                own = getattr(getattr(load_scenario(scenario), group), name)
                assert own != getattr(getattr(base, group), name), (scenario, group, name)
