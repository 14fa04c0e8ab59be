"""A fit to the gaps finds how many jobs an instant has and how many are seconds apart, at the same dispersion."""

from __future__ import annotations

import numpy as np
import pytest

from cloudsched_env.workload.burstiness import dispersion_within_blocks, ks_distance
from cloudsched_env.workload.clusters import (
    FIT_SCALES_S,
    SPANS_S,
    ClusterLevel,
    draw_clusters,
    fit_levels,
    with_single,
)
from cloudsched_env.workload.gaps import match_gaps
from cloudsched_env.workload.rounds import Rounds, fit_rounds
from tests.workload.test_rounds import rounds

SPANS = (0.02, *SPANS_S[1:])
# Instants of one job are common, the others large; many jobs are seconds apart.
LEVELS = (
    ClusterLevel(0.02, 1.35, 0.7),
    ClusterLevel(4.0, 1.3),
    ClusterLevel(10.0, 1.0),
    ClusterLevel(60.0, 1.2),
    ClusterLevel(300.0, 1.5),
)


def stream(levels, recorded: Rounds, seed: int, jobs: int = 30_000) -> np.ndarray:
    rng = np.random.default_rng(seed)
    visits = round(jobs / np.prod([level.mean_children for level in levels]))
    time = draw_clusters(levels, np.sort(rng.random(visits)) * jobs * 5.0, rng)[0]
    return np.sort(recorded.record(np.sort(time), rng))


def test_gaps_of_a_fitted_stream_are_those_of_the_stream_and_its_dispersion_too():
    recorded = rounds(0.8, 0.08)
    time = stream(LEVELS, recorded, seed=3)
    length_s = float(time[-1])
    measured = [dispersion_within_blocks(time, length_s, s, 3600.0) for s in FIT_SCALES_S]

    def fitted(known=()):
        return fit_levels(measured, FIT_SCALES_S, 3600.0, 1.0, SPANS, known)

    found_rounds = fit_rounds(time, 0.1)
    found = match_gaps(time, length_s, fitted, 0.0, found_rounds, 0.1, seed=0)
    again = stream(found, Rounds.from_dict(found_rounds), seed=4)
    without = stream(fitted(), Rounds.from_dict(found_rounds), seed=4)
    distance = ks_distance(np.diff(again), np.diff(time))
    assert distance < 0.03
    assert distance < 0.6 * ks_distance(np.diff(without), np.diff(time))  # what the dispersion alone gives
    assert found[0].mean_children == pytest.approx(1.35, rel=0.05)
    assert found[0].single == pytest.approx(0.7, abs=0.12)
    drawn = [dispersion_within_blocks(again, again[-1], s, 3600.0) for s in FIT_SCALES_S]
    assert drawn == pytest.approx(measured, rel=0.2)


def test_single_instants_change_neither_pairs_nor_the_mean_that_is_wanted():
    geometric = (ClusterLevel(0.02, 1.6), ClusterLevel(10.0, 1.2), ClusterLevel(60.0, 1.5))
    changed = with_single(geometric, 1.3)
    assert changed[0].mean_children == pytest.approx(1.3)
    assert changed[0].pairs == pytest.approx(geometric[0].pairs)
    # Pairs at a level: those of its sub-clusters, times the jobs of another sub-cluster.
    for k in (1, 2):
        inner = [np.prod([level.mean_children for level in levels[:k]]) for levels in (geometric, changed)]
        assert changed[k].pairs * inner[1] == pytest.approx(geometric[k].pairs * inner[0])
    rng = np.random.default_rng(0)
    owner = draw_clusters(changed[:1], np.zeros(200_000), rng)[1][0]
    count = np.bincount(owner)
    assert count.mean() == pytest.approx(1.3, rel=0.01)
    assert (count * (count - 1)).mean() / count.mean() == pytest.approx(geometric[0].pairs, rel=0.03)
    assert with_single(geometric, 2.0) == geometric  # a geometric number has the most mean for its pairs
