"""Trains on a simulated Ray cluster of two nodes while a runner is killed; prints what happened as JSON."""

import json
import os
import signal
import sys
import tempfile
import threading
import time

import numpy as np
import ray
from ray.cluster_utils import Cluster
from ray.rllib.algorithms.algorithm import Algorithm

from cloudsched_env.rllib.ray_session import ray_session
from cloudsched_env.rllib.results import epoch_row
from tests.rllib.toy_env import toy_config


def weights(algorithm):
    state = algorithm.learner_group.get_state(components="learner/rl_module")["learner"]["rl_module"]
    return {f"{m}.{name}": np.asarray(v) for m, values in state.items() for name, v in values.items()}


def runners(algorithm):
    """Process and node of each remote runner that answers."""
    return algorithm.env_runner_group.foreach_env_runner(
        lambda runner: (os.getpid(), ray.get_runtime_context().get_node_id()), local_env_runner=False
    )


def kill_while_training(pid, after_s):
    timer = threading.Timer(after_s, os.kill, (pid, signal.SIGKILL))
    timer.start()
    return timer


def say(begun, text):
    """Where the run stands, for whoever waits for it."""
    print(f"{time.monotonic() - begun:.0f} s: {text}", file=sys.stderr, flush=True)


def main():
    begun = time.monotonic()
    store = 150 * 2**20
    # Two runners and two learners need all four slots, so they have to use both nodes.
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 2, "object_store_memory": store, "include_dashboard": False},
    )
    cluster.add_node(num_cpus=2, object_store_memory=store)
    cluster.wait_for_nodes()
    report = {}
    with ray_session(cluster.address):
        report["nodes"] = sum(node["Alive"] for node in ray.nodes())
        config = toy_config({"epoch_env_steps": 3200}).env_runners(num_env_runners=2).learners(num_learners=2)
        say(begun, "cluster is up")
        algorithm = config.build_algo()
        say(begun, "runners and learners are up")
        rows = [epoch_row(algorithm.train(), 1, 0.0)]
        before = runners(algorithm)
        learners = algorithm.learner_group.foreach_learner(lambda _: ray.get_runtime_context().get_node_id())
        report["nodes_used"] = len({node for _, node in before} | {result.get() for result in learners})
        say(begun, "first epoch done")
        timer = kill_while_training(before[0][0], 0.2)
        rows += [epoch_row(algorithm.train(), epoch, 0.0) for epoch in (2, 3)]
        timer.join()
        deadline = time.monotonic() + 60
        while len(runners(algorithm)) < 2 and time.monotonic() < deadline:
            rows.append(epoch_row(algorithm.train(), len(rows) + 1, 0.0))
        after = runners(algorithm)
        say(begun, f"{len(rows)} epochs done")
        report["killed"] = before[0][0] not in {pid for pid, _ in after}
        report["runners_at_the_end"] = len(after)
        report["env_steps"] = [row["env_steps"] for row in rows]
        report["score"] = [row["team_reward"] for row in rows]
        learned = weights(algorithm)
        name = "compute.network.head.weight"
        held = algorithm.env_runner_group.foreach_env_runner(
            lambda runner: runner.module["compute"].network.head.weight.detach().numpy(), local_env_runner=False
        )
        report["runners_have_the_weights"] = all(np.allclose(value, learned[name], rtol=1e-6) for value in held)
        with tempfile.TemporaryDirectory() as folder:
            algorithm.save_to_path(folder)
            algorithm.stop()
            restored = Algorithm.from_checkpoint(folder)
            again = weights(restored)
            report["restored_weights_equal"] = learned.keys() == again.keys() and all(
                np.array_equal(value, again[key]) for key, value in learned.items()
            )
            report["env_steps_after_restoring"] = epoch_row(restored.train(), len(rows) + 1, 0.0)["env_steps"]
            restored.stop()
    cluster.shutdown()
    print("REPORT " + json.dumps(report), flush=True)


if __name__ == "__main__":
    sys.exit(main())
