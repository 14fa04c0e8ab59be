"""Suites of the leaderboard on Ray give what they give without it."""

from __future__ import annotations

import pytest

pytest.importorskip("ray")

from cloudsched_env.leaderboard.execute import Here
from cloudsched_env.leaderboard.suites import load_suite
from cloudsched_env.leaderboard.units import DECISION_TIME, Unit
from cloudsched_env.rllib.leaderboard_cluster import RayCluster

pytestmark = pytest.mark.ray


def units():
    suite = load_suite("quick")
    for run in range(2):
        (batch,) = suite.batches("tiny-v1", run)
        yield Unit("random", "random", suite, batch, isolated=False)
    yield Unit("broken", "no_such_agent", suite, batch, isolated=False)


def test_a_cluster_gives_the_same_results_and_failures(ray_local):
    def by_place(results):
        found = {}
        for result in results:
            metrics = {name: values for name, values in result.metrics.items() if name != DECISION_TIME}
            found[result.agent, result.batch.run] = (metrics, result.failure)
        return found

    there = by_place(RayCluster("local").run(units()))
    assert there == by_place(Here().run(units()))
    assert there["broken", 1][1] == "contract"


def test_a_cluster_that_is_not_there_is_named(monkeypatch):
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)

    def refuse(**options):
        raise ConnectionError("nobody answers")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(RuntimeError, match=r"no Ray cluster at '127\.0\.0\.1:1'"):
        list(RayCluster("127.0.0.1:1").run(iter([])))
