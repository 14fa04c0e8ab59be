"""How alike the loads of two block traces are: what `cloudsched traces compare` prints for load tables.

Compared is what the intervals of a disk hold: requests, bytes, reads among them and their sizes; burstiness over
several scales of time; autocorrelation; tails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.workload.burstiness import ks_distance
from cloudsched_env.workload.comparison import TAIL_QUANTILES
from cloudsched_env.workload.fit_load import DISPERSION_BINS_S, LoadSeries, count_dispersion
from cloudsched_env.workload.load_profile import LoadProfile
from cloudsched_env.workload.load_stream import generate_load, series_of

__all__ = ["LOAD_MARGINALS", "LoadSample", "compare_loads", "load_noise", "sample_load_profile"]

Floats = NDArray[np.float64]

LOAD_MARGINALS = {
    "requests_per_s": "requests of a disk, 1/s",
    "mb_per_s": "traffic of a disk, MB/s",
    "read_share": "reads / requests",
    "read_bytes": "mean bytes of a read",
    "write_bytes": "mean bytes of a write",
    "latency_s": "mean response time, s",
}
"""Distributions that are compared: key and meaning. Of the first two all intervals count, of the others those with such
requests; response times only if both have them."""

_LAGS_S = (10.0, 30.0, 60.0, 120.0, 300.0)


@dataclass(frozen=True)
class LoadSample:
    """Stretches of one block trace, or draws of one profile.

    Attributes:
        label: what to call it.
        data_tag: ``"generated"``, ``"excerpt"`` or ``"full trace"``.
        stretches: all with as many disks and intervals of one length.
    """

    label: str
    data_tag: str
    stretches: tuple[LoadSeries, ...]

    @property
    def interval_s(self) -> float:
        """Length of an interval."""
        return self.stretches[0].interval_s

    def marginal(self, key: str) -> Floats:
        """All values of one of `LOAD_MARGINALS` over disks, intervals and stretches."""

        def values(series: LoadSeries) -> Floats:
            if key == "requests_per_s":
                return series.requests.ravel() / series.interval_s
            if key == "mb_per_s":
                return series.mb_per_s.ravel()
            found = series.quantities[key]
            return found[np.isfinite(found)]

        return np.concatenate([values(series) for series in self.stretches])

    def dispersion(self, bin_s: float) -> float:
        """Index of dispersion of a disk's requests within stretches; see `fit_load.count_dispersion`."""
        return count_dispersion(self.stretches, bin_s)

    def autocorrelation(self, lag_s: float) -> float:
        """Autocorrelation of a disk's requests in intervals, pooled over stretches; NaN for a lag that is none."""
        lag = round(lag_s / self.interval_s)
        if lag < 1 or abs(lag * self.interval_s - lag_s) > 1e-9 * lag_s:
            return float("nan")
        together = variance = 0.0
        for series in self.stretches:
            if 2 * lag > series.requests.shape[1]:
                return float("nan")
            deviation = series.requests - series.requests.mean(axis=1, keepdims=True)
            together += float((deviation[:, lag:] * deviation[:, :-lag]).sum())
            variance += float((deviation**2).sum())
        return together / variance if variance > 0 else float("nan")

    def statistics(self) -> dict[str, float]:
        """What else there is, over all stretches together."""
        requests = np.stack([series.requests for series in self.stretches])
        read_share, read_bytes = (
            np.nan_to_num(np.stack([series.quantities[key] for series in self.stretches]))
            for key in ("read_share", "read_bytes")
        )
        traffic = np.stack([series.mb_per_s for series in self.stretches])
        read_mb_per_s = requests * read_share * read_bytes / 1e6 / self.interval_s
        of_disks = np.sort(traffic.sum(axis=2)).sum(axis=0)  # the busiest of a stretch stands with that of the others
        return {
            "disks": float(requests.shape[1]),
            "requests of a disk, 1/s": float(requests.mean() / self.interval_s),
            "traffic of a disk, MB/s": float(traffic.mean()),
            "intervals without a request": float((requests == 0).mean()),
            "reads' share of requests": float((requests * read_share).sum() / requests.sum()),
            "reads' share of bytes": float(read_mb_per_s.sum() / traffic.sum()),
            "busiest disk's share of bytes": float(of_disks.max() / of_disks.sum()),
        }


