"""Runs of a buffer cache under independent references (IRM) with Zipf popularity, and theory to compare with.

Random replacement, in the form of Che's approximation (Gallo et al., "Performance evaluation of the random replacement
policy for networks of caches", SIGMETRICS 2012; Fricker, Robert & Roberts, "A versatile and accurate approximation
for LRU cache performance", ITC 2012): a page requested at rate q is present with probability q t / (1 + q t),
where the characteristic time t makes the expected contents as large as the cache.

The kernel's cache is a fluid of pages. Shard m of H MB is read at r MB/s, so each of its pages at q = r / H. At warmth
w misses bring in r (1 - w), evictions at random take A E / K of its A = H w valid MB, where E is what all misses bring
in and K the size: r (1 - w) = H w E / K, that is w = q t / (1 + q t) with t = K / E. The fixed point of the kernel, and
of one step of it (both sides times K + E dt), *is* the formula for random replacement at the granularity of a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from tests.simulator.drive import constant_actions, make_episode, play, valid_mb
from tests.simulator.isolated import isolated


def zipf(shards: int, exponent: float) -> NDArray[np.float64]:
    """Popularity of each shard, summing to one."""
    weight = np.arange(1, shards + 1) ** -exponent
    return weight / weight.sum()


def random_replacement_hits(page_rate: ArrayLike, size_mb: ArrayLike, cache_mb: float) -> NDArray[np.float64]:
    """Hit ratio of each shard: page rates in 1/s, sizes and the cache in MB."""
    rate, size = np.broadcast_arrays(np.asarray(page_rate, float), np.asarray(size_mb, float))
    if size.sum() <= cache_mb:
        return np.ones(len(rate))

    def excess(log_time: float) -> float:
        seen = rate * np.exp(log_time)
        return float((size * seen / (1.0 + seen)).sum() - cache_mb)

    seen = rate * np.exp(brentq(excess, -60.0, 60.0, xtol=1e-13))
    return seen / (1.0 + seen)


def _cache_scenario(shards: int, cache_mb: float, horizon: int, **overrides):
    return isolated(
        time__horizon_steps=horizon,
        cluster__compute_nodes=({"count": 1, "cores": 1000.0, "memory_gb": cache_mb / 500.0},),
        compute__cache_fractions=(0.5,),
        workload__shards_per_tenant=shards,
        cache__enabled=True,
        scheduling__window_slots=64,
        **overrides,
    )


def run_steady_readers(rate_mb_per_s: ArrayLike, hot_set_mb: float, cache_mb: float, steps: int) -> NDArray[np.float64]:
    """Warmth of each shard after ``steps`` when one endless task per shard reads it at a constant rate."""
    rate = np.asarray(rate_mb_per_s, float)
    scenario = _cache_scenario(len(rate), cache_mb, steps)
    long_s = 1e6
    episode = make_episode(
        scenario,
        hot_set_mb=hot_set_mb,
        shard=np.arange(len(rate)),
        base_time_s=long_s,
        cacheable_read_mb=rate * long_s,
        memory_gb=1e-6,
    )
    return valid_mb(play(scenario, [episode]))[0, 0] / hot_set_mb


def run_references(
    popularity: NDArray[np.float64],
    *,
    hot_set_mb: float,
    cache_mb: float,
    read_share: float,
    warm_up: int,
    steps: int,
    clusters: int,
    seed: int,
    per_step: float = 5.0,
) -> tuple[float, float]:
    """Byte hit ratio, and its standard error, under Poisson requests that each read a share of a shard."""
    scenario = _cache_scenario(len(popularity), cache_mb, warm_up + steps + 2, time__warmup_steps=warm_up)
    rng = np.random.default_rng(seed)
    episodes = []
    for _ in range(clusters):
        count = rng.poisson(per_step * (warm_up + steps))
        arrival = np.sort(rng.uniform(0.0, (warm_up + steps) * scenario.time.step_s, count))
        episodes.append(
            make_episode(
                scenario,
                hot_set_mb=hot_set_mb,
                arrival_s=arrival,
                shard=rng.choice(len(popularity), count, p=popularity),
                base_time_s=0.5 * scenario.time.step_s,
                cores=0.01,
                cacheable_read_mb=read_share * hot_set_mb,
                memory_gb=1e-6,
            )
        )
    totals = [result.totals for result in play(scenario, episodes).results()]
    ratio = np.array([t["cache_hit_mb"] / t["cacheable_mb"] for t in totals])
    return float(ratio.mean()), float(ratio.std(ddof=1) / np.sqrt(clusters))


class Invalidation(NamedTuple):
    """Warmth of one shard, after many steps."""

    reader: float
    writer: float


def run_invalidation(
    read_mb_per_s: float, write_mb_per_s: float, *, hot_set_mb: float, cache_mb: float, steps: int, enabled: bool = True
) -> Invalidation:
    """One node reads a shard at a constant rate, the other one, which holds all of it, writes it at a constant rate."""
    scenario = isolated(
        time__horizon_steps=steps,
        cluster__compute_nodes=({"count": 2, "cores": 8.0, "memory_gb": cache_mb / 500.0},),
        compute__cache_fractions=(0.5,),
        cache__enabled=True,
        cache__invalidation_enabled=enabled,
        cache__initial_warmth=1.0,
    )
    long_s = 1e6
    episode = make_episode(
        scenario,
        hot_set_mb=hot_set_mb,
        homes=[[1]],
        base_time_s=long_s,
        cacheable_read_mb=[read_mb_per_s * long_s, 0.0],
        write_mb=[0.0, write_mb_per_s * long_s],
        memory_gb=1e-6,
    )
    actions = constant_actions(scenario, 1)
    actions["scheduler"][0, 0, :2] = (0, 1)
    return Invalidation(*(valid_mb(play(scenario, [episode], actions=actions))[0, :, 0] / hot_set_mb))


def invalidated_warmth(
    read_mb_per_s: ArrayLike, write_mb_per_s: ArrayLike, hot_set_mb: float, cache_mb: float, step_s: float = 0.0
) -> NDArray[np.float64]:
    """Warmth w that solves r (1 - w) = v w + H w r (1 - w) / K: misses against writes and evictions.

    Invalid pages keep their frames, so even a cache that could hold the shard evicts valid pages to make room. In a
    very large cache this is w = r / (r + v): a page is valid if a read was the last thing that happened to it. With
    steps of ``step_s``, what was read in a step is invalidated by the writes of the same step: r (1 - v step / H)
    instead of r on the left.
    """
    r, v = np.broadcast_arrays(np.asarray(read_mb_per_s, float), np.asarray(write_mb_per_s, float))
    evicted = r * hot_set_mb / cache_mb
    kept = r * (1.0 - v * step_s / hot_set_mb)
    linear = kept + v + evicted
    return (linear - np.sqrt(linear**2 - 4.0 * evicted * kept)) / (2.0 * evicted)


def departure_by_shard_size(sizes: Sequence[float], cache_mb: float, load_factor: float, **run) -> list[float]:
    """Simulated minus theoretical hit ratio for shards of several sizes in one cache; requests read whole shards."""
    differences = []
    for size in sizes:
        popularity = zipf(round(load_factor * cache_mb / size), 0.8)
        measured, _ = run_references(popularity, hot_set_mb=size, cache_mb=cache_mb, read_share=1.0, **run)
        theory = (popularity * random_replacement_hits(popularity, size, cache_mb)).sum()
        differences.append(measured - float(theory))
    return differences
