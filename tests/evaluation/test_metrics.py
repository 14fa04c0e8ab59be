from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudsched_env.evaluation import METRICS, summarise
from cloudsched_env.evaluation.metrics import entitlement, jain_index, metric
from tests.evaluation.records import record

NAN = math.nan


def test_rewards_and_resources_are_sums_over_capacity_and_counted_time():
    values = summarise(
        record(
            [{}],
            [NAN],
            [NAN],
            team_reward=60.0,
            latency_term=50.0,
            fairness_term=90.0,
            goodput_term=40.0,
            useful_core_s=66.0,
            lost_core_s=6.0,
            busy_core_s=90.0,
            allocated_core_s=180.0,
            allocated_core_capped_s=108.0,
            allocated_memory_gb_s=120.0,
            storage_served_mb=8000.0,
            spill_gb_s=5.0,
            cacheable_mb=1000.0,
            cache_hit_mb=250.0,
            usage_deviation=20.0,
            waiting_tasks=300.0,
            requeued=2.0,
            bounced=3.0,
            invalid_actions=7.0,
        )
    )
    expected = {
        "team_reward": 0.6,
        "latency_term": 0.5,
        "fairness_term": 0.9,
        "goodput": 0.4,
        "useful_utilisation": 60 / 120,  # lost progress is not useful
        "busy_utilisation": 90 / 120,
        "allocated_cpu": 0.9,
        "allocated_cpu_uncapped": 1.5,
        "allocated_memory": 120 / 240,
        "storage_bandwidth_use": 8000 / 32000,
        "spill_gb": 0.5,
        "cache_hit_ratio": 0.25,
        "usage_deviation": 0.2,
        "waiting_tasks": 3.0,
        "lost_core_s": 6.0,
        "requeued": 2.0,
        "bounced": 3.0,
        "invalid_actions": 7.0,
    }
    assert {name: values[name] for name in expected} == pytest.approx(expected)


# The warm-up ends at 1 s, the episode at 11 s.
TASKS = [
    {"arrival_s": 0.5, "base_time_s": 1.0, "deadline_s": 1.0},  # not counted: it arrived in the warm-up
    {"arrival_s": 2.0, "base_time_s": 1.0, "deadline_s": 2.0},  # on time: waits 0.5 s, takes 1.5 s
    {"arrival_s": 3.0, "base_time_s": 2.0, "deadline_s": 3.0},  # late: waits 1 s, takes 4 s
    {"arrival_s": 5.0, "base_time_s": 3.0, "deadline_s": 4.0},  # never started, deadline passed at 9 s: age 6 s
    {"arrival_s": 10.0, "base_time_s": 1.0, "deadline_s": 2.0},  # started at once, unfinished, deadline still to come
]
START = [0.6, 2.5, 4.0, NAN, 10.0]
FINISH = [9.0, 3.5, 7.0, NAN, NAN]


def test_latencies_count_tasks_after_the_warm_up_and_censor_those_not_started_at_their_age():
    values = summarise(record(TASKS, START, FINISH))
    assert values["counted_tasks"] == 4
    assert values["scheduling_latency_mean_ms"] == pytest.approx((500 + 1000 + 6000 + 0) / 4)
    assert values["scheduling_latency_p50_ms"] == pytest.approx(750)
    # Order statistics 0, 500, 1000, 6000 at positions 0..3: 95 % is at 2.85, 99 % at 2.97.
    assert values["scheduling_latency_p95_ms"] == pytest.approx(1000 + 0.85 * 5000)
    assert values["scheduling_latency_p99_ms"] == pytest.approx(1000 + 0.97 * 5000)


def test_response_times_and_slowdowns_censor_unfinished_tasks_at_their_age():
    values = summarise(record(TASKS, START, FINISH))
    assert values["response_time_mean_s"] == pytest.approx((1.5 + 4 + 6 + 1) / 4)
    assert values["response_time_p95_s"] == pytest.approx(4 + 0.85 * 2)
    assert values["slowdown_mean"] == pytest.approx((1.5 + 2 + 2 + 1) / 4)
    assert values["completion_ratio"] == pytest.approx(2 / 4)


def test_slo_attainment_leaves_out_only_tasks_whose_deadline_is_still_to_come():
    values = summarise(record(TASKS, START, FINISH))
    assert values["slo_attainment"] == pytest.approx(1 / 3)
    finished_in_time = summarise(record(TASKS, START, [9.0, 3.5, 7.0, NAN, 10.9]))
    assert finished_in_time["slo_attainment"] == pytest.approx(2 / 4)


