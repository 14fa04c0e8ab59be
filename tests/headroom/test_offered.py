from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cloudsched_env.headroom.offered import RESOURCES, OfferedLoads, offered_loads
from cloudsched_env.scenario import load_scenario
from cloudsched_env.workload import GeneratedSource
from tests.simulator.episodes import hand_made_episode

TINY = load_scenario("tiny-v1")  # 12 cores, 24 GB, 2 x 1600 MB/s, 21 s, 2 replicas, write amplification 2


def test_loads_by_hand():
    tasks = [
        {"cores": 2.0, "base_time_s": 3.0, "memory_gb": 4.0, "cacheable_read_mb": 500.0, "scan_read_mb": 100.0},
        {"cores": 1.0, "base_time_s": 1.0, "memory_gb": 2.0, "write_mb": 50.0, "arrival_s": 5.5},
    ]
    loads = offered_loads(TINY, [hand_made_episode(TINY, tasks)])
    assert loads.episodes == 1
    expected = {
        "cpu": 7.0 / (12 * 21),
        "memory": 14.0 / (24 * 21),
        "reads_without_cache": 600.0 / (3200 * 21),
        "scan_reads": 100.0 / (3200 * 21),
        "writes": 50.0 * 2 * 3 / (3200 * 21),
        "scheduler_slots": 2.0 / (4 * 210),
        "arrivals_per_s": 2.0 / 21,
        # Counts in 21 bins: two ones. Variance p (1 - p) over mean p, p = 2/21.
        "dispersion": 1.0 - 2.0 / 21,
    }
    for name, value in expected.items():
        of_one = getattr(loads, name)
        assert (of_one.mean, of_one.minimum, of_one.maximum) == pytest.approx((value,) * 3), name


def test_without_compaction_a_write_costs_its_replicas_only():
    off = TINY.override({"compaction.enabled": False})
    episode = hand_made_episode(TINY, [{"write_mb": 50.0}])
    assert offered_loads(off, [episode]).writes.mean * 3 == pytest.approx(offered_loads(TINY, [episode]).writes.mean)


def test_mean_and_extremes_over_episodes():
    episodes = [hand_made_episode(TINY, [{"cores": cores}] * count) for cores, count in ((1.0, 1), (1.0, 2), (2.0, 3))]
    loads = offered_loads(TINY, episodes)
    assert loads.cpu.minimum == pytest.approx(1.0 / 252)
    assert loads.cpu.maximum == pytest.approx(6.0 / 252)
    assert loads.cpu.mean == pytest.approx(3.0 / 252)


def test_the_busiest_scheduler_counts():
    scenario = load_scenario("tiny-v1", {"cluster.schedulers": 2})
    shards = scenario.workload.shards_per_tenant
    episode = hand_made_episode(scenario, [{"shard": 0}, {"shard": 0}, {"shard": 0}, {"shard": shards}])
    assert offered_loads(scenario, [episode]).scheduler_slots.mean == pytest.approx(3.0 / (4 * 210))


def test_generated_episodes_offer_what_their_scenario_says():
    scenario = load_scenario("paper-v1")
    episodes = GeneratedSource(scenario, "train").evaluation_episodes(3)
    loads = offered_loads(scenario, episodes)
    assert loads.cpu.mean == pytest.approx(scenario.workload.cpu_load, rel=1e-6)
    assert loads.reads_without_cache.mean == pytest.approx(scenario.workload.read_load, rel=1e-6)
    assert 0.0 < loads.scan_reads.mean < loads.reads_without_cache.mean
    assert loads.dispersion.minimum > 0.0


def test_every_resource_is_defined_and_no_other():
    fields = {f.name for f in dataclasses.fields(OfferedLoads)} - {"episodes"}
    assert {resource.name for resource in RESOURCES} == fields


def test_nothing_to_measure_is_an_error():
    with pytest.raises(ValueError, match="no episodes"):
        offered_loads(TINY, [])
    with pytest.raises(ValueError, match="at least one task"):
        offered_loads(TINY, [hand_made_episode(TINY, [])])


def test_a_burst_is_more_dispersed_than_an_even_flow():
    even = hand_made_episode(TINY, [{"arrival_s": t} for t in np.arange(21) + 0.5])
    burst = hand_made_episode(TINY, [{"arrival_s": 3.0 + 0.01 * k} for k in range(21)])
    assert offered_loads(TINY, [even]).dispersion.mean == 0.0
    assert offered_loads(TINY, [burst]).dispersion.mean == pytest.approx(20.0)
