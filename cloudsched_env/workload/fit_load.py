"""Fit a `LoadProfile` to a load table: what `cloudsched traces fit` does with a block trace.

Everything is a statistic of the intervals in one stretch of time: means of disks, quantiles, autocorrelations. No row
of the table is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.traces.load_table import LoadTable
from cloudsched_env.workload.latent import LatentSeries, fit_latent, lags_up_to, latent_correlation
from cloudsched_env.workload.load_profile import LOAD_MODEL, QUANTITIES
from cloudsched_env.workload.marginal import rounded
from cloudsched_env.workload.normal import normal_quantile

__all__ = ["DISPERSION_BINS_S", "LoadSeries", "count_dispersion", "fit_load_profile", "load_series"]

DISPERSION_BINS_S = (1.0, 10.0, 60.0, 300.0)
"""Bins, in seconds, at which burstiness of requests is compared."""

Floats = NDArray[np.float64]

_LEAST_INTERVALS = 20  # of a stretch that tells something
_MOST_CELLS = 50_000_000  # disks x intervals; about 100 bytes each
_DEVICES_OF_CLASS = 4  # at least, while there are more classes than one
_MOST_CLASSES = 8
_TIMED_DEVICES = 50  # of a class whose autocorrelation is measured; they are spread over its rates
_RANKS = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98)  # of an interval's requests, at which sizes may change
_BURST_SHARE = 0.05  # of the intervals: what is busier than the others by so much that it makes most of the variance
_MEMORY_DIFFERENCE = 0.15  # of the correlations of requests and of their ranks, up to which one series makes both
_LEAST_OF_RANGE = 20  # intervals that tell a distribution
_LONGEST_LAG = 0.25  # of the stretch
_PROBABILITIES = np.concatenate(
    [np.linspace(0.0, 0.9, 46), np.linspace(0.905, 0.985, 17), 1.0 - np.geomspace(0.0125, 1e-4, 16), [1.0]]
)


@dataclass(frozen=True)
class LoadSeries:
    """Requests of every disk in every interval of a stretch of a block trace, those without any included.

    Attributes:
        interval_s: length of an interval.
        start_s: start of the stretch on the trace's clock, the start of an interval.
        requests: reads and writes that begin in the interval, ``[devices, intervals]``.
        quantities: the `QUANTITIES`, NaN where the interval has no such requests, ``[devices, intervals]`` each.
        devices: names, ``[devices]``.
    """

    interval_s: float
    start_s: float
    requests: Floats
    quantities: dict[str, Floats]
    devices: tuple[str, ...]

    @property
    def length_s(self) -> float:
        """Length of the stretch."""
        return self.interval_s * self.requests.shape[1]

    @property
    def mb_per_s(self) -> Floats:
        """Bytes of all requests / 10^6 / length of the interval, ``[devices, intervals]``."""
        reads = self.requests * np.nan_to_num(self.quantities["read_share"])
        read_bytes = reads * np.nan_to_num(self.quantities["read_bytes"])
        write_bytes = (self.requests - reads) * np.nan_to_num(self.quantities["write_bytes"])
        return (read_bytes + write_bytes) / 1e6 / self.interval_s


def load_series(table: LoadTable, span_s: tuple[float, float]) -> LoadSeries:
    """The whole intervals of a stretch of a load table.

    Args:
        table: the table, all columns.
        span_s: the stretch, [start, end) on the trace's clock.

    Raises:
        ValueError: if the table has intervals of several lengths, or the stretch has fewer than 20 intervals, no
            request, or more than 50 million intervals of all disks together.
    """
    if not len(table):
        raise ValueError("the load table has no row: import a block trace that has requests")
    interval = float(table["interval_s"][0])
    if (table["interval_s"] != interval).any():
        raise ValueError("the load table has intervals of several lengths: import the trace again with one --interval")
    known = table.metadata
    # What is before the first or after the last request of the trace is not an interval that was watched.
    start, end = max(span_s[0], known.span_start_s), min(span_s[1], max(known.span_end_s, known.span_start_s))
    first, last = int(np.ceil(start / interval - 1e-6)), int(np.floor(end / interval + 1e-6))
    if last - first < _LEAST_INTERVALS:
        raise ValueError(
            f"{max(0, last - first)} whole intervals of {interval:g} s between {start:g} s and {end:g} s: expected at "
            f"least {_LEAST_INTERVALS}; use a longer part or trace, or import it with a shorter --interval"
        )
    place = np.rint(table["start_s"] / interval).astype(np.int64) - first
    inside = (place >= 0) & (place < last - first)
    at = (table["device"][inside], place[inside])
    shape = (len(table.categories["device"]), last - first)
    if shape[0] * shape[1] > _MOST_CELLS:
        raise ValueError(
            f"{shape[0]:,} disks x {shape[1]:,} intervals of {interval:g} s: expected at most {_MOST_CELLS:,} "
            "together; import the trace with a longer --interval, or fewer of its files"
        )

    def dense(column: str, missing: float = 0.0) -> Floats:
        values = np.full(shape, missing)
        values[at] = table[column][inside]
        return values

    reads, writes = (np.rint(dense(column) * interval) for column in ("reads_per_s", "writes_per_s"))
    requests = reads + writes
    used = requests.sum(axis=1) > 0
    if not used.any():
        raise ValueError(f"no request begins between {start:g} s and {end:g} s: choose another part of the trace")

    def per(total: Floats, count: Floats) -> Floats:
        return np.divide(total, count, out=np.full(shape, np.nan), where=count > 0)[used]

    quantities = {
        "read_share": per(reads, requests),
        "read_bytes": per(dense("read_mb_per_s") * interval * 1e6, reads),
        "write_bytes": per(dense("write_mb_per_s") * interval * 1e6, writes),
        "latency_s": dense("latency_mean_s", np.nan)[used],
    }
    names = tuple(name for name, kept in zip(table.categories["device"], used, strict=True) if kept)
    return LoadSeries(interval, first * interval, requests[used], quantities, names)


def count_dispersion(stretches: Sequence[LoadSeries], bin_s: float) -> float:
    """Variance / mean of the requests of a disk in bins, disks weighted by their requests; a Poisson process has 1.

    Args:
        stretches: each with its own mean; variances and means are summed over them.
        bin_s: length of a bin, a multiple of an interval.

    Returns:
        The index; NaN with fewer than two bins, or bins that are no multiple of intervals.
    """
    variance = mean = 0.0
    for series in stretches:
        width = round(bin_s / series.interval_s)
        bins = series.requests.shape[1] // max(width, 1)
        if width < 1 or abs(width * series.interval_s - bin_s) > 1e-9 * bin_s or bins < 2:
            return float("nan")
        counts = series.requests[:, : bins * width].reshape(-1, bins, width).sum(axis=2)
        variance += float(counts.var(axis=1, ddof=1).sum())
        mean += float(counts.mean(axis=1).sum())
    return variance / mean if mean > 0 else float("nan")


def fit_load_profile(series: LoadSeries, name: str, provenance: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    """The profile of a stretch of a block trace, as JSON types; `LoadProfile.from_dict` takes it.

    Args:
        series: the stretch.
        name: name of the profile.
        provenance: source, licence and what else people must know; what was fitted is added.
        seed: of tie-breaking.
    """
    rng = np.random.default_rng(seed)
    devices = len(series.requests)
    order = np.argsort(series.requests.mean(axis=1), kind="stable")
    count = int(np.clip(devices // _DEVICES_OF_CLASS, 1, _MOST_CLASSES))
    measured = {f"{scale:g} s": count_dispersion([series], scale) for scale in DISPERSION_BINS_S}
    return {
        "model": LOAD_MODEL,
        "name": name,
        "provenance": {
            **provenance,
            "fitted_devices": devices,
            "fitted_requests": int(series.requests.sum()),
            "fitted_hours": round(series.length_s / 3600.0, 3),
        },
        "interval_s": series.interval_s,
        "devices": devices,
        "measured_dispersion": {scale: float(f"{v:.5g}") for scale, v in measured.items() if np.isfinite(v)},
        "classes": [_fit_class(series, members, rng) for members in np.array_split(order, count)],
    }


def _fit_class(series: LoadSeries, members: NDArray[np.intp], rng: np.random.Generator) -> dict[str, Any]:
    """One class of disks."""
    requests = series.requests[members]
    mean = requests.mean(axis=1, keepdims=True)
    relative = requests / mean
    busy = requests > 0
    timed = np.unique(np.linspace(0, len(members) - 1, _TIMED_DEVICES).astype(np.int64))
    longest = max(1, int(_LONGEST_LAG * requests.shape[1]))
    lags = lags_up_to(longest)
    burst_share, bursts, calm = _fit_memory(relative, timed, lags, rng)
    rank = np.full(requests.shape, np.nan)
    rank[busy] = _ranks(relative[busy], rng)
    quantities = {}
    for key in QUANTITIES:
        values = series.quantities[key][members]
        if key == "latency_s" and not np.isfinite(values).any():
            continue
        quantities[key] = _fit_quantity(values, rank, timed, lags)
    return {
        "share": round(len(members) / len(series.requests), 6),
        "mean_per_s": _quantiles(mean[:, 0] / series.interval_s),
        "silent": round(float(1.0 - busy.mean()), 6),
        "relative": _quantiles(relative[busy]),
        "burst_share": burst_share,
        "bursts": _series(bursts),
        "calm": _series(calm),
        "quantities": quantities,
    }


def _fit_memory(
    relative: Floats, timed: NDArray[np.int64], lags: NDArray[np.int64], rng: np.random.Generator
) -> tuple[float, LatentSeries, LatentSeries]:
    """Part of the intervals that the series of bursts places, this series, and that of the others.

    A few large intervals make the autocorrelation of requests, all intervals alike that of their ranks. Where both ask
    for about the same Gaussian series, it places all intervals; else bursts and the rest have one each.
    """
    everywhere = np.ones(relative.shape, dtype=np.bool_)
    memory = latent_correlation(relative.ravel(), _autocorrelation(relative[timed] - 1.0, lags))
    ranks = _rank_memory([everywhere], relative, timed, lags)
    if np.abs(memory - ranks.correlation(lags)).max() <= _MEMORY_DIFFERENCE:
        return 1.0, fit_latent(lags, memory), LatentSeries(np.empty(0), np.empty(0))
    bursts = (_ranks(relative.ravel(), rng) >= 1.0 - _BURST_SHARE).reshape(relative.shape)
    # What is below the bursts counts as its mean, so that only bursts make the correlation.
    above = np.where(bursts, relative, relative[~bursts].mean())
    memory = latent_correlation(above.ravel(), _autocorrelation(above[timed] - above.mean(), lags))
    return _BURST_SHARE, fit_latent(lags, memory), _rank_memory([~bursts], relative, timed, lags)


def _fit_quantity(values: Floats, rank: Floats, timed: NDArray[np.int64], lags: NDArray[np.int64]) -> dict[str, Any]:
    """Distributions in ranges of the rank of an interval's requests, and memory of the rank within them."""
    known = np.isfinite(values)
    edges = [0.0]
    for edge in _RANKS[1:]:
        below, above = ((rank[known] >= edges[-1]) & (rank[known] < edge)).sum(), (rank[known] >= edge).sum()
        if below >= _LEAST_OF_RANGE and above >= _LEAST_OF_RANGE:
            edges.append(edge)
    inside = [known & (rank >= first) & (rank < end) for first, end in zip(edges, [*edges[1:], 2.0], strict=True)]
    return {
        "ranges": [
            {"from_rank": edge, "quantiles": _quantiles(values[some])} for edge, some in zip(edges, inside, strict=True)
        ],
        "series": _series(_rank_memory(inside, values, timed, lags)),
    }


