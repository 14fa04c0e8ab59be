"""How alike two streams of tasks are: what `cloudsched traces compare` prints.

Both are cut into windows as long as those of an episode, at most `FAN_OUT_CAP` tasks of a job, and compared in what
shapes an episode: distributions of requests, run times and batch sizes, burstiness within windows, skew of users,
repetition of names. Nothing here knows which of the two is real.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.workload.burstiness import (
    DISPERSION_SCALES_S,
    autocorrelation,
    dispersion_within_blocks,
    ks_distance,
)
from cloudsched_env.workload.fit import FAN_OUT_CAP
from cloudsched_env.workload.generator import generate_window
from cloudsched_env.workload.index import TraceIndex
from cloudsched_env.workload.profile import Profile
from cloudsched_env.workload.repetition import repetition, top_shares
from cloudsched_env.workload.stream_profile import StreamProfile
from cloudsched_env.workload.tasks import RawTasks
from cloudsched_env.workload.window import WindowTasks

__all__ = [
    "AUTOCORRELATION_BIN_S",
    "AUTOCORRELATION_LAGS",
    "MARGINALS",
    "TAIL_QUANTILES",
    "StreamSample",
    "compare",
    "sample_profile",
    "sample_trace",
    "sampling_noise",
]

Floats = NDArray[np.float64]
OnWindow = Callable[[int, int], None]

MARGINALS = {
    "cpu_request": "CPU request, fraction",
    "memory_gb": "memory request, GB",
    "duration_s": "run time, s",
    "tasks": f"tasks of a job, to {FAN_OUT_CAP}",
    "gap_s": "time between jobs, s",
}
"""Distributions that are compared: key and meaning, in trace seconds. Requests and run times count tasks, the others
jobs; a CPU request of 1 is the unit of `traces.request_unit`."""

TAIL_QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)
AUTOCORRELATION_BIN_S = 10.0
AUTOCORRELATION_LAGS = (1, 3, 6, 12, 30)
_NOISE_ROUNDS = 10


@dataclass(frozen=True)
class StreamSample:
    """Windows of one stream.

    Attributes:
        label: what to call it.
        data_tag: ``"generated"``, ``"excerpt"`` or ``"full trace"``.
        windows: windows that do not overlap.
        window_s: their length in trace seconds.
    """

    label: str
    data_tag: str
    windows: tuple[WindowTasks, ...]
    window_s: float

    def marginal(self, key: str) -> Floats:
        """All values of one of `MARGINALS`, over all windows."""
        if key == "tasks":
            return np.concatenate([np.unique(w.job, return_counts=True)[1] for w in self.windows]).astype(np.float64)
        if key == "gap_s":
            return np.concatenate([np.diff(_job_arrivals(w)) for w in self.windows])
        return np.concatenate([getattr(w, key) for w in self.windows])

    def _end_to_end(self, times: Callable[[WindowTasks], Floats]) -> Floats:
        return np.concatenate([times(w) + k * self.window_s for k, w in enumerate(self.windows)])

    def dispersion(self, tasks: bool = False) -> list[float]:
        """Index of dispersion within windows at `DISPERSION_SCALES_S`, of jobs, or of tasks."""
        times = self._end_to_end((lambda w: w.offset_s) if tasks else _job_arrivals)
        total = self.window_s * len(self.windows)
        return [dispersion_within_blocks(times, total, scale, self.window_s) for scale in DISPERSION_SCALES_S]

    def autocorrelation(self) -> list[float]:
        """Autocorrelation of job counts in bins of `AUTOCORRELATION_BIN_S`, mean over windows, at the lags."""
        most = max(AUTOCORRELATION_LAGS)
        found = [autocorrelation(_job_arrivals(w), self.window_s, AUTOCORRELATION_BIN_S, most) for w in self.windows]
        mean = np.nanmean(found, axis=0)
        return [float(mean[lag - 1]) for lag in AUTOCORRELATION_LAGS]

    def statistics(self) -> dict[str, float]:
        """Means over windows of what else shapes an episode."""
        rows = [_window_statistics(w) for w in self.windows]
        return {key: float(np.nanmean([row[key] for row in rows])) for key in rows[0]}


def sample_trace(tasks: RawTasks, span_s: tuple[float, float], window_s: float, label: str) -> StreamSample:
    """All whole windows of a stretch of a trace that hold at least two jobs.

    Args:
        tasks: the trace.
        span_s: the stretch, on the trace's clock.
        window_s: length of a window.
        label: what to call it.

    Raises:
        ValueError: if the stretch holds no such window.
    """
    start, end = span_s
    index = TraceIndex(tasks, FAN_OUT_CAP)
    starts = start + window_s * np.arange(int((end - start) / window_s + 1e-9))
    windows = tuple(w for w in (index.cut(float(s), window_s) for s in starts) if len(np.unique(w.job)) > 1)
    if not windows:
        raise ValueError(
            f"{label}: no window of {window_s:g} s with two jobs between {start:g} s and {end:g} s: use shorter windows"
        )
    return StreamSample(label, tasks.data_tag, windows, window_s)


def sample_profile(
    profile: Profile | StreamProfile,
    windows: int,
    window_s: float,
    rng: np.random.Generator,
    on_window: OnWindow | None = None,
) -> StreamSample:
    """Independent windows drawn from a profile, at its own rate.

    Args:
        profile: what to draw from.
        windows: how many.
        window_s: length of a window.
        rng: source of randomness.
        on_window: called with the windows drawn so far, and all.
    """
    drawn = []
    for done, stream in enumerate(rng.spawn(windows), 1):
        drawn.append(generate_window(profile, window_s, 0.0, FAN_OUT_CAP, stream))
        if on_window:
            on_window(done, windows)
    return StreamSample(f"profile {profile.name}", "generated", tuple(drawn), window_s)


def compare(one: StreamSample, other: StreamSample, baseline: StreamSample | None = None) -> dict[str, Any]:
    """Everything that is compared, as JSON types.

    Args:
        one: the reference, usually real.
        other: what is held against it, usually generated.
        baseline: what ``other`` was fitted to, if it is another stretch of the trace of ``one``: how far the two are
            apart is how far the trace drifts, which no generator can undercut other than by chance.
    """
    result: dict[str, Any] = {
        "samples": [
            {"label": s.label, "data_tag": s.data_tag, "windows": len(s.windows), "window_s": s.window_s}
            for s in (one, other, *([baseline] if baseline else []))
        ],
        "ks": {},
        "dispersion": _dispersions(one, other, baseline, tasks=False),
        "task_dispersion": _dispersions(one, other, baseline, tasks=True),
        "autocorrelation": {
            f"{AUTOCORRELATION_BIN_S * lag:g} s": _row(
                *(s.autocorrelation()[k] if s else None for s in (one, other, baseline))
            )
            for k, lag in enumerate(AUTOCORRELATION_LAGS)
        },
        "tails": {},
        "statistics": {},
    }
    for key in MARGINALS:
        values = [s.marginal(key) if s else None for s in (one, other, baseline)]
        first, second, third = values
        assert first is not None
        assert second is not None
        distances = {"distance": round(ks_distance(first, second), 4)}
        if third is not None:
            distances["drift"] = round(ks_distance(first, third), 4)
            distances["fit"] = round(ks_distance(second, third), 4)
        result["ks"][key] = distances
        result["tails"][key] = {
            f"p{100 * q:g}": _row(*(None if v is None else float(np.quantile(v, q)) for v in values))
            for q in TAIL_QUANTILES
        }
    columns = [s.statistics() if s else None for s in (one, other, baseline)]
    assert columns[0] is not None
    for key in columns[0]:
        result["statistics"][key] = _row(*(None if c is None else c[key] for c in columns))
    return result


def sampling_noise(profile: Profile | StreamProfile, like: StreamSample, rng: np.random.Generator) -> dict[str, Any]:
    """How far two draws of one profile are apart if each has as many windows as a sample: chance alone.

    Args:
        profile: what to draw from.
        like: the sample whose size counts.
        rng: source of randomness.

    Returns:
        Mean KS distance of each of `MARGINALS`, and the standard deviation of each index of dispersion relative to
        its mean.
    """
    draws = [sample_profile(profile, len(like.windows), like.window_s, stream) for stream in rng.spawn(_NOISE_ROUNDS)]
    pairs = list(zip(draws[::2], draws[1::2], strict=True))
    distances = {
        key: float(np.mean([ks_distance(a.marginal(key), b.marginal(key)) for a, b in pairs])) for key in MARGINALS
    }
    found = np.array([draw.dispersion() for draw in draws])
    spread = found.std(axis=0, ddof=1) / found.mean(axis=0)
    return {
        "ks": {key: round(value, 4) for key, value in distances.items()},
        "dispersion": {f"{s:g} s": round(float(v), 3) for s, v in zip(DISPERSION_SCALES_S, spread, strict=True)},
    }


def _row(one: float | None, other: float | None, baseline: float | None) -> dict[str, float]:
    """Values of the samples side by side; a missing baseline is left out."""
    named = {"one": one, "other": other, "baseline": baseline}
    return {key: float(f"{value:.5g}") for key, value in named.items() if value is not None}


def _dispersions(
    one: StreamSample, other: StreamSample, baseline: StreamSample | None, *, tasks: bool
) -> dict[str, dict[str, float]]:
    columns: list[Sequence[float] | None] = [s.dispersion(tasks) if s else None for s in (one, other, baseline)]
    rows = {}
    for k, scale in enumerate(DISPERSION_SCALES_S):
        row = _row(*(None if c is None else c[k] for c in columns))
        row["ratio"] = round(row["other"] / row["one"], 3)
        if "baseline" in row:
            row["drift_ratio"] = round(row["baseline"] / row["one"], 3)
        rows[f"{scale:g} s"] = row
    return rows


def _job_arrivals(window: WindowTasks) -> Floats:
    """First arrival of each job, ascending."""
    _, first = np.unique(window.job, return_index=True)
    return np.sort(window.offset_s[first])


def _ranks(values: Floats) -> Floats:
    """Mid-ranks: equal values share the mean of their places."""
    _, inverse, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2.0)[inverse.reshape(-1)]


def _rank_correlation(one: Floats, other: Floats) -> float:
    """Spearman's rank correlation; NaN if one of the two is constant."""
    a, b = _ranks(one), _ranks(other)
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else float("nan")


def _window_statistics(w: WindowTasks) -> dict[str, float]:
    jobs, first = np.unique(w.job, return_index=True)
    top = top_shares(w.user, (1, 5))
    names = repetition(w.name[first])
    return {
        "tasks": float(len(w.job)),
        "jobs": float(len(jobs)),
        "users": float(len(np.unique(w.user))),
        "top user's share of tasks": top[0],
        "top five users' share of tasks": top[1],
        "jobs whose name occurs once": float(names[1]),
        "top 20 names' share of jobs": float(names[4]),
        "latency-critical share of tasks": float(np.mean(w.slo_class == 0)),
        "batch share of tasks": float(np.mean(w.slo_class == 2)),
        "work-weighted mean CPU request": float(np.average(w.cpu_request, weights=w.duration_s * w.cpu_request)),
        "rank correlation of CPU request and run time": _rank_correlation(w.cpu_request, w.duration_s),
        "rank correlation of CPU and memory request": _rank_correlation(w.cpu_request, w.memory_gb),
    }
