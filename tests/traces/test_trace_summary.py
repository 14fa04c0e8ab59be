"""The numbers that describe a task table, against slow counting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudsched_env.cli.bars import bar, sparkline
from cloudsched_env.traces import TaskTable
from cloudsched_env.traces.summary import (
    LEVELS,
    arrivals_per_hour,
    log_histogram,
    quantiles,
    rebin,
    shares,
    skew,
)
from tests.traces.test_task_table import METADATA


def table(arrivals_s: list[float], start_s: float, end_s: float) -> TaskTable:
    from dataclasses import replace

    metadata = replace(METADATA, span_start_s=start_s, span_end_s=end_s)
    return TaskTable({"arrival_s": np.array(arrivals_s)}, {}, metadata)


def test_arrivals_fall_into_the_hour_they_happen_in():
    histogram = arrivals_per_hour(table([600.0, 4199.9, 4200.0, 9000.0], 600.0, 9000.0))
    assert histogram.counts.tolist() == [2, 1, 1]
    assert histogram.edges.tolist() == [600.0, 4200.0, 7800.0, 9000.0]


@given(st.lists(st.floats(600, 40_000), max_size=40), st.floats(40_000, 90_000))
def test_no_arrival_is_lost_between_hours(arrivals, end):
    assert arrivals_per_hour(table(arrivals, 600.0, end)).counts.sum() == len(arrivals)


def test_a_trace_of_one_instant_has_one_hour():
    assert arrivals_per_hour(table([600.0], 600.0, 600.0)).counts.tolist() == [1]


def test_quantiles_leave_out_nulls_and_count_them():
    found = quantiles(np.array([3.0, np.nan, 1.0, 2.0, np.nan]))
    assert (found.count, found.nulls, found.mean, found.maximum) == (3, 2, 2.0, 3.0)
    assert found.levels[LEVELS.index(0.5)] == 2.0


def test_quantiles_of_nothing_are_nan():
    found = quantiles(np.array([np.nan]))
    assert found.count == 0
    assert np.isnan([found.mean, found.maximum, *found.levels]).all()


@given(st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=50), st.integers(1, 30))
def test_a_log_histogram_loses_no_positive_value(values, bins):
    histogram = log_histogram(np.array([*values, 0.0, np.nan]), bins)
    assert histogram.counts.sum() == len(values)
    assert len(histogram.counts) == bins
    assert histogram.edges[0] == min(values)
    assert histogram.edges[-1] >= max(values)


def test_a_log_histogram_of_nothing_is_empty():
    assert log_histogram(np.array([0.0, np.nan]), 4).counts.tolist() == [0, 0, 0, 0]


def test_shares_add_up_in_ascending_order():
    assert shares(np.array([2, 0, 2, 1], np.int8)) == [(0, 1, 0.25), (1, 1, 0.25), (2, 2, 0.5)]


@given(st.lists(st.integers(-1, 7), max_size=60))
@settings(max_examples=60)
def test_skew_agrees_with_its_definition(codes):
    found = skew(np.array(codes, np.int32), 8)
    counts = [codes.count(name) for name in range(8)]
    assert found.counts.tolist() == sorted(counts, reverse=True)
    assert [counts[code] for code in found.order] == found.counts.tolist()
    if sum(counts):
        differences = sum(abs(a - b) for a in counts for b in counts)
        assert found.gini == pytest.approx(differences / (2 * 8 * sum(counts)))
        assert found.top_share(3) == pytest.approx(sum(sorted(counts)[-3:]) / sum(counts))
        assert found.top_share(8) == pytest.approx(1.0)


def test_rebin_takes_means_of_neighbours():
    assert rebin(np.array([1, 3, 5, 7, 10]), 3).tolist() == [2.0, 6.0, 10.0]
    assert rebin(np.array([1, 3]), 3).tolist() == [1.0, 3.0]


def test_sparkline_scales_to_the_largest_value_and_keeps_zero_apart():
    assert sparkline([0, 1, 4, 8]) == " ▂▅█"
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == "  "
    with pytest.raises(ValueError, match="at least 0"):
        sparkline([-1])


def test_bar_is_exact_to_an_eighth_and_always_as_wide():
    assert bar(0.5, 4) == "██  "
    assert bar(1.0, 4) == "████"
    assert bar(0.0, 4) == "    "
    assert bar(1 / 32, 4) == "▏   "
    assert all(len(bar(share / 97, 7)) == 7 for share in range(98))
    with pytest.raises(ValueError, match="share"):
        bar(1.01)