def _rank_memory(
    groups: list[NDArray[np.bool_]], values: Floats, timed: NDArray[np.int64], lags: NDArray[np.int64]
) -> LatentSeries:
    """Series of the normal scores of values within groups of intervals, ``[devices, intervals]`` each.

    Ties share the middle of their ranks; `latent_correlation` makes up for what that takes from the correlation.
    """
    score = np.full(values.shape, np.nan)
    for group in groups:
        score[group] = normal_quantile(_middle_ranks(values[group]))
    known = score[np.isfinite(score)]
    if not len(known):
        return fit_latent(lags, np.zeros(len(lags)))
    return fit_latent(lags, latent_correlation(known, _autocorrelation(score[timed] - known.mean(), lags)))


def _autocorrelation(deviation: Floats, lags: NDArray[np.int64]) -> Floats:
    """Autocorrelation pooled over disks, over the pairs of which both are known, ``[lags]``.

    Args:
        deviation: from the mean, NaN where unknown, ``[devices, intervals]``.
        lags: in intervals.
    """
    known = np.isfinite(deviation)
    filled = np.where(known, deviation, 0.0)
    variance = float((filled**2).sum()) / max(int(known.sum()), 1)
    found = np.zeros(len(lags))
    if not variance > 0:
        return found
    for place, lag in enumerate(lags.tolist()):
        pairs = int((known[:, lag:] & known[:, :-lag]).sum())
        if pairs >= _LEAST_OF_RANGE:
            found[place] = float((filled[:, lag:] * filled[:, :-lag]).sum()) / pairs / variance
    return np.clip(found, 0.0, 1.0)