def test_offered_loads_are_those_of_counted_tasks():
    task = {"arrival_s": 2.0, "cores": 3.0, "base_time_s": 4.0, "memory_gb": 6.0}
    task |= {"cacheable_read_mb": 1000.0, "scan_read_mb": 600.0, "write_mb": 400.0}
    values = summarise(record([{**task, "arrival_s": 0.5}, task, task], [NAN] * 3, [NAN] * 3))
    assert values["offered_cpu"] == pytest.approx(2 * 12 / 120)
    assert values["offered_memory"] == pytest.approx(2 * 24 / 240)
    assert values["offered_reads"] == pytest.approx(2 * 1600 / 32000)
    assert values["offered_writes"] == pytest.approx(2 * 400 * 2 / 32000)  # two replicas


def test_tenant_shares_are_relative_to_the_max_min_fair_share_of_the_cluster():
    # The cluster could do 12 cores x 10 s = 120; demands 40 and 100: the fair division is 40 and 80.
    values = summarise(record([{}], [NAN], [NAN], served=(30.0, 84.0), arrived=(40.0, 100.0)))
    shares = np.array([30 / 40, 84 / 80])
    assert values["minimum_tenant_share"] == pytest.approx(0.75)
    assert values["jain_index"] == pytest.approx(shares.sum() ** 2 / (2 * (shares**2).sum()))


def test_serving_everybody_what_they_asked_for_is_perfectly_fair_however_unequal_the_demands():
    values = summarise(record([{}], [NAN], [NAN], served=(1.0, 9.0), arrived=(1.0, 9.0)))
    assert (values["jain_index"], values["minimum_tenant_share"]) == pytest.approx((1.0, 1.0))


def test_work_left_from_the_warm_up_does_not_make_its_tenant_look_favoured():
    values = summarise(record([{}], [NAN], [NAN], served=(3.0, 1.0), arrived=(1.0, 1.0)))
    assert (values["jain_index"], values["minimum_tenant_share"]) == pytest.approx((1.0, 1.0))


def test_a_starved_tenant_has_share_zero_and_one_without_work_is_left_out():
    starved = summarise(record([{}], [NAN], [NAN], served=(0.0, 5.0), arrived=(5.0, 5.0)))
    assert starved["minimum_tenant_share"] == 0
    assert starved["jain_index"] == pytest.approx(0.5)
    absent = summarise(record([{}], [NAN], [NAN], served=(0.0, 5.0), arrived=(0.0, 5.0)))
    assert (absent["jain_index"], absent["minimum_tenant_share"]) == pytest.approx((1.0, 1.0))


def test_starving_everybody_is_not_an_even_share():
    values = summarise(record([{}], [NAN], [NAN], served=(0.0, 0.0), arrived=(5.0, 5.0)))
    assert values["minimum_tenant_share"] == 0
    assert math.isnan(values["jain_index"])


def test_ratios_without_a_denominator_are_nan_and_nothing_fails():
    values = summarise(record([{}], [NAN], [NAN], served=(0.0, 0.0), arrived=(0.0, 0.0)))
    for name in ("cache_hit_ratio", "slo_attainment", "scheduling_latency_p99_ms", "slowdown_mean", "jain_index"):
        assert math.isnan(values[name]), name
    assert values["counted_tasks"] == 0


def test_the_table_and_the_summary_have_the_same_metrics_in_the_same_order():
    assert list(summarise(record(TASKS, START, FINISH))) == [entry.name for entry in METRICS]
    with pytest.raises(KeyError, match="expected one of team_reward"):
        metric("latency")


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=8),
    st.floats(0, 1),
)
def test_entitlement_is_the_max_min_fair_division(demand, share):
    demand = np.array(demand)
    total = share * demand.sum()
    fair = entitlement(demand, total)
    assert fair.sum() == pytest.approx(total, abs=1e-9)
    assert (fair <= demand + 1e-9).all()
    # Max-min: whoever gets less than the demand gets at least as much as anybody else.
    short = fair < demand - 1e-9
    assert all(fair[i] >= fair.max() - 1e-6 for i in np.flatnonzero(short))


def test_weights_divide_what_everybody_wants():
    fair = entitlement(np.array([90.0, 90.0, 5.0]), 65.0, np.array([1.0, 2.0, 1.0]))
    assert fair.tolist() == pytest.approx([20.0, 40.0, 5.0])


def test_jains_index_is_one_over_n_when_one_of_n_gets_everything():
    assert jain_index(np.array([0.0, 0.0, 0.0, 2.0])) == pytest.approx(0.25)
