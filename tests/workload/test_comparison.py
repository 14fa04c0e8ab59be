from __future__ import annotations

import json

import numpy as np
import pytest

from cloudsched_env.workload.comparison import (
    MARGINALS,
    StreamSample,
    compare,
    sample_profile,
    sample_trace,
    sampling_noise,
)
from cloudsched_env.workload.profile import load_profile
from tests.workload.streams import stream

HOURS = 6.0


@pytest.fixture(scope="module")
def real() -> StreamSample:
    return sample_trace(stream(hours=HOURS), (0.0, HOURS * 3600.0), 1800.0, "a")


def test_a_stream_is_like_itself(real):
    result = compare(real, real, real)
    assert all(row == {"distance": 0.0, "drift": 0.0, "fit": 0.0} for row in result["ks"].values())
    assert all(row["ratio"] == row["drift_ratio"] == 1.0 for row in result["dispersion"].values())
    json.dumps(result)


def test_windows_cover_the_stretch_once(real):
    tasks = stream(hours=HOURS)
    assert len(real.windows) == 12
    sizes = np.unique(tasks.job, return_counts=True)[1]
    # A job that trickles over a border counts in both windows, never with more than sixteen tasks in one.
    total = sum(len(w.job) for w in real.windows)
    assert np.minimum(sizes, 16).sum() <= total <= len(tasks)


def test_a_change_of_one_column_shows_in_its_marginal_alone(real):
    slower = [type(w)(**{**vars(w), "duration_s": 3.0 * w.duration_s}) for w in real.windows]
    result = compare(real, StreamSample("slow", "excerpt", tuple(slower), real.window_s))
    assert result["ks"]["duration_s"]["distance"] > 0.2
    for key in set(MARGINALS) - {"duration_s"}:
        assert result["ks"][key]["distance"] == 0.0
    p99 = result["tails"]["duration_s"]["p99"]
    assert p99["other"] == pytest.approx(3 * p99["one"], rel=1e-3)


def test_bursts_show_in_the_dispersion(real):
    lumped = [
        type(w)(**{**vars(w), "offset_s": np.floor(w.offset_s / 60.0) * 60.0 + 0.001 * (w.offset_s % 60.0)})
        for w in real.windows
    ]
    result = compare(real, StreamSample("lumped", "excerpt", tuple(lumped), real.window_s))
    assert result["dispersion"]["1 s"]["ratio"] > 5
    assert result["dispersion"]["300 s"]["ratio"] == pytest.approx(1.0, abs=0.05)
    assert result["ks"]["gap_s"]["distance"] > 0.5


def test_a_stretch_without_a_window_is_refused():
    with pytest.raises(ValueError, match="use shorter windows"):
        sample_trace(stream(hours=1.0), (0.0, 3600.0), 7200.0, "a")


def test_profiles_are_sampled_by_seed():
    profile = load_profile("google2011-nested")
    one, same, other = (sample_profile(profile, 3, 1800.0, np.random.default_rng(s)) for s in (0, 0, 1))
    assert all((a.offset_s == b.offset_s).all() for a, b in zip(one.windows, same.windows, strict=True))
    assert one.marginal("gap_s")[:5].tolist() != other.marginal("gap_s")[:5].tolist()
    assert one.data_tag == "generated"


def test_chance_shrinks_with_the_size_of_the_sample(real):
    profile = load_profile("google2011-nested")
    few, many = (
        sampling_noise(profile, StreamSample("x", "excerpt", real.windows[:1] * n, 1800.0), np.random.default_rng(0))
        for n in (1, 12)
    )
    for key in ("cpu_request", "duration_s"):
        assert many["ks"][key] < 0.6 * few["ks"][key]
