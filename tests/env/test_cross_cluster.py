"""The scenarios with other traces' work: the same cluster and spaces as paper-v1, the same loads, another workload."""

from __future__ import annotations

import json

import numpy as np
import pytest

import cloudsched_env
from cloudsched_env.evaluation.export import metadata
from cloudsched_env.evaluation.protocol import evaluate
from cloudsched_env.scenario import load_scenario, scenario_ids
from cloudsched_env.vector import CloudSchedVectorEnv
from cloudsched_env.workload import GeneratedSource
from cloudsched_env.workload.profile import load_profile, profile_names

PROFILES = {
    "paper-google2011-v1": "google2011-nested",
    "paper-alibaba2017-v1": "alibaba2017",
    "paper-alibaba2018-v1": "alibaba2018",
    "paper-azure-v1": "azure",
    "paper-snowset-v1": "snowset",
    "paper-redset-v1": "redset",
}


def test_all_six_are_there():
    assert set(PROFILES) <= set(scenario_ids())
    assert set(PROFILES.values()) <= set(profile_names())


@pytest.mark.parametrize("scenario", PROFILES)
def test_only_the_profile_and_the_compression_of_time_differ_from_paper(scenario):
    changed, paper = load_scenario(scenario), load_scenario("paper-v1")
    assert changed.workload.profile == PROFILES[scenario]
    restored = changed.override(
        {
            "id": paper.id,
            "description": paper.description,
            "workload.profile": paper.workload.profile,
            "workload.time_compression": paper.workload.time_compression,
        }
    )
    assert restored == paper


@pytest.mark.parametrize("scenario", PROFILES)
def test_spaces_are_those_of_paper(scenario):
    env, paper = (cloudsched_env.parallel_env(name) for name in (scenario, "paper-v1"))
    assert env.possible_agents == paper.possible_agents
    for agent in env.possible_agents:
        assert env.observation_space(agent) == paper.observation_space(agent)
        assert env.action_space(agent) == paper.action_space(agent)
    assert env.state_space == paper.state_space
    fields = [CloudSchedVectorEnv(name, 1).layouts for name in (scenario, "paper-v1")]
    assert fields[0] == fields[1]


@pytest.mark.parametrize("scenario", PROFILES)
def test_compression_follows_the_documented_rule(scenario):
    paper, changed = load_scenario("paper-v1").workload, load_scenario(scenario).workload
    old, new = load_profile(paper.profile), load_profile(changed.profile)
    wanted = old.sessions_per_s * old.capped_tasks_per_session * paper.time_compression
    offered = new.jobs_per_s * new.tasks_per_job(changed.fan_out_cap) * changed.time_compression
    assert offered == pytest.approx(wanted, rel=0.005)


@pytest.mark.parametrize("scenario", PROFILES)
def test_offered_loads_are_those_of_paper_in_every_split(scenario):
    for split in ("train", "validation", "test"):
        source = GeneratedSource(scenario, split)
        for seed in range(4):
            episode = source.episode(np.random.default_rng(seed))
            workload = load_scenario("paper-v1").workload
            load = episode.details["offered_load"]
            assert load["cpu"] == pytest.approx(workload.cpu_load, rel=1e-6)
            assert load["memory"] == pytest.approx(workload.memory_load, rel=1e-6)
            assert load["read"] == pytest.approx(workload.read_load, rel=1e-6)
            assert 15.0 < episode.details["task_rate_per_s"] <= 60.0


@pytest.mark.parametrize("scenario", PROFILES)
def test_episodes_say_what_they_were_drawn_from(scenario):
    episode = GeneratedSource(scenario, "test").evaluation_episodes(1)[0]
    assert episode.data_tag == "generated"
    assert episode.details["source"] == f"generated:{PROFILES[scenario]}"
    assert PROFILES[scenario] in episode.details["synthetic_columns"]["all columns"]
    json.dumps(episode.details)


def test_workloads_differ_from_each_other():
    found = {}
    for scenario in ("paper-v1", *PROFILES):
        episodes = GeneratedSource(scenario, "validation").evaluation_episodes(6)
        found[scenario] = np.mean([e.details["jobs"] for e in episodes])
    assert found["paper-redset-v1"] > 3000
    assert found["paper-google2011-v1"] == pytest.approx(found["paper-v1"], rel=0.15)
    assert found["paper-alibaba2017-v1"] < 800


def test_a_policy_for_paper_runs_on_all_of_them_and_results_name_the_profile():
    short = {"time.horizon_steps": 30, "time.warmup_steps": 10}
    for name in ("paper-v1", *PROFILES):
        # Time is compressed for episodes of 65 s; shorter ones take shorter windows.
        scenario = load_scenario(name, short)
        result = evaluate(["linear_feedback"], scenario=scenario, split="test", episodes=1)
        assert result.agents[0].name == "linear_feedback"
        assert np.isfinite(result.agents[0].metrics["useful_utilisation"]).all()
        said = metadata(result, "test")
        assert said["data_tag"] == "generated"
        assert said["scenario"]["workload"]["profile"] == PROFILES.get(name, "google2011")


def test_another_word_is_all_that_changes_an_override():
    scenario = load_scenario("paper-v1", {"workload.profile": "redset", "workload.time_compression": 1.14})
    one = GeneratedSource(scenario, "test").evaluation_episodes(1)[0]
    other = GeneratedSource("paper-redset-v1", "test").evaluation_episodes(1)[0]
    assert (one.arrival_s == other.arrival_s).all()


def test_a_source_follows_the_profile_of_the_scenario_it_is_given():
    source = GeneratedSource("paper-v1", "test").with_scenario("paper-redset-v1")
    assert source.profile.name == "redset"
    fixed = GeneratedSource("paper-v1", "test", load_profile("snowset")).with_scenario("paper-redset-v1")
    assert fixed.profile.name == "snowset"


def test_an_unknown_profile_is_refused_with_the_known_ones():
    scenario = load_scenario("paper-v1", {"workload.profile": "nobody"})
    with pytest.raises(ValueError, match="unknown workload profile 'nobody': expected one of alibaba2017"):
        GeneratedSource(scenario)


@pytest.mark.parametrize("name", sorted(set(PROFILES.values())))
def test_profiles_say_where_each_marginal_comes_from_and_hold_no_rows(name):
    profile = load_profile(name)
    assert profile.provenance["source"]
    assert profile.provenance["url"].startswith("https://")
    assert "no" in profile.provenance["licence"]
    assert profile.provenance["marginals"]
    for text in profile.provenance["marginals"].values():
        assert any(word in text for word in ("fitted", "published", "assumed", "assumption", "quantiles", "none"))
    assert profile.user_share.sum() == pytest.approx(1.0)
    assert profile.user_kinds[:, -1] == pytest.approx(1.0)
    for entry in profile.kinds:
        assert (np.diff(entry.duration_s.values) >= 0).all()
        assert len(entry.cpu_request) <= 120
