"""`benchmarks/throughput.py` and `scaling.py`: what they step is what they say, on the scenarios that are shipped."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cloudsched_env.scenario import load_scenario
from cloudsched_env.vector import CloudSchedVectorEnv
from tests.scripts import BENCHMARKS, load_script


@pytest.fixture(scope="module")
def throughput():
    return load_script("throughput.py")


@pytest.fixture(scope="module")
def scaling():
    return load_script("scaling.py")


@pytest.mark.parametrize("scenario", ["tiny-v1", "paper-v1"])
def test_both_faces_step_whole_episodes(throughput, scenario):
    horizon = load_scenario(scenario).time.horizon_steps
    for batch, subject in ((3, throughput.vector_steps(scenario, 3)), (1, throughput.parallel_steps(scenario))):
        for _ in range(2):
            steps, step_s, reset_s = next(subject)
            assert steps == batch * horizon
            assert step_s > 0
            assert reset_s > 0


def test_levels_stay_and_tasks_follow_the_cores(throughput):
    env = CloudSchedVectorEnv("paper-v1", 64)
    drawn = throughput.drawn_actions(env)
    assert all((actions["compute"] == drawn[0]["compute"]).all() for actions in drawn)
    nodes = env.scenario.cluster.compute_nodes
    cores = np.repeat([n.cores for n in nodes], [n.count for n in nodes])
    chosen = np.bincount(np.concatenate([actions["scheduler"].ravel() for actions in drawn]), minlength=len(cores))
    assert chosen / chosen.sum() == pytest.approx(cores / cores.sum(), rel=0.1)


def test_clusters_whose_schedulers_see_candidates_only_are_refused(throughput):
    with pytest.raises(ValueError, match="use --scaling"):
        throughput.drawn_actions(CloudSchedVectorEnv("internet-v1", 1))


def test_the_exponent_of_a_known_law_is_found(scaling):
    agents = [25, 50, 250, 1024]
    noise = np.random.default_rng(0).lognormal(0, 0.02, (9, 4))
    found = scaling.exponent(agents, 3e-6 * np.array(agents) ** 0.8 * noise)
    assert found["exponent"] == pytest.approx(0.8, abs=0.02)
    assert found["interval_95"][0] < 0.8 < found["interval_95"][1]


@pytest.mark.parametrize("rounds", [3, 5, 10])
def test_the_interval_of_an_exponent_holds_the_true_one_as_often_as_it_says(scaling, rounds):
    """Rounds of a law of known exponent, disturbed in every measurement and by the machine in whole rounds."""
    agents, trials = np.array([25, 50, 250, 1024]), 4000
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(trials):
        noise = rng.lognormal(0, 0.05, (rounds, 4)) * rng.lognormal(0, 0.1, (rounds, 1))
        low, high = scaling.exponent(agents, agents**0.8 * noise)["interval_95"]
        held += low < 0.8 < high
    assert held / trials == pytest.approx(0.95, abs=0.012)  # 3.5 standard errors of a share of so many trials


def test_one_round_has_no_interval_and_two_have_a_wide_one(scaling):
    assert scaling.summary_of_slopes(np.array([0.5]))["interval_95"] is None
    assert "one round" in scaling.in_words(scaling.summary_of_slopes(np.array([0.5])))
    # Standard error of .4 and .6 is .1, t of one degree of freedom 12.706.
    found = scaling.summary_of_slopes(np.array([0.4, 0.6]))
    assert found["interval_95"] == pytest.approx([0.5 - 1.2706, 0.5 + 1.2706], abs=1e-4)
    assert scaling.in_words(found) == "0.50 [-0.77, 1.77] (95 %, 2 rounds)"


def test_the_committed_exponents_are_those_of_their_rounds(scaling):
    record = json.loads((BENCHMARKS / "results" / "scaling.json").read_text())
    for face in ("one environment", "equal agents in all"):
        found = scaling.summary_of_slopes(np.array(record[face]["rounds"]))
        assert {name: record[face][name] for name in found} == found


def test_a_subject_of_scaling_steps_its_clusters(scaling):
    subject = scaling.Subject("paper-v1", 2, {})
    assert subject.agents == 25
    assert subject.seconds_per_env_step(0.01) > 0
    assert subject.state_bytes() > 100_000
