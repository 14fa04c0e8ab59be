"""`benchmarks/update_time.py`: the clusters it measures, and the exponent of times that follow a known law."""

import inspect
import json

import pytest

pytest.importorskip("ray")

from cloudsched_env.scenario import load_scenario
from tests.scripts import BENCHMARKS, load_script


@pytest.fixture(scope="module")
def update_time():
    return load_script("update_time.py")


def test_every_size_is_a_valid_cluster_of_that_many_agents(update_time):
    for agents in update_time.SIZES:
        scenario = load_scenario("paper-v1", update_time.scaled_cluster(agents))
        assert sum(scenario.role_counts.values()) == agents
        assert min(scenario.role_counts.values()) >= 1


def test_batches_hold_what_the_sweep_says(update_time):
    for agents in update_time.SIZES:
        steps, clusters = update_time.batch_shape("env steps", agents)
        assert steps * clusters == update_time.ENV_STEPS
        steps, clusters = update_time.batch_shape("agent samples", agents)
        assert steps * clusters * agents == pytest.approx(update_time.AGENT_SAMPLES, rel=0.05)


def test_a_power_law_is_recovered_and_a_bend_shows_at_the_end(update_time):
    sizes = [5, 25, 100, 1000]

    def measured(law):
        rows = {}
        for n in sizes:
            row = {"update_cpu_s": law(n), "sampling_cpu_s": 0.0, "env_steps": 500.0}
            rows[f"env steps/{n}"] = [row] * 3
        return update_time.summarise(rows, sizes)["env steps"]

    straight = measured(lambda n: 0.1 * n**0.7)
    assert straight["update_exponent"]["exponent"] == pytest.approx(0.7)
    assert straight["update_exponent"]["interval_95"] == pytest.approx([0.7, 0.7])
    bent = measured(lambda n: 1.0 + 0.01 * n)
    assert bent["update_exponent"]["exponent"] < bent["update_exponent_of_the_largest_two"]["exponent"] < 1
    assert straight["sizes"]["25"]["update_cpu_s"] == pytest.approx(0.1 * 25**0.7)


def test_the_committed_record_has_the_figures_of_its_measurements(update_time):
    record = json.loads((BENCHMARKS / "results" / "update_time.json").read_text())
    found = update_time.summarise(record["measurements"], list(update_time.SIZES))
    assert json.loads(json.dumps(found)) == record["summary"]


def test_enough_rounds_are_measured_without_being_asked_for(update_time):
    assert inspect.signature(update_time.main).parameters["rounds"].default >= 10
