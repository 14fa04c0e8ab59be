"""Load profiles: a fit finds what a known process has, and what is drawn has it again."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

pytest.importorskip("pyarrow")

from cloudsched_env.scenario import load_scenario
from cloudsched_env.traces.load_table import load_background
from cloudsched_env.workload.background import bandwidth_shares
from cloudsched_env.workload.burstiness import ks_distance
from cloudsched_env.workload.fit_load import count_dispersion, fit_load_profile, load_series
from cloudsched_env.workload.load_comparison import LoadSample, compare_loads, load_noise, sample_load_profile
from cloudsched_env.workload.load_profile import (
    LoadProfile,
    is_load_profile,
    load_profile_names,
    read_load_profile,
)
from cloudsched_env.workload.load_stream import generate_load, series_of, write_load_table
from cloudsched_env.workload.profile import load_profile, profile_names
from cloudsched_env.workload.source import make_source
from cloudsched_env.workload.storage_load import StorageLoad
from tests.workload.made_loads import MEMORY, READ_SHARE, SILENT, known_table, requests_at, table_of

DEVICES, LENGTH = 8, 12_000


@pytest.fixture(scope="module")
def known():
    return load_series(known_table(DEVICES, LENGTH), (0.0, LENGTH))


@pytest.fixture(scope="module")
def fitted(known):
    return fit_load_profile(known, "known", {"source": "made"})


@pytest.fixture(scope="module")
def profile(fitted):
    return LoadProfile.from_dict(json.loads(json.dumps(fitted)))


@pytest.fixture(scope="module")
def drawn(profile):
    return generate_load(profile, LENGTH / 3600, seed=5)


def autocorrelation(requests, lag):
    deviation = requests - requests.mean(axis=1, keepdims=True)
    return (deviation[:, lag:] * deviation[:, :-lag]).sum() / (deviation**2).sum()


# --- The fit ----------------------------------------------------------------------------------------------------------


def test_a_fit_finds_rates_silence_and_reads_of_a_known_process(known, profile):
    assert (profile.devices, profile.interval_s, len(profile.classes)) == (DEVICES, 1.0, 2)
    assert sum(entry.share for entry in profile.classes) == pytest.approx(1.0)
    means = np.sort(known.requests.mean(axis=1))
    for entry, members in zip(profile.classes, (means[:4], means[4:]), strict=True):
        assert entry.silent == pytest.approx(SILENT, abs=0.02)
        assert entry.mean_per_s.at(np.array([0.0, 1.0])) == pytest.approx(members[[0, -1]], rel=1e-3)
        assert (1 - entry.silent) * entry.relative.mean == pytest.approx(1.0, abs=0.02)
        middle = [quantiles.at(np.array([0.5]))[0] for quantiles in entry.quantities["read_share"].quantiles]
        assert middle[1:] == pytest.approx([READ_SHARE] * (len(middle) - 1), abs=0.03)


def test_sizes_follow_how_busy_an_interval_is(profile):
    for entry in profile.classes:
        writes = entry.quantities["write_bytes"]
        rank = np.array([0.5, 0.99])  # busy is above 0.857 of the intervals with requests
        assert writes.at(rank, np.array([0.5, 0.5])) == pytest.approx([4096, 65536])
        assert entry.quantities["read_bytes"].at(rank, np.array([0.1, 0.9])) == pytest.approx([8192, 8192])
        assert "latency_s" not in entry.quantities


def test_one_series_places_all_intervals_where_one_made_them(profile):
    for entry in profile.classes:
        assert entry.burst_share == 1.0
        lags = np.array([1, 5, 20, 60])
        assert entry.bursts.correlation(lags) == pytest.approx(np.exp(-lags / MEMORY), abs=0.1)


def test_bursts_have_a_series_of_their_own_where_they_last_longer():
    """Bursts of 100 intervals among intervals that remember nothing."""
    rng = np.random.default_rng(0)
    blocks = np.stack([rng.permutation(120) < 5 for _ in range(4)])  # 4.2 % of the time
    burst = np.repeat(blocks, 100, axis=1)
    requests = np.where(burst, 4000.0, rng.integers(10, 100, burst.shape))
    size = np.full(requests.shape, 4096.0)
    series = load_series(table_of(requests, 0 * requests, size, size), (0.0, 12_000.0))
    profile = LoadProfile.from_dict(fit_load_profile(series, "x", {}))
    entry = profile.classes[0]
    assert entry.burst_share == 0.05
    assert entry.bursts.correlation(np.array([10]))[0] > 0.9
    assert np.abs(entry.calm.correlation(np.array([1, 10]))).max() < 0.05
    # Blocks are the hardest of bursts: sums of autoregressive series break them up, but not by much over a minute.
    found = series_of(generate_load(profile, 40.0, seed=1))
    for bin_s in (1.0, 10.0, 60.0, 300.0):
        assert count_dispersion([found], bin_s) == pytest.approx(count_dispersion([series], bin_s), rel=0.35)


def test_intervals_that_do_not_remember_give_a_series_without_memory():
    score = np.random.default_rng(0).standard_normal((2, 6000))
    requests = requests_at(score, 50.0)
    size = np.full(requests.shape, 4096.0)
    series = load_series(table_of(0 * requests, requests, size, size), (0.0, 6000.0))
    entry = LoadProfile.from_dict(fit_load_profile(series, "x", {})).classes[0]
    for memory in (entry.bursts, entry.calm):
        assert memory.correlation(np.array([1, 10]))[:2] == pytest.approx([0.0, 0.0], abs=0.08)
    assert entry.quantities["read_share"].at(np.array([0.3, 0.9]), np.array([0.5, 1.0])).tolist() == [0.0, 0.0]


def test_only_the_part_is_fitted_and_silent_intervals_count():
    requests = np.zeros((2, 400))
    requests[0, :100:2] = 10.0  # the second half of the time is another disk's
    requests[1, 200:] = 7.0
    size = np.full(requests.shape, 4096.0)
    table = table_of(requests, 0 * requests, size, size)
    series = load_series(table, (0.0, 200.0))
    assert series.devices == ("disk_00",)
    assert series.requests.shape == (1, 200)
    entry = LoadProfile.from_dict(fit_load_profile(series, "x", {})).classes[0]
    assert entry.silent == 0.75
    assert entry.mean_per_s.at(np.array([0.5]))[0] == pytest.approx(2.5)
    assert load_series(table, (150.0, 400.0)).devices == ("disk_01",)


def test_intervals_that_the_trace_covers_in_part_are_left_out():
    table = known_table(1, 300)
    metadata = dataclasses.replace(table.metadata, span_start_s=10.4, span_end_s=250.9)
    series = load_series(dataclasses.replace(table, metadata=metadata), (0.0, 1e9))
    assert (series.start_s, series.length_s) == (11.0, 239.0)


def test_what_cannot_be_fitted_is_explained():
    table = known_table(1, 300)
    with pytest.raises(ValueError, match=r"10 whole intervals of 1 s between 0 s and 10 s: expected at least 20"):
        load_series(table, (0.0, 10.0))
    other = np.where(np.arange(len(table)) == 3, 2.0, 1.0)
    with pytest.raises(ValueError, match="several lengths"):
        load_series(dataclasses.replace(table, columns={**table.columns, "interval_s": other}), (0.0, 300.0))
    empty = table_of(*(np.zeros((1, 300)) for _ in range(4)))
    with pytest.raises(ValueError, match="no row"):
        load_series(empty, (0.0, 300.0))
    long = dataclasses.replace(table.metadata, span_end_s=6e7)
    with pytest.raises(ValueError, match=r"1 disks x 60,000,000 intervals of 1 s: .* longer --interval"):
        load_series(dataclasses.replace(table, metadata=long), (0.0, 6e7))
    late = np.zeros((1, 300))
    late[0, 200:] = 5.0
    with pytest.raises(ValueError, match="no request begins"):
        load_series(table_of(late, late, late, late), (0.0, 100.0))


def test_count_dispersion_is_variance_over_mean_by_hand():
    table = table_of(np.tile([4.0, 0.0, 0.0, 0.0], (1, 10)), *(np.ones((1, 40)) for _ in range(3)))
    series = load_series(table, (0.0, 40.0))
    counts = np.tile([5.0, 1.0, 1.0, 1.0], 10)
    assert count_dispersion([series], 1.0) == pytest.approx(counts.var(ddof=1) / 2.0)
    assert count_dispersion([series, series], 2.0) == pytest.approx(np.tile([6.0, 2.0], 10).var(ddof=1) / 4.0)
    assert count_dispersion([series], 4.0) == 0.0
    assert np.isnan(count_dispersion([series], 1.5))
    assert np.isnan(count_dispersion([series], 30.0))


# --- What is drawn ----------------------------------------------------------------------------------------------------


def test_drawn_loads_have_the_distributions_of_the_process(known, drawn):
    found = series_of(drawn)
    assert found.requests.shape == known.requests.shape
    assert (found.requests == 0).mean() == pytest.approx(SILENT, abs=0.03)
    assert found.requests.mean() == pytest.approx(known.requests.mean(), rel=0.1)
    relative = [(s.requests / s.requests.mean(axis=1, keepdims=True)).ravel() for s in (known, found)]
    assert ks_distance(*relative) < 0.05
    traffic = [s.mb_per_s.ravel() for s in (known, found)]
    assert ks_distance(*traffic) < 0.06
    assert traffic[1].mean() == pytest.approx(traffic[0].mean(), rel=0.15)
    share = [s.quantities["read_share"][s.requests > 20] for s in (known, found)]
    assert ks_distance(*share) < 0.05


def test_drawn_loads_are_as_bursty_as_the_process(known, profile):
    found = series_of(generate_load(profile, 4 * LENGTH / 3600, seed=2))
    for bin_s in (1.0, 10.0, 60.0, 300.0):
        assert count_dispersion([found], bin_s) == pytest.approx(count_dispersion([known], bin_s), rel=0.25)
    for lag in (1, 5, 20, 60):
        assert autocorrelation(found.requests, lag) == pytest.approx(autocorrelation(known.requests, lag), abs=0.1)


def test_sizes_are_whole_blocks_and_at_least_one_a_request(drawn):
    assert (drawn.reads + drawn.writes).min() == 1
    for count, size in ((drawn.reads, drawn.read_bytes), (drawn.writes, drawn.write_bytes)):
        assert (size % 512 == 0).all()
        assert (size >= 512 * count).all()
        assert (size[count == 0] == 0).all()
    assert (np.diff(drawn.interval) >= 0).all()
    assert (np.diff(drawn.interval * drawn.devices + drawn.device) > 0).all()


@pytest.mark.parametrize("devices", [1, 3, 40])
def test_other_numbers_of_disks_spread_over_the_fitted_rates(known, profile, devices):
    load = generate_load(profile, 0.5, seed=1, devices=devices)
    assert (load.devices, load.intervals) == (devices, 1800)
    rates = series_of(load).requests.mean(axis=1)
    low, high = known.requests.mean(axis=1).min(), known.requests.mean(axis=1).max()
    assert (rates > 0.5 * low).all()
    assert (rates < 2.0 * high).all()
    if devices == 40:
        assert rates.mean() == pytest.approx(known.requests.mean(), rel=0.15)
        assert rates[20:].mean() > 1.5 * rates[:20].mean()  # disks are in order of their rates


def test_the_same_seed_gives_the_same_bytes_and_another_another_load(profile, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_load_table(generate_load(profile, 0.2, seed), tmp_path / name)
    first, again, other = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == again
    assert first != other


def test_the_written_table_says_what_it_is_and_holds_what_was_drawn(profile, tmp_path):
    load = generate_load(profile, 0.2, seed=3)
    assert write_load_table(load, tmp_path / "t.parquet") == len(load)
    table = load_background(tmp_path / "t.parquet")
    assert table.metadata.data_tag == "generated"
    assert table.metadata.format == "generated:known"
    assert "profile known, seed 3" in table.metadata.synthetic_columns[0].filled_by
    assert [column.name for column in table.metadata.synthetic_columns] == ["all columns", "latency_mean_s"]
    assert (table.metadata.span_start_s, table.metadata.span_end_s) == (0.0, 720.0)
    assert table["reads_per_s"].sum() == load.reads.sum()
    assert table["write_mb_per_s"].sum() * 1e6 == pytest.approx(load.write_bytes.sum())
    again, straight = load_series(table, (0.0, 720.0)), series_of(load)
    assert (again.requests == straight.requests).all()
    for key in ("read_share", "read_bytes", "write_bytes"):
        np.testing.assert_allclose(again.quantities[key], straight.quantities[key])
    np.testing.assert_allclose(again.mb_per_s, straight.mb_per_s)


def test_response_times_are_drawn_where_the_trace_has_them(tmp_path):
    rng = np.random.default_rng(0)
    table = known_table(2, 2000, latency_s=rng.uniform(0.001, 0.003, (2, 2000)))
    series = load_series(table, (0.0, 2000.0))
    profile = LoadProfile.from_dict(fit_load_profile(series, "timed", {}))
    load = generate_load(profile, 0.5, seed=0)
    assert 0.001 <= load.latency_s.min() < 0.0012
    assert 0.0028 < load.latency_s.max() <= 0.003
    write_load_table(load, tmp_path / "t.parquet")
    table = load_background(tmp_path / "t.parquet")
    assert table["latency_mean_s"] == pytest.approx(load.latency_s)
    assert [column.name for column in table.metadata.synthetic_columns] == ["all columns"]


def test_a_generated_load_takes_bandwidth_in_an_episode(profile, tmp_path):
    write_load_table(generate_load(profile, 3.0, seed=0), tmp_path / "t.parquet")
    scenario = load_scenario("tiny-v1")
    load = StorageLoad(tmp_path / "t.parquet", 0.25)
    episode = make_source(scenario, "test").episode(np.random.default_rng(0))
    loaded = load.add_to(episode, scenario, "test", np.random.default_rng(0))
    taken = 1.0 - bandwidth_shares(scenario, loaded)
    assert taken.mean() == pytest.approx(0.25, rel=1e-3)
    assert taken.std() > 0.02
    assert loaded.details["storage_load"]["data_tag"] == "generated"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hours": 0.0}, "expected at least an interval"),
        ({"hours": float("nan")}, "expected at least an interval"),
        ({"hours": 1e-5}, "expected at least an interval"),
        ({"hours": 1.0, "devices": 0}, "expected at least 1"),
    ],
)
def test_a_load_needs_a_length_and_a_disk(profile, arguments, message):
    with pytest.raises(ValueError, match=message):
        generate_load(profile, seed=0, **arguments)


# --- Comparison -------------------------------------------------------------------------------------------------------


def test_a_comparison_finds_what_was_changed_and_nothing_else(known, profile):
    same = sample_load_profile(profile, known, 4, seed=0)
    fast = dataclasses.replace(known, quantities={**known.quantities, "read_bytes": 3 * known.quantities["read_bytes"]})
    one = LoadSample("known", "excerpt", (known,))
    result = compare_loads(one, same)
    assert {key: row["distance"] < 0.06 for key, row in result["ks"].items()} == dict.fromkeys(
        ("requests_per_s", "mb_per_s", "read_share", "read_bytes", "write_bytes"), True
    )
    assert list(result["dispersion"]) == ["1 s", "10 s", "60 s", "300 s"]
    changed = compare_loads(one, LoadSample("fast", "excerpt", (fast,)), one)
    assert changed["ks"]["read_bytes"] == {"distance": 1.0, "drift": 0.0, "fit": 1.0}
    assert changed["ks"]["requests_per_s"]["distance"] == 0.0
    assert changed["dispersion"]["60 s"]["ratio"] == 1.0
    assert changed["tails"]["read_bytes"]["p50"] == {"one": 8192, "other": 3 * 8192, "baseline": 8192}
    row = changed["statistics"]
    assert row["reads' share of requests"]["one"] == pytest.approx(READ_SHARE, abs=0.01)
    assert row["traffic of a disk, MB/s"]["other"] > row["traffic of a disk, MB/s"]["one"]
    noise = load_noise(same)
    assert 0 < noise["ks"]["requests_per_s"] < 0.1
    assert 0 < noise["dispersion"]["1 s"] < 0.5


def test_loads_of_other_intervals_are_not_compared(known, profile):
    series = load_series(known_table(2, 600, 10.0), (0.0, 6000.0))
    with pytest.raises(ValueError, match="--interval 1"):
        sample_load_profile(profile, series, 2, seed=0)
    with pytest.raises(ValueError, match="with the same --interval"):
        compare_loads(LoadSample("a", "excerpt", (known,)), LoadSample("b", "excerpt", (series,)))


# --- Files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", load_profile_names())
def test_shipped_load_profiles_say_where_they_come_from_and_can_be_drawn(name):
    profile = read_load_profile(name)
    assert profile.name == name
    assert {"source", "authors", "url", "licence", "command", "fitted_part"} <= set(profile.provenance)
    assert profile.provenance["fitted_part"] == "train"
    load = generate_load(profile, 0.2, seed=0)
    assert load.counts["requests"] > 100


def test_profiles_of_tasks_and_of_loads_are_told_apart(fitted, tmp_path):
    path = tmp_path / "load.json"
    path.write_text(json.dumps(fitted))
    assert is_load_profile(str(path))
    assert is_load_profile("cloudphysics")
    assert not is_load_profile("redset")
    assert not set(load_profile_names()) & set(profile_names())
    assert read_load_profile(str(path)).name == "known"
    for name in ("cloudphysics", str(path)):
        with pytest.raises(ValueError, match=r"is a load profile, of requests of disks: expected a profile of tasks"):
            load_profile(name)
    with pytest.raises(ValueError, match="'redset' is no load profile: expected one of cloudphysics"):
        read_load_profile("redset")


@pytest.mark.parametrize("change", ["classes", "quantities", "corners"])
def test_a_damaged_load_profile_is_refused(fitted, tmp_path, change):
    data = json.loads(json.dumps(fitted))
    if change == "classes":
        del data["classes"]
    elif change == "quantities":
        del data["classes"][0]["quantities"]["read_share"]
    else:
        data["classes"][0]["relative"] = [[0.0, 2.0], [1.0, 1.0]]
    path = tmp_path / "p.json"
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match="cannot be read"):
        read_load_profile(str(path))
