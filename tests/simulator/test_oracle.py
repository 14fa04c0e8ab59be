"""Textbook cases, worked out by hand, that hold the slow reference implementation itself to account."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudsched_env.roles import compute, scheduler, storage
from cloudsched_env.scenario import Scenario, load_scenario
from tests.oracle import SUMMARY, OracleCluster
from tests.simulator.actions import Actions, default_actions, random_actions, random_masked_actions
from tests.simulator.episodes import disturbed_episode, hand_made_episode, simple_episode

DT = 0.1
DELAY = 0.02


def tiny(**changes: Any) -> Scenario:
    """The small scenario: node 0 has 8 cores and 16 GB, node 1 has 4 and 8; fields are changed as ``group__field``.

    Deferred tasks stay in the queue unless a test asks for a back-off, and nothing has to be purged unless it asks.
    """
    always = {
        "compute.decision_interval_steps": 1,
        "storage.decision_interval_steps": 1,
        "scheduling.backoff_steps": 0,
        "purge.enabled": False,
    }
    return load_scenario("tiny-v1", {**always, **{name.replace("__", "."): value for name, value in changes.items()}})


def cluster_of(scenario: Scenario, tasks: Sequence[Mapping[str, Any]], **options: Any) -> OracleCluster:
    return OracleCluster(scenario, hand_made_episode(scenario, tasks), **options)


def placing(scenario: Scenario, nodes: Iterable[int], **levels: tuple[int, ...]) -> Actions:
    """The first slots of scheduler 0 go to the given nodes; all nodes of a role named in `levels` choose these."""
    actions = default_actions(scenario)
    for slot, node in enumerate(nodes):
        actions["scheduler"][0][slot] = node
    for role, chosen in levels.items():
        actions[role] = [list(chosen)] * scenario.role_counts[role]
    return actions


def run_out(cluster: OracleCluster, first: Actions, steps: int, after: Actions | None = None) -> None:
    cluster.step(first)
    for _ in range(steps - 1):
        cluster.step(after or default_actions(cluster.scenario))
        cluster.check_invariants()


def field_of(cluster: OracleCluster, role: str, agent: int, name: str) -> float:
    fields = {"compute": compute.FIELDS, "storage": storage.FIELDS}[role]
    return cluster.observations()[role][agent][[entry.name for entry in fields].index(name)]


def test_task_alone_without_data_takes_its_base_time() -> None:
    cluster = cluster_of(tiny(), [{"base_time_s": 1.234, "cores": 2.0}])
    run_out(cluster, placing(cluster.scenario, [0]), 20)
    (task,) = cluster.tasks
    assert task.finish - task.start == pytest.approx(1.234, abs=1e-12)
    assert cluster.useful_ever == pytest.approx(2.0 * 1.234, abs=1e-12)


def test_dispatch_delay_is_the_latency_of_a_task_placed_at_once() -> None:
    cluster = cluster_of(tiny(), [{}, {"arrival_s": 0.25}])
    run_out(cluster, placing(cluster.scenario, [0]), 3)
    assert cluster.tasks[0].start - cluster.tasks[0].arrival == pytest.approx(DELAY, abs=1e-12)
    assert cluster.tasks[1].place == "fifo"
    cluster.step(placing(cluster.scenario, [0]))
    assert cluster.tasks[1].start - cluster.tasks[1].arrival == pytest.approx(0.05 + DELAY, abs=1e-12)


def test_task_spends_only_the_rest_of_its_first_step_running() -> None:
    cluster = cluster_of(tiny(), [{"base_time_s": 0.5}])
    cluster.step(placing(cluster.scenario, [0]))
    assert 1 - cluster.tasks[0].remaining == pytest.approx((DT - DELAY) / 0.5, abs=1e-12)


def test_two_tasks_as_wide_as_the_node_each_take_twice_as_long() -> None:
    scenario = tiny(compute__contention_enabled=False)
    cluster = cluster_of(scenario, [{"cores": 4.0}, {"cores": 4.0}])
    wide = placing(scenario, [1, 1], compute=(2, 2, 0))
    run_out(cluster, wide, 25, placing(scenario, [], compute=(2, 2, 0)))
    for task in cluster.tasks:
        assert task.start == pytest.approx(DELAY, abs=1e-12)
        assert task.finish - task.start == pytest.approx(2.0, abs=1e-9)


def test_contention_slows_by_the_square_of_the_excess_over_its_onset() -> None:
    cluster = cluster_of(tiny(), [{"cores": 4.0}, {"cores": 4.0}])
    cluster.step(placing(cluster.scenario, [1, 1], compute=(2, 2, 0)))
    slowdown = 2 * (1 + 0.7 * (2.0 - 1.5) ** 2)
    assert 1 - cluster.tasks[0].remaining == pytest.approx(0.08 / slowdown, rel=1e-12)
    assert field_of(cluster, "compute", 1, "efficiency") == pytest.approx(1 / 1.175, rel=1e-12)


def test_spill_slows_a_node_whose_execution_memory_is_overcommitted() -> None:
    cluster = cluster_of(tiny(), [{"memory_gb": 6.0}])  # alone on a node, so admitted whatever its size
    cluster.step(placing(cluster.scenario, [1]))
    slowdown = 1 + 3.0 * (6.0 / (0.55 * 8.0) - 1)
    assert 1 - cluster.tasks[0].remaining == pytest.approx(0.08 / slowdown, rel=1e-12)


def test_admission_is_first_in_first_out_and_respects_memory() -> None:
    # 4.4 GB of execution memory on node 1 and no over-commitment: the second waits for the first, the third,
    # which would fit, waits behind it.
    cluster = cluster_of(tiny(), [{"memory_gb": 4.0, "base_time_s": 0.35}, {"memory_gb": 2.0}, {"memory_gb": 0.1}])
    cluster.step(placing(cluster.scenario, [1, 1, 1]))
    assert [task.place for task in cluster.tasks] == ["running", "queue", "queue"]
    run_out(cluster, default_actions(cluster.scenario), 3)
    assert [task.place for task in cluster.tasks] == ["finished", "queue", "queue"]
    cluster.step(default_actions(cluster.scenario))
    assert [task.start for task in cluster.tasks[1:]] == pytest.approx([0.4, 0.4], abs=1e-12)


@pytest.mark.parametrize("column", ["cores", "memory_gb"])
@pytest.mark.parametrize(("excess", "places"), [(0.0, ["running"] * 2), (1e-4, ["running", "queue"])])
def test_admission_takes_a_task_that_fits_exactly_and_none_beyond(
    column: str, excess: float, places: list[str]
) -> None:
    scenario = tiny(compute__core_overcommit=(1.0, 1.0, 1.0, 1.0))
    limit = {"cores": 4.0, "memory_gb": 0.55 * 8.0}[column]
    cluster = cluster_of(scenario, [{column: limit / 2}, {column: limit / 2 + excess}])
    cluster.step(placing(scenario, [1, 1]))
    assert [task.place for task in cluster.tasks] == places


def test_cache_fraction_moves_by_its_slew_and_shrinking_evicts_all_shards_alike() -> None:
    cluster = cluster_of(tiny(), [{}])
    node = cluster.compute[1]
    node.valid, node.occupied = [1000.0, 500.0, 0.0, 0.0, 0.0, 300.0], 3600.0  # full at 0.45 of 8 GB
    cluster.step(placing(cluster.scenario, [], compute=(0, 1, 0)))
    assert node.cache_fraction == pytest.approx(0.40, abs=1e-12)
    assert node.occupied == pytest.approx(3200.0)
    assert node.valid == pytest.approx([amount * 8 / 9 for amount in (1000.0, 500.0, 0.0, 0.0, 0.0, 300.0)])


def test_cache_fills_by_the_missed_bytes_up_to_the_hot_set() -> None:
    scenario = tiny(cache__initial_warmth=0.0, storage__sharing_enabled=False)
    cluster = cluster_of(scenario, [{"cacheable_read_mb": 2000.0}])
    cluster.step(placing(scenario, [0]))
    first = 0.08 / (1.0 + 2000.0 / 4000.0)
    assert cluster.compute[0].valid[0] == pytest.approx(first * 2000.0, rel=1e-12)
    cluster.step(default_actions(scenario))
    missed = 2000.0 * (1 - first * 2000.0 / 500.0)
    second = 0.1 / (1.0 + missed / 4000.0)
    assert cluster.compute[0].valid[0] == pytest.approx(first * 2000.0 + second * missed, rel=1e-12)
    assert field_of(cluster, "compute", 0, "read_rate") == pytest.approx(second * missed / 0.1 / 4000.0, rel=1e-12)
    hits, read = second * (2000.0 - missed), 0.9 * first * 2000.0 + second * 2000.0
    assert field_of(cluster, "compute", 0, "hit_ratio") == pytest.approx(hits / read, rel=1e-12)
    run_out(cluster, default_actions(scenario), 30)
    assert cluster.compute[0].valid[0] <= 500.0
    assert cluster.compute[0].occupied == pytest.approx(cluster.compute[0].valid[0])


def test_writes_invalidate_the_shard_on_other_nodes_only_and_keep_its_frames() -> None:
    cluster = cluster_of(tiny(), [{"write_mb": 300.0}])
    for node in cluster.compute:
        node.valid[0], node.occupied = 400.0, sum(node.valid) - node.valid[0] + 400.0
    frames = cluster.compute[1].occupied
    cluster.step(placing(cluster.scenario, [0]))
    written = 0.08 / (1.0 + 300.0 / 1500.0) * 300.0
    assert cluster.compute[0].valid[0] == 400.0
    assert cluster.compute[1].valid[0] == pytest.approx(400.0 * (1 - written / 500.0), rel=1e-12)
    assert cluster.compute[1].occupied == frames


def test_debt_balances_writes_against_compaction() -> None:
    cluster = cluster_of(tiny(), [{"write_mb": 150.0}])
    B, before = 1600.0, 0.3 * 1600.0
    cluster.step(placing(cluster.scenario, [0], storage=(3, 1)))
    written = 0.08 / (1.0 + 150.0 / 1500.0) * 150.0
    expected = before + 2.0 * written - 0.35 * B * DT * before / (before + 0.3 * B)
    assert [node.debt for node in cluster.storage] == pytest.approx([expected] * 2, rel=1e-12)
    assert field_of(cluster, "storage", 0, "write_rate") == pytest.approx(0.2 * written / (B * DT), rel=1e-12)


@pytest.mark.parametrize(("debt_s", "factor"), [(0.9, 1.0), (1.75, 0.5), (9.0, 0.05)])
def test_debt_between_the_limits_slows_writes_in_proportion(debt_s: float, factor: float) -> None:
    cluster = cluster_of(tiny(storage__background_shares=(0.0,) * 5, compaction__initial_debt=debt_s), [{}])
    assert [node.write_factor for node in cluster.storage] == pytest.approx([factor] * 2)
    cluster.step(default_actions(cluster.scenario))
    assert [node.write_factor for node in cluster.storage] == pytest.approx([factor] * 2)


@pytest.mark.parametrize(("quorum", "factor"), [(True, 0.4), (False, 0.9)])
def test_write_waits_for_the_middle_of_three_replicas(quorum: bool, factor: float) -> None:
    scenario = load_scenario("paper-v1", {"storage.quorum_enabled": quorum})
    cluster = cluster_of(scenario, [{"write_mb": 100.0}])
    for replica, write_factor in zip(cluster.replicas[0], (0.9, 0.1, 0.4), strict=True):
        cluster.storage[replica].write_factor = write_factor
    cluster.step(placing(scenario, [0]))
    assert cluster.tasks[0].duration == pytest.approx(1.0 + 100.0 / (1500.0 * factor), rel=1e-12)


def test_reads_split_by_serve_weights_and_slow_with_the_stream_factor() -> None:
    cluster = cluster_of(tiny(), [{"scan_read_mb": 400.0}])
    cluster.storage[0].stream_factor = 0.5
    actions = placing(cluster.scenario, [0])
    actions["storage"] = [[2, 0], [2, 2]]  # weights 0.3 and 2.5
    cluster.step(actions)
    per_mb = (0.3 / 2.8) / (4000.0 * 0.5) + (2.5 / 2.8) / 4000.0
    assert cluster.tasks[0].duration == pytest.approx(1.0 + 400.0 * per_mb, rel=1e-12)
    assert cluster.storage[1].reads / cluster.storage[0].reads == pytest.approx(2.5 / 0.3, rel=1e-12)


def test_overloaded_storage_gates_progress_and_slows_streams() -> None:
    changes = {"compaction__enabled": False, "storage__initial_background_level": 2}  # a share of 20 %
    scenario = tiny(storage__bandwidth_mb_per_s=100.0, **changes)
    cluster = cluster_of(scenario, [{"scan_read_mb": 2000.0}])
    cluster.step(placing(scenario, [0]))
    wanted = 0.08 / 1.5
    demand, capacity = wanted * 2000.0 / 2, 100.0 * 0.8 * DT
    gate = capacity / demand
    assert 1 - cluster.tasks[0].remaining == pytest.approx(wanted * gate, rel=1e-12)
    assert [node.stream_factor for node in cluster.storage] == pytest.approx([math.sqrt(gate)] * 2, rel=1e-12)
    assert [node.served for node in cluster.storage] == pytest.approx([capacity] * 2, rel=1e-12)


def test_storage_down_below_quorum_blocks_writes_but_not_reads() -> None:
    tasks = [{"write_mb": 100.0, "base_time_s": 5.0}, {"scan_read_mb": 100.0, "base_time_s": 5.0}]
    cluster = cluster_of(tiny(), tasks, outages=[("storage", 0, 2, 6)])
    run_out(cluster, placing(cluster.scenario, [0, 0]), 2)
    writer, reader = (task.remaining for task in cluster.tasks)
    run_out(cluster, default_actions(cluster.scenario), 3)
    assert cluster.tasks[0].remaining == writer
    assert cluster.tasks[1].remaining < reader
    run_out(cluster, default_actions(cluster.scenario), 3)
    assert cluster.tasks[0].remaining < writer


def test_task_that_reads_stands_still_while_no_replica_is_up() -> None:
    outages = [("storage", 0, 1, 4), ("storage", 1, 1, 4)]
    tasks = [{"scan_read_mb": 100.0}, {}]
    cluster = cluster_of(tiny(), tasks, outages=outages)
    cluster.step(placing(cluster.scenario, [0, 0]))
    reader = cluster.tasks[0].remaining
    run_out(cluster, default_actions(cluster.scenario), 3)
    assert cluster.tasks[0].remaining == reader
    assert 1 - cluster.tasks[1].remaining == pytest.approx(0.38, abs=1e-12)
    cluster.step(default_actions(cluster.scenario))
    assert cluster.tasks[0].remaining < reader


def test_without_a_cache_every_cacheable_read_misses() -> None:
    cluster = cluster_of(tiny(cache__enabled=False, cache__initial_warmth=1.0), [{"cacheable_read_mb": 400.0}])
    cluster.step(placing(cluster.scenario, [0]))
    assert cluster.tasks[0].duration == pytest.approx(1.1, rel=1e-12)


def test_replica_that_is_down_owes_the_acknowledged_writes_as_lag() -> None:
    scenario = load_scenario("paper-v1", {"purge.enabled": False})
    cluster = cluster_of(scenario, [{"write_mb": 150.0, "base_time_s": 5.0}], outages=[("storage", 0, 1, 3)])
    run_out(cluster, placing(scenario, [0]), 3)
    owed = 2 * 0.1 / (5.0 + 150.0 / 1500.0) * 150.0
    assert cluster.storage[0].lag == pytest.approx(owed, rel=1e-12)
    assert cluster.storage[1].lag == 0
    cluster.step(default_actions(scenario))
    assert cluster.storage[0].lag == 0


def test_crash_sends_running_then_queued_tasks_back_and_forgets_their_start() -> None:
    tasks = [{"memory_gb": 4.0, "base_time_s": 5.0}, {"memory_gb": 3.0}, {"arrival_s": 0.15, "memory_gb": 0.1}]
    cluster = cluster_of(tiny(time__warmup_steps=0), tasks, outages=[("compute", 1, 2, 9)])
    run_out(cluster, placing(cluster.scenario, [1, 1]), 2)
    assert [task.index for task in cluster.schedulers[0].fifo] == [0, 1, 2]
    assert all(math.isnan(task.start) and task.remaining == 1 for task in cluster.tasks)
    assert cluster.compute[1].occupied == 0
    assert cluster.totals["requeued"] == 2
    assert cluster.totals["lost_core_s"] == pytest.approx(0.18, rel=1e-12)
    assert cluster.masks()["compute"][1] == [0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]


def test_task_sent_to_a_node_that_is_down_bounces_to_the_tail() -> None:
    cluster = cluster_of(tiny(time__warmup_steps=0), [{}, {}, {}], outages=[("compute", 1, 1, 50)])
    cluster.step(default_actions(cluster.scenario))
    cluster.step(placing(cluster.scenario, [1]))  # the view of stamp 0 shows the node alive
    assert [task.index for task in cluster.schedulers[0].fifo] == [1, 2, 0]
    assert cluster.totals["bounced"] == 1
    for _ in range(8):  # the snapshot of stamp 5 arrives after step 10
        cluster.step(default_actions(cluster.scenario))
    assert cluster.masks()["scheduler"][0] == [1, 0, 1] * 3 + [0, 0, 1]
    cluster.step(placing(cluster.scenario, [1]))
    assert [task.index for task in cluster.schedulers[0].fifo] == [1, 2, 0]
    assert (cluster.totals["bounced"], cluster.totals["invalid_actions"]) == (1, 1)


def test_masked_choices_do_nothing_and_are_counted() -> None:
    cluster = cluster_of(tiny(time__warmup_steps=0), [{}], outages=[("compute", 0, 1, 9), ("storage", 0, 1, 9)])
    cluster.step(default_actions(cluster.scenario))
    actions = placing(cluster.scenario, [2, 0, 1], compute=(0, 1, 2), storage=(0, 0))
    cluster.step(actions)
    assert cluster.totals["invalid_actions"] == 2 + 2 + 2  # two empty slots, two levels of compute_0, two of storage_0
    assert (cluster.compute[0].cache_level, cluster.compute[1].cache_level) == (2, 0)
    assert (cluster.compute[0].purge_level, cluster.compute[1].purge_level) == (1, 2)
    assert (cluster.storage[0].serve_level, cluster.storage[1].serve_level) == (1, 0)


def order(cluster: OracleCluster) -> list[int]:
    return [task.index for task in cluster.schedulers[0].fifo]


def test_deferred_tasks_leave_the_queue_and_come_back_at_its_tail_before_arrivals() -> None:
    # Four slots; tasks 0 to 5 are there, 6 arrives at 0.25 s, after the step in which 0 and 2 come back.
    tasks = [{} for _ in range(6)] + [{"arrival_s": 0.25}]
    cluster = cluster_of(tiny(scheduling__backoff_steps=3), tasks)
    cluster.step(placing(cluster.scenario, [2, 0, 2, 0]))
    assert order(cluster) == [4, 5]
    assert cluster.waiting == 4  # two in the queue, two that back off
    assert cluster.local_rewards["scheduler"][0] == pytest.approx(-4 / 16)
    queue = cluster.observations()["scheduler"][0][: len(scheduler.QUEUE_FIELDS)]
    names = [entry.name for entry in scheduler.QUEUE_FIELDS]
    assert (queue[names.index("queue_length")], queue[names.index("backed_off")]) == (2 / 4, 2 / 4)
    cluster.step(placing(cluster.scenario, [2, 0]))
    assert order(cluster) == []
    cluster.step(default_actions(cluster.scenario))
    assert order(cluster) == [0, 2, 6]
    cluster.step(placing(cluster.scenario, [0, 0, 0]))
    assert order(cluster) == [4]


def test_choice_that_is_masked_backs_off_like_a_deferred_task() -> None:
    scenario = tiny(time__warmup_steps=0, scheduling__backoff_steps=2, telemetry__delay_steps=0)
    cluster = cluster_of(
        scenario.override({"telemetry.publish_every_steps": 1}), [{}, {}], outages=[("compute", 1, 1, 9)]
    )
    cluster.step(placing(cluster.scenario, [0, 2]))  # the second backs off, the crash is known after this step
    cluster.step(default_actions(cluster.scenario))
    assert order(cluster) == [1]
    cluster.step(placing(cluster.scenario, [1]))
    assert order(cluster) == []
    assert (cluster.totals["bounced"], cluster.totals["invalid_actions"]) == (0, 1)
    cluster.step(default_actions(cluster.scenario))
    assert order(cluster) == [1]


def with_background(cluster: OracleCluster, *changes: tuple[int, int, float]) -> OracleCluster:
    steps, nodes, shares = zip(*changes, strict=True)
    episode = dataclasses.replace(
        cluster.episode,
        background_step=np.array(steps, dtype=np.int64),
        background_node=np.array(nodes, dtype=np.int32),
        background_share=np.array(shares, dtype=np.float64),
    )
    return OracleCluster(cluster.scenario, episode)


def test_noisy_neighbours_slow_tasks_from_the_step_on_that_they_come() -> None:
    cluster = with_background(cluster_of(tiny(), [{"cores": 3.0}]), (2, 1, 0.5), (4, 1, 1.0))
    done = [0.0]
    actions = placing(cluster.scenario, [1])
    shown = []
    for _ in range(6):
        cluster.step(actions)
        cluster.check_invariants()
        actions = default_actions(cluster.scenario)
        done.append(1 - cluster.tasks[0].remaining)
        shown.append(field_of(cluster, "compute", 1, "available_cores"))
    # Two of four cores for a task of three: two thirds of its speed in the steps 2 and 3. 3 / 2 cores per core is
    # just the onset of contention, so there is none.
    expected = [0.08, 0.1, 0.2 / 3, 0.2 / 3, 0.1, 0.1]
    assert np.diff(done) == pytest.approx(expected, rel=1e-9)
    assert shown == [1.0, 0.5, 0.5, 1.0, 1.0, 1.0]


def test_contention_counts_available_cores_and_admission_nominal_ones() -> None:
    scenario = tiny(compute__core_overcommit=(1.0,) * 4)
    cluster = with_background(cluster_of(scenario, [{"cores": 2.0}, {"cores": 2.0}]), (0, 1, 0.5))
    cluster.step(placing(scenario, [1, 1]))
    assert [task.place for task in cluster.tasks] == ["running"] * 2  # four cores on a node of four
    slowdown = 2 * (1 + 0.7 * (4 / 2 - 1.5) ** 2)
    assert 1 - cluster.tasks[0].remaining == pytest.approx(0.08 / slowdown, rel=1e-12)
    assert cluster.local_rewards["compute"][1] == pytest.approx(2.0 * 0.8 / 4.0)  # two of four nominal cores


def test_lag_waits_for_foreground_traffic_and_stream_factor_is_kept_while_down() -> None:
    """A replica that comes back serves reads and writes as before; its lag gets what they leave."""
    scenario = tiny(
        compaction__enabled=False,
        storage__background_shares=(0.0,) * 5,
        cluster__storage_nodes=3,
        workload__replicas=3,
        storage__bandwidth_mb_per_s=200.0,
        storage__write_stream_mb_per_s=1e9,
    )
    # 100 MB/s of writes to each replica, and 60 MB/s of reads of another shard, a third of them from each.
    tasks = [{"write_mb": 1000.0, "base_time_s": 10.0}, {"scan_read_mb": 600.0, "base_time_s": 10.0}]
    cluster = cluster_of(scenario, tasks, outages=[("storage", 0, 1, 6)])
    cluster.step(placing(scenario, [0, 0]))
    cluster.storage[0].stream_factor = 0.7
    run_out(cluster, default_actions(scenario), 5)
    assert cluster.storage[0].stream_factor == 0.7
    assert cluster.storage[0].lag == pytest.approx(50.0, rel=1e-6)  # five steps of 10 MB
    before = cluster.tasks[1].remaining, cluster.storage[0].lag
    cluster.step(default_actions(scenario))
    reads = 2.0 / (1.0 + 600.0 / 10.0 / 4000.0 * (2 / 3 + 1 / 3 / 0.7))
    assert before[0] - cluster.tasks[1].remaining == pytest.approx(reads / 200.0, rel=1e-9)
    assert before[1] - cluster.storage[0].lag == pytest.approx(20.0 - 10.0 - 2.0, abs=0.05)
    assert field_of(cluster, "storage", 0, "served_share") == 1.0


def test_telemetry_arrives_late_and_in_flight_work_bridges_the_gap() -> None:
    cluster = cluster_of(tiny(), [{"cores": 2.0, "base_time_s": 9.0}])
    nodes = scheduler.layout(cluster.scenario)
    names = nodes.names()
    columns = [
        names.index(f"nodes[1].{name}") for name in ("running_cores_load", "in_flight_cores_load", "telemetry_age")
    ]
    seen = []
    for step in range(12):
        cluster.step(placing(cluster.scenario, [1] if step == 0 else []))
        row = cluster.observations()["scheduler"][0]
        seen.append([row[column] for column in columns])
    expected = [[0.0, 0.5, 0.01 * k] for k in range(1, 10)] + [[0.5, 0.0, 0.01 * age] for age in (5, 6, 7)]
    assert np.array(seen) == pytest.approx(np.array(expected))


def test_lost_deliveries_leave_the_older_view_in_place() -> None:
    def lost(observer: tuple[str, int], publisher: tuple[str, int], stamp: int) -> bool:
        return publisher == ("compute", 1) or (observer == ("storage", 0) and publisher == SUMMARY)

    cluster = cluster_of(tiny(), [{}], lost=lost)
    run_out(cluster, default_actions(cluster.scenario), 30)
    assert [stamp for stamp, _ in cluster.schedulers[0].compute_view] == [25, 0]
    assert [node.summary[0] for node in cluster.storage] == [0, 25]


def test_team_reward_is_the_weighted_sum_of_its_terms() -> None:
    scenario = tiny(time__warmup_steps=0)
    tasks: list[dict[str, float]] = [
        {"cores": 3.0, "base_time_s": 0.05, "deadline_s": 0.07 + 1e-9},
        {"deadline_s": 0.01},
        {"shard": 3},
    ]
    cluster = cluster_of(scenario, tasks)
    cluster.step(placing(scenario, [0, 1]))
    capacity = 12 * DT
    useful = (3.0 * 0.05 + 0.08) / capacity
    goodput = 3.0 * 0.05 / capacity
    latency = 1 / (1 + 1 / (3 / scenario.duration_s * 0.25))
    share = (3.0 * 0.05 + 0.08) / (0.98 * (0.15 + 1.0))
    fairness = share**2 / (2 * share**2)  # the other tenant got nothing
    assert cluster.terms == pytest.approx(
        {"useful": useful, "goodput": goodput, "latency": latency, "fairness": fairness}, rel=1e-12
    )
    assert cluster.team_reward == pytest.approx(0.3 * useful + 0.4 * goodput + 0.15 * latency + 0.15 * fairness)
    assert cluster.local_rewards["scheduler"] == pytest.approx([0.3 * goodput - 1 / 16])
    assert cluster.local_rewards["compute"] == pytest.approx([3.0 * 0.08 / DT / 8, 0.08 / DT / 4])


def test_fairness_forgets_served_and_arrived_work_at_the_same_pace() -> None:
    scenario = tiny(reward__fairness_decay=0.5)
    cluster = cluster_of(scenario, [{"base_time_s": 4.0}, {"shard": 3, "base_time_s": 2.0}, {"arrival_s": 0.15}])
    cluster.step(placing(scenario, [0, 0]))  # the first tasks of both tenants; the third task is not there yet
    cluster.step(default_actions(scenario))
    first = (0.5 * 0.08 + 0.1) / (0.25 * 4.0 + 1.0)
    second = (0.5 * 0.08 + 0.1) / (0.25 * 2.0)
    assert [cluster.served[g] / cluster.arrived[g] for g in (0, 1)] == pytest.approx([first, second], rel=1e-12)
    jain = (first + second) ** 2 / (2 * (first**2 + second**2))
    assert cluster.terms["fairness"] == pytest.approx(jain, rel=1e-12)


def test_observations_have_the_declared_sizes_and_stay_within_bounds() -> None:
    scenario = load_scenario("paper-v1", {"purge.enabled": False})
    rng = np.random.default_rng(5)
    cluster = OracleCluster(scenario, simple_episode(scenario, rng, 900))
    layouts = {"compute": compute.layout, "storage": storage.layout, "scheduler": scheduler.layout}
    for _ in range(20):
        cluster.step(random_masked_actions(scenario, cluster.masks(), rng))
    for role, rows in cluster.observations().items():
        layout = layouts[role](scenario)
        values = np.array(rows)
        assert values.shape == (scenario.role_counts[role], layout.size)
        assert (values >= layout.low()).all()
        assert (values <= layout.high()).all()


def purging(**changes: Any) -> Scenario:
    """The small scenario with multi-version garbage: node 1 of 4 cores has a soft limit of 400 MB."""
    defaults = {
        "purge__enabled": True,
        "purge__shares": (0.0, 0.25),
        "purge__initial_level": 0,
        "purge__soft_limit_mb_per_core": 100.0,
        "purge__rate_mb_per_core_s": 160.0,
        "purge__slowdown_slope": 0.15,
        "purge__slowdown_cap": 3.0,
        "purge__efficient_garbage": 0.2,
        "purge__initial_garbage": 0.0,
    }
    return tiny(**{**defaults, **changes})


def test_tasks_leave_garbage_on_their_own_node_once_for_all_replicas() -> None:
    cluster = cluster_of(purging(purge__garbage_per_written=1.5), [{"write_mb": 40.0}])
    cluster.step(placing(cluster.scenario, [1]))
    advance = 1 - cluster.tasks[0].remaining
    assert 0 < advance < 1
    assert [node.garbage for node in cluster.compute] == [0.0, pytest.approx(1.5 * 40.0 * advance, rel=1e-12)]
    assert field_of(cluster, "compute", 1, "garbage") == pytest.approx(60.0 * advance / 400.0, rel=1e-12)
    run_out(cluster, default_actions(cluster.scenario), 15)
    assert cluster.compute[1].garbage == pytest.approx(60.0, rel=1e-12)


@pytest.mark.parametrize(("depth", "slowdown"), [(0.0, 1.0), (2.0, 1.3), (3.0, 1.45), (40.0, 1.45)])
def test_garbage_slows_tasks_of_the_node_down_up_to_its_cap(depth: float, slowdown: float) -> None:
    cluster = cluster_of(purging(purge__initial_garbage=depth), [{}])
    cluster.step(placing(cluster.scenario, [1]))
    assert 1 - cluster.tasks[0].remaining == pytest.approx(0.08 / slowdown, rel=1e-12)
    assert field_of(cluster, "compute", 1, "efficiency") == pytest.approx(1 / slowdown, rel=1e-12)


def test_purging_takes_cores_and_removes_garbage_in_the_step_in_which_it_is_chosen() -> None:
    cluster = cluster_of(purging(purge__initial_garbage=0.8, purge__slowdown_slope=0.0), [{"cores": 4.0}])
    cluster.step(placing(cluster.scenario, [1], compute=(2, 1, 1)))
    # 3 of 4 cores are left, which is an over-commitment of 4/3, below the onset of contention.
    assert 1 - cluster.tasks[0].remaining == pytest.approx(0.08 * 0.75, rel=1e-12)
    assert field_of(cluster, "compute", 1, "processor_share") == pytest.approx(0.75, rel=1e-12)
    assert field_of(cluster, "compute", 1, "purge_share") == 0.25
    # One core purges 160 MB/s, of which 0.8 / (0.8 + 0.2) meets garbage.
    assert cluster.compute[1].garbage == pytest.approx(320.0 - 160.0 * 0.1 * 0.8, rel=1e-12)


def test_purging_uses_the_cores_that_neighbours_leave_and_so_does_contention() -> None:
    scenario = purging(purge__initial_garbage=0.8, purge__slowdown_slope=0.0)
    episode = dataclasses.replace(
        hand_made_episode(scenario, [{"cores": 4.0}]),
        background_step=np.zeros(1, np.int64),
        background_node=np.ones(1, np.int32),
        background_share=np.array([0.5]),
    )
    cluster = OracleCluster(scenario, episode)
    cluster.step(placing(scenario, [1], compute=(2, 1, 1)))
    assert cluster.compute[1].garbage == pytest.approx(320.0 - 0.5 * 160.0 * 0.1 * 0.8, rel=1e-12)
    contention = 1 + 0.7 * (4.0 / (2.0 * 0.75) - 1.5) ** 2
    assert field_of(cluster, "compute", 1, "efficiency") == pytest.approx(1 / contention, rel=1e-12)


def test_no_more_is_purged_than_there_is() -> None:
    cluster = cluster_of(purging(purge__initial_garbage=1e-3, purge__efficient_garbage=0.0), [])
    cluster.step(placing(cluster.scenario, [], compute=(2, 1, 1)))
    assert [node.garbage for node in cluster.compute] == [0.0, 0.0]
    cluster.step(placing(cluster.scenario, [], compute=(2, 1, 1)))
    assert [node.garbage for node in cluster.compute] == [0.0, 0.0]


def test_a_node_that_was_down_comes_back_without_garbage() -> None:
    cluster = cluster_of(purging(purge__initial_garbage=2.0), [], outages=[("compute", 1, 1, 3)])
    for _ in range(3):
        cluster.step(default_actions(cluster.scenario))
    assert cluster.compute[1].alive
    assert [node.garbage for node in cluster.compute] == [1600.0, 0.0]


def test_without_purging_nothing_is_left_behind_and_no_core_is_taken() -> None:
    cluster = cluster_of(purging(purge__enabled=False, purge__initial_garbage=2.0), [{"cores": 4.0, "write_mb": 40.0}])
    cluster.step(placing(cluster.scenario, [1], compute=(2, 1, 1)))
    assert 1 - cluster.tasks[0].remaining == pytest.approx(0.08 * 1 / (1 + 40.0 / 1500.0), rel=1e-12)
    assert [node.garbage for node in cluster.compute] == [0.0, 0.0]
    assert field_of(cluster, "compute", 1, "purge_share") == 0.25  # the level is kept all the same


SWITCHES = (
    "compute__spill_enabled",
    "compute__contention_enabled",
    "cache__enabled",
    "cache__invalidation_enabled",
    "storage__sharing_enabled",
    "storage__quorum_enabled",
    "compaction__enabled",
    "purge__enabled",
)


@st.composite
def small_scenarios(draw: st.DrawFn) -> Scenario:
    kinds = draw(st.lists(st.sampled_from([(8.0, 16.0), (4.0, 8.0), (2.0, 3.0)]), min_size=1, max_size=3))
    stores = draw(st.integers(1, 4))
    changes: dict[str, Any] = {name: draw(st.booleans()) for name in SWITCHES}
    return tiny(
        cluster__compute_nodes=[{"count": 1, "cores": cores, "memory_gb": memory} for cores, memory in kinds],
        cluster__storage_nodes=stores,
        cluster__schedulers=draw(st.integers(1, 2)),
        workload__replicas=draw(st.integers(1, stores)),
        storage__bandwidth_mb_per_s=draw(st.sampled_from([150.0, 1600.0])),
        telemetry__publish_every_steps=draw(st.integers(1, 4)),
        telemetry__delay_steps=draw(st.integers(0, 6)),
        scheduling__backoff_steps=draw(st.sampled_from([0, 1, 4])),
        **changes,
    )


@settings(max_examples=40)
@given(scenario=small_scenarios(), seed=st.integers(0, 2**32 - 1), masked=st.booleans(), data=st.data())
def test_random_episodes_keep_every_invariant(scenario: Scenario, seed: int, masked: bool, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    outages = []
    for role in ("compute", "storage"):
        for index in range(scenario.role_counts[role]):
            if data.draw(st.booleans(), label=f"{role} {index} fails"):
                down = data.draw(st.integers(1, 40), label="down step")
                outages.append((role, index, down, down + data.draw(st.integers(1, 30), label="steps of repair")))
    loss = data.draw(st.sampled_from([0.0, 0.5, 1.0]), label="loss")
    cluster = OracleCluster(
        scenario, disturbed_episode(scenario, rng, 50), lost=lambda *_: bool(rng.random() < loss), outages=outages
    )
    cluster.check_invariants()
    for _ in range(70):
        masks = cluster.masks()
        cluster.step(random_masked_actions(scenario, masks, rng) if masked else random_actions(scenario, rng))
        cluster.check_invariants()
        cluster.observations()
    assert not masked or cluster.totals["invalid_actions"] == 0
    assert cluster.totals["useful_term"] * cluster.cores * cluster.dt == pytest.approx(cluster.totals["useful_core_s"])