def sample_load_profile(profile: LoadProfile, like: LoadSeries, draws: int, seed: int) -> LoadSample:
    """Draws of a profile, each as long and of as many disks as a stretch of a trace.

    Args:
        profile: what to draw from.
        like: the stretch.
        draws: how many.
        seed: seed of everything that is drawn.

    Raises:
        ValueError: if its intervals are not those of the stretch.
    """
    if abs(profile.interval_s - like.interval_s) > 1e-9:
        raise ValueError(
            f"profile {profile.name} has intervals of {profile.interval_s:g} s, the table of {like.interval_s:g} s: "
            f"import the trace again with --interval {profile.interval_s:g}"
        )
    seeds = np.random.SeedSequence(seed).generate_state(draws).tolist()
    hours, devices = like.length_s / 3600.0, len(like.requests)
    stretches = tuple(series_of(generate_load(profile, hours, each, devices)) for each in seeds)
    return LoadSample(f"profile {profile.name}, {devices} disks", "generated", stretches)


def compare_loads(one: LoadSample, other: LoadSample, baseline: LoadSample | None = None) -> dict[str, Any]:
    """Everything that is compared, as JSON types; in the form of `comparison.compare`.

    Args:
        one: the reference, usually real.
        other: what is held against it.
        baseline: what ``other`` was fitted to, if it is another stretch of the trace of ``one``.

    Raises:
        ValueError: if their intervals differ in length.
    """
    samples = [one, other, *([baseline] if baseline else [])]
    if abs(one.interval_s - other.interval_s) > 1e-9:
        raise ValueError(
            f"{one.label} has intervals of {one.interval_s:g} s, {other.label} of {other.interval_s:g} s: import both "
            "with the same --interval"
        )
    result: dict[str, Any] = {
        "samples": [
            {
                "label": s.label,
                "data_tag": s.data_tag,
                "windows": len(s.stretches),
                "window_s": s.stretches[0].length_s,
            }
            for s in samples
        ],
        "ks": {},
        "dispersion": {},
        "autocorrelation": {},
        "tails": {},
        "statistics": {},
    }
    for key in LOAD_MARGINALS:
        values = [s.marginal(key) for s in samples]
        if not all(len(v) for v in values):
            continue
        distances = {"distance": ks_distance(values[0], values[1])}
        if baseline:
            distances |= {"drift": ks_distance(values[0], values[2]), "fit": ks_distance(values[1], values[2])}
        result["ks"][key] = {name: round(value, 4) for name, value in distances.items()}
        result["tails"][key] = {
            f"p{100 * q:g}": _row([float(np.quantile(v, q)) for v in values]) for q in TAIL_QUANTILES
        }
    for bin_s in DISPERSION_BINS_S:
        row = _row([s.dispersion(bin_s) for s in samples])
        if not all(np.isfinite(value) for value in row.values()):
            continue
        row["ratio"] = round(row["other"] / row["one"], 3)
        if baseline:
            row["drift_ratio"] = round(row["baseline"] / row["one"], 3)
        result["dispersion"][f"{bin_s:g} s"] = row
    for lag_s in _LAGS_S:
        row = _row([s.autocorrelation(lag_s) for s in samples])
        if all(np.isfinite(value) for value in row.values()):
            result["autocorrelation"][f"{lag_s:g} s"] = row
    columns = [s.statistics() for s in samples]
    result["statistics"] = {key: _row([column[key] for column in columns]) for key in columns[0]}
    return result


def load_noise(draws: LoadSample) -> dict[str, Any]:
    """How far two draws of one profile are apart: chance alone.

    Args:
        draws: at least two draws, each as large as what is compared.

    Returns:
        Mean KS distance of each of `LOAD_MARGINALS`, and the standard deviation of each index of dispersion relative to
        its mean.
    """
    singles = [LoadSample(draws.label, draws.data_tag, (series,)) for series in draws.stretches]
    found: dict[str, list[float]] = {}
    for a, b in zip(singles[::2], singles[1::2], strict=False):
        for key in LOAD_MARGINALS:
            first, second = a.marginal(key), b.marginal(key)
            if len(first) and len(second):
                found.setdefault(key, []).append(ks_distance(first, second))
    spread = {}
    for bin_s in DISPERSION_BINS_S:
        values = np.array([single.dispersion(bin_s) for single in singles])
        if np.isfinite(values).all():
            spread[f"{bin_s:g} s"] = round(float(values.std(ddof=1) / values.mean()), 3)
    return {"ks": {key: round(float(np.mean(v)), 4) for key, v in found.items()}, "dispersion": spread}


def _row(values: list[float]) -> dict[str, float]:
    """Values of the samples side by side."""
    return {key: float(f"{value:.5g}") for key, value in zip(("one", "other", "baseline"), values, strict=False)}