def _ranks(values: Floats, rng: np.random.Generator) -> Floats:
    """Ranks strictly between 0 and 1, ties broken at random, ``[values]``."""
    rank = np.empty(len(values))
    rank[np.lexsort((rng.random(len(values)), values))] = np.arange(len(values))
    return (rank + 0.5) / len(values)


def _middle_ranks(values: Floats) -> Floats:
    """Ranks strictly between 0 and 1, the same for equal values, ``[values]``."""
    _, inverse, count = np.unique(values, return_inverse=True, return_counts=True)
    return ((np.cumsum(count) - 0.5 * count) / max(len(values), 1))[inverse.reshape(-1)]


def _quantiles(values: Floats) -> list[list[float]]:
    """Corners of the quantile function, without those that lie on the line of their neighbours; 0 for no value."""
    if not len(values):
        return [[0.0, 0.0], [1.0, 0.0]]
    found = rounded(np.quantile(values, _PROBABILITIES, method="hazen"), 6)
    flat = (found[1:-1] == found[:-2]) & (found[1:-1] == found[2:])
    kept = np.concatenate(([True], ~flat, [True]))
    return [[round(float(p), 6), float(v)] for p, v in zip(_PROBABILITIES[kept], found[kept], strict=True)]


def _series(series: LatentSeries) -> dict[str, list[float]]:
    return {"scales": series.scales.tolist(), "weights": np.round(series.weights, 4).tolist()}
