"""More runners, more learners, more nodes, Tune: the same configuration, unchanged."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray")

from tests.rllib.toy_env import toy_config

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster_report():
    """Two runners and two learners on a simulated cluster of two nodes; a runner is killed while it samples."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RAY_DISABLE_IMPORT_WARNING": "1"}
    environment["RAY_worker_niceness"] = "0"  # Ray's 15 lets workers starve beside other processes
    done = subprocess.run(
        [sys.executable, "-m", "tests.rllib.cluster_run"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
        timeout=900,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("REPORT ")]
    assert lines, (done.stdout[-2000:], done.stderr[-4000:])
    return json.loads(lines[0].removeprefix("REPORT "))


def test_runners_and_learners_spread_over_the_nodes_of_a_cluster(cluster_report):
    assert cluster_report["nodes"] == 2
    assert cluster_report["nodes_used"] == 2
    assert cluster_report["env_steps"][0] == 3200
    assert cluster_report["runners_have_the_weights"]


def test_training_goes_on_when_a_runner_is_killed_and_the_runner_comes_back(cluster_report):
    assert cluster_report["killed"]
    assert cluster_report["runners_at_the_end"] == 2
    steps = cluster_report["env_steps"]
    assert all(later > earlier for earlier, later in itertools.pairwise(steps))
    assert cluster_report["score"][-1] > cluster_report["score"][0]


def test_a_checkpoint_of_several_learners_restores_the_same_weights_and_goes_on(cluster_report):
    assert cluster_report["restored_weights_equal"]
    assert cluster_report["env_steps_after_restoring"] > cluster_report["env_steps"][-1]


def test_tune_searches_over_lambda(ray_local, tmp_path):
    from ray import tune

    from cloudsched_env.rllib.hrac import HRAC

    settings = toy_config({"epoch_env_steps": 800}).settings.to_dict()
    settings["lgrs"]["lambda"] = tune.grid_search([0.0, 1.0])
    base = toy_config()
    tuner = tune.Tuner(
        HRAC,
        param_space={"env": base.env, "env_config": {}, "seed": 0, "num_env_runners": 0, "hrac": settings},
        run_config=tune.RunConfig(stop={"training_iteration": 2}, storage_path=str(tmp_path), verbose=0),
    )
    results = tuner.fit()
    assert not results.errors
    assert len(results) == 2
    assert all(result.metrics["training_iteration"] == 2 for result in results)
    # The weight reached each trial's learner: without one nothing of the local reward is left.
    local = sorted(result.metrics["learners"]["compute"]["lgrs_local_term_std"] for result in results)
    assert local[0] == 0 < local[1]
