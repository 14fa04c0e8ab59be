"""Buffer cache: Che's approximation for random replacement, and invalidation by writes."""

import numpy as np
import pytest

from tests.simulator.mechanisms.cache import (
    departure_by_shard_size,
    invalidated_warmth,
    random_replacement_hits,
    run_invalidation,
    run_references,
    run_steady_readers,
    zipf,
)

HOT_SET_MB = 100.0
SHARDS = 50
CACHE_SIZES = (250.0, 1000.0, 3000.0)


@pytest.mark.parametrize("cache_mb", CACHE_SIZES)
@pytest.mark.parametrize("exponent", [0.0, 0.8, 1.2])
def test_warmth_under_steady_reads_is_the_random_replacement_formula_exactly(cache_mb, exponent):
    rate = 3000.0 * zipf(SHARDS, exponent)
    warmth = run_steady_readers(rate, HOT_SET_MB, cache_mb, steps=4000)
    theory = random_replacement_hits(rate / HOT_SET_MB, HOT_SET_MB, cache_mb)
    np.testing.assert_allclose(warmth, theory, atol=2e-6)
    assert warmth.sum() * HOT_SET_MB == pytest.approx(cache_mb, rel=1e-9)


def test_the_exact_test_could_tell_least_recently_used_from_random():
    """Che's LRU form 1 - exp(-q t) with its own t is far from what the kernel does."""
    popularity = zipf(SHARDS, 0.8)
    theory = random_replacement_hits(popularity, HOT_SET_MB, 1000.0)
    times = np.logspace(-3, 6, 20001)
    contents = HOT_SET_MB * (1 - np.exp(-popularity[:, None] * times)).sum(axis=0)
    lru = 1 - np.exp(-popularity * times[np.searchsorted(contents, 1000.0)])
    assert np.abs(lru - theory).max() > 0.05


@pytest.mark.parametrize("cache_mb", CACHE_SIZES)
def test_hit_ratio_under_independent_references_is_that_of_random_replacement(cache_mb):
    popularity = zipf(SHARDS, 0.8)
    measured, error = run_references(
        popularity, hot_set_mb=HOT_SET_MB, cache_mb=cache_mb, read_share=0.1,
        warm_up=1500, steps=1500, clusters=8, seed=3,
    )  # fmt: skip
    theory = (popularity * random_replacement_hits(popularity, HOT_SET_MB, cache_mb)).sum()
    assert error < 0.004
    assert measured == pytest.approx(theory, abs=0.01)


def test_the_formula_overestimates_hits_when_one_insert_is_a_large_part_of_the_cache():
    """Requests that read a whole shard: a shard of 2 % of the cache costs < 0.5 points, one of half of it > 1 point."""
    small, half = departure_by_shard_size([20.0, 500.0], 1000.0, 4.0, warm_up=300, steps=2000, clusters=8, seed=1)
    assert -0.006 < small < 0.003
    assert -0.03 < half < -0.01


def test_a_cache_that_holds_everything_becomes_warm():
    np.testing.assert_allclose(run_steady_readers([500.0] * 5, 100.0, 600.0, steps=3000), 1.0, atol=1e-6)


@pytest.mark.parametrize(("read", "write"), [(10.0, 5.0), (10.0, 20.0), (2.0, 20.0)])
@pytest.mark.parametrize("cache_mb", [150.0, 1e5])
def test_warmth_settles_where_misses_balance_invalidations(read, write, cache_mb):
    warmth = run_invalidation(read, write, hot_set_mb=HOT_SET_MB, cache_mb=cache_mb, steps=5000)
    expected = invalidated_warmth(read, write, HOT_SET_MB, cache_mb, step_s=0.1)
    # A cache of 100 GB is not full after 500 s, so nothing is evicted yet: the formula assumes 0.1 % of evictions.
    assert warmth.reader == pytest.approx(float(expected), rel=1e-6 if cache_mb < 1e5 else 1e-3)
    # The textbook form: valid if the last event was a read; steps of 0.1 s cost at most w v step / H <= 2 %.
    if cache_mb == 1e5:
        assert warmth.reader == pytest.approx(read / (read + write), rel=0.021)
    assert warmth.writer == pytest.approx(1.0)


def test_without_invalidation_the_reader_becomes_warm():
    assert run_invalidation(
        10.0, 20.0, hot_set_mb=HOT_SET_MB, cache_mb=150.0, steps=2000, enabled=False
    ).reader == pytest.approx(1.0, abs=1e-6)
