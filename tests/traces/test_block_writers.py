"""Generated requests in the published layouts of block traces: they read back as they were drawn, to the byte."""

from __future__ import annotations

import csv
import dataclasses
import datetime
import gzip
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("duckdb")
pytest.importorskip("pyarrow")
pytest.importorskip("typer")
from typer.testing import CliRunner

from cloudsched_env.cli import build_app
from cloudsched_env.traces.formats import FORMATS
from cloudsched_env.traces.load_table import load_background
from cloudsched_env.traces.recognise import recognise
from cloudsched_env.traces.staging import EngineConfig
from cloudsched_env.traces.writers import LOAD_WRITERS, MARKER, find_load_writer, find_writer, write_load
from cloudsched_env.traces.writers import load as load_module
from cloudsched_env.workload.fit_load import fit_load_profile, load_series
from cloudsched_env.workload.load_profile import LoadProfile
from cloudsched_env.workload.load_stream import generate_load
from tests.workload.made_loads import known_table, save

ENGINE = EngineConfig("1GB", 2)
NAMES = [writer.name for writer in LOAD_WRITERS]
INTERVAL_S = 10.0
# Disks that a written folder is imported with: files of CloudPhysics hold one disk each.
DISKS = {"alibaba-block": 15, "msr-block": 15, "tencent-block": 15, "cloudphysics": 1}


@pytest.fixture(scope="module")
def profile():
    """Intervals of 10 s, a third of them silent, with response times of 1 to 3 ms."""
    latency = np.random.default_rng(0).uniform(0.001, 0.003, (5, 900))
    table = known_table(5, 900, INTERVAL_S, mean_rate=0.4, latency_s=latency)
    return LoadProfile.from_dict(fit_load_profile(load_series(table, (0.0, 9000.0)), "known", {"licence": "none"}))


def draw(profile, name, seed=3, devices=None):
    return generate_load(profile, 1.5, seed, devices or DISKS[name])


@pytest.fixture(scope="module", params=NAMES)
def trip(request, profile, tmp_path_factory):
    """A load, its published files, and the table that `import auto` makes of them with the profile's interval."""
    home = tmp_path_factory.mktemp(request.param)
    load = draw(profile, request.param)
    write_load(load, request.param, home / "trace")
    finding, _ = recognise(home / "trace", FORMATS)
    finding.format.import_folder(home / "trace", home / "t.parquet", engine=ENGINE, interval_s=INTERVAL_S)
    return request.param, load, home / "trace", finding.format.name, load_background(home / "t.parquet")


def counted(name, table):
    """Disk number, interval and whole numbers of a table's rows, as those of a load, in its order."""
    devices = table.names("device")
    if name == "cloudphysics":
        number = np.zeros(len(table), dtype=np.int64)
    elif name == "msr-block":
        hosts = ["hm", "mds", "prn", "proj", "prxy", "rsrch", "src1", "src2", "stg", "ts", "usr", "wdev", "web"]
        parts = [device.split("_") for device in devices]
        number = np.array([hosts.index(host) + len(hosts) * int(disk) for host, disk in parts])
    else:
        number = np.array([int(device) for device in devices])
    interval = np.rint(table["start_s"] / INTERVAL_S).astype(np.int64)
    columns = {
        "reads": table["reads_per_s"] * INTERVAL_S,
        "writes": table["writes_per_s"] * INTERVAL_S,
        "read_bytes": table["read_mb_per_s"] * INTERVAL_S * 1e6,
        "write_bytes": table["write_mb_per_s"] * INTERVAL_S * 1e6,
    }
    order = np.lexsort((number, interval))
    whole = {}
    for key, values in columns.items():
        whole[key] = np.rint(values[order]).astype(np.int64)
        assert whole[key] == pytest.approx(values[order], abs=1e-3)
    return number[order], interval[order], whole, order


def test_the_files_are_recognised_and_every_disk_and_interval_is_as_drawn(trip):
    name, load, _, found, table = trip
    assert found == name
    number, interval, whole, _ = counted(name, table)
    assert len(table) == len(load) > 200
    assert (number == load.device).all()
    # The clock of the format begins somewhere, at the start of an interval.
    assert (interval - load.interval == interval[0] - load.interval[0]).all()
    for key, values in whole.items():
        assert (values == getattr(load, key)).all(), key
    rows = table.metadata.rows
    assert (rows["reads"], rows["writes"]) == (load.reads.sum(), load.writes.sum())


def test_response_times_are_those_drawn_where_the_format_has_them(trip):
    name, load, _, _, table = trip
    if name != "msr-block":
        assert np.isnan(table["latency_mean_s"]).all()
        return
    _, _, _, order = counted(name, table)
    assert table["latency_mean_s"][order] == pytest.approx(load.latency_s, abs=1.1e-6)  # whole microseconds


def test_the_import_is_tagged_generated_with_profile_and_seed(trip):
    _, _, _, _, table = trip
    metadata = table.metadata
    assert metadata.data_tag == "generated"
    assert "profile known, seed 3" in metadata.title
    assert metadata.synthetic_columns[0].name == "all columns"
    assert metadata.licence == "none"


def test_every_folder_says_what_it_is_with_the_checksum_of_every_file(trip):
    name, load, folder, _, _ = trip
    marker = json.loads((folder / MARKER).read_text())
    assert (marker["data_tag"], marker["format"], marker["profile"], marker["seed"]) == ("generated", name, "known", 3)
    assert marker["requests"] == load.reads.sum() + load.writes.sum()
    assert marker["devices"] == load.devices
    assert marker["length_s"] == 5400.0
    files = {p.name for p in folder.iterdir()} - {MARKER}
    assert set(marker["sha256"]) == files
    for file, digest in marker["sha256"].items():
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == digest


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(trip, profile, tmp_path):
    name, _, folder, _, _ = trip
    write_load(draw(profile, name), name, tmp_path / "again")
    write_load(draw(profile, name, seed=4), name, tmp_path / "other")
    first, again, other = (
        json.loads((path / MARKER).read_text())["sha256"] for path in (folder, tmp_path / "again", tmp_path / "other")
    )
    assert first == again
    assert not set(first.values()) & set(other.values())


def rows(path: Path) -> list[list[str]]:
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    return list(csv.reader(text.splitlines()))


def test_files_have_the_published_names_columns_and_order(trip):
    name, load, folder, _, _ = trip
    files = sorted(p.name for p in folder.iterdir() if p.name != MARKER)
    if name == "alibaba-block":
        assert files == ["io_traces.csv"]
        found = rows(folder / files[0])
        times = [int(row[4]) for row in found]
        assert {row[1] for row in found} == {"R", "W"}
        assert all(int(row[2]) % 512 == int(row[3]) % 512 == 0 for row in found)
        first = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=8))).timestamp()
        assert 0 <= times[0] / 1e6 - first < 100
    elif name == "msr-block":
        assert all(re.fullmatch(r"[a-z0-9]+_\d\.csv\.gz", file) for file in files)
        assert {"hm_0.csv.gz", "hm_1.csv.gz", "web_0.csv.gz"} <= set(files)  # 15 disks on 13 servers
        found = rows(folder / "hm_1.csv.gz")
        assert {(row[1], row[2]) for row in found} == {("hm", "1")}
        assert {row[3] for row in found} == {"Read", "Write"}
        times = [int(row[0]) for row in found]
    elif name == "tencent-block":
        assert files == ["2018-10-01-00.csv.gz", "2018-10-01-01.csv.gz"]
        found = [row for file in files for row in rows(folder / file)]
        times = [int(row[0]) for row in found]
        split = len(rows(folder / files[0]))
        assert times[split - 1] < times[0] // 3600 * 3600 + 3600 <= times[split]
        assert 512 * sum(int(row[2]) for row in found) == load.read_bytes.sum() + load.write_bytes.sum()
    else:
        assert files == ["cloudPhysicsIO.csv"]
        header, *found = rows(folder / files[0])
        assert header == ["version", "time", "op", "size", "lbn"]
        assert {row[2] for row in found} == {"28", "2a"}
        times = [float(row[1]) for row in found]
    assert times == sorted(times)
    assert len(set(times)) > 100


def test_each_file_of_cloudphysics_is_a_disk(profile, tmp_path):
    load = draw(profile, "cloudphysics", devices=3)
    write_load(load, "cloudphysics", tmp_path / "t")
    for disk in range(3):
        entry = recognise(tmp_path / "t" / f"w{disk + 1:03d}.csv", FORMATS)[0].format
        target = tmp_path / f"{disk}.parquet"
        entry.import_folder(tmp_path / "t" / f"w{disk + 1:03d}.csv", target, engine=ENGINE, interval_s=INTERVAL_S)
        table = load_background(target)
        assert table.metadata.data_tag == "generated"
        assert counted("cloudphysics", table)[2]["write_bytes"].tolist() == (
            load.write_bytes[load.device == disk].tolist()
        )


def test_chunks_of_requests_follow_one_another_in_time(profile, monkeypatch):
    load = draw(profile, "alibaba-block")
    (whole,) = load.requests()
    monkeypatch.setattr(load_module, "_REQUESTS_AT_ONCE", 500)
    chunks = list(load.requests())
    assert len(chunks) > 5
    times = np.concatenate([chunk.t_us for chunk in chunks])
    assert (np.diff(times) >= 0).all()
    assert len(times) == len(whole.t_us)
    assert np.concatenate([chunk.blocks for chunk in chunks]).sum() == whole.blocks.sum()


def test_requests_of_a_row_differ_by_a_block_at_most_and_spread_over_the_interval(profile):
    load = draw(profile, "alibaba-block")
    (found,) = load.requests()
    row = np.flatnonzero(load.reads > 4)[0]
    mine = (found.device == load.device[row]) & (found.t_us // load.interval_us == load.interval[row]) & ~found.write
    assert mine.sum() == load.reads[row]
    assert np.ptp(found.blocks[mine]) <= 1
    within = found.t_us % load.interval_us / load.interval_us
    assert np.histogram(within, 4, (0, 1))[0] / len(within) == pytest.approx([0.25] * 4, abs=0.03)


def test_response_times_of_a_profile_without_them_are_a_plain_disk(profile, tmp_path):
    load = draw(profile, "msr-block", devices=1)
    plain = dataclasses.replace(load, latency_s=np.full(len(load), np.nan))
    write_load(plain, "msr-block", tmp_path / "t")
    for row in rows(tmp_path / "t" / "hm_0.csv.gz")[:50]:
        assert int(row[6]) == pytest.approx(1e7 * (0.005 + int(row[5]) / 60e6), abs=0.51)


def test_what_a_format_cannot_hold_is_refused_and_leaves_nothing(profile, tmp_path):
    load = draw(profile, "tencent-block")
    with pytest.raises(ValueError, match=r"whole seconds and cannot hold intervals of 0\.5 s"):
        write_load(dataclasses.replace(load, interval_us=500_000), "tencent-block", tmp_path / "x")
    with pytest.raises(ValueError, match="names for 999 disks, not for 1000"):
        write_load(dataclasses.replace(load, devices=1000), "cloudphysics", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_formats_of_tasks_and_of_loads_are_told_apart():
    with pytest.raises(ValueError, match=r"'google2011' holds tasks.*expected one of alibaba-block, msr-block"):
        find_load_writer("google2011")
    with pytest.raises(ValueError, match=r"'msr-block' holds requests of disks.*expected one of google2011"):
        find_writer("msr-block")
    with pytest.raises(ValueError, match="unknown format 'borg': expected one of alibaba-block"):
        find_load_writer("borg")


# --- The command line -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def app():
    return build_app()


def call(app, *arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["traces", *map(str, arguments)], env={"COLUMNS": "160"})
    assert result.exit_code == code, result.output + repr(result.exception)
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    path = tmp_path_factory.mktemp("real") / "real.parquet"
    save(known_table(4, 6000), path)
    return path


@pytest.fixture(scope="module")
def fitted(app, real):
    path = real.with_name("mine.json")
    text = call(app, "fit", real, "-o", path)
    assert re.search(r"[\d,]+ requests of 4 disks in 1\.0 h, intervals of 1 s, 1 classes", text)
    assert "variance / mean of the requests of a disk: " in text
    assert f"next: cloudsched traces compare {real} {path} --part-a held-out" in text
    return path


def test_fit_takes_the_train_part_and_says_where_it_comes_from(fitted):
    data = json.loads(fitted.read_text())
    assert data["model"] == "storage load"
    assert data["name"] == "mine"
    assert data["provenance"]["fitted_part"] == "train"
    assert data["provenance"]["fitted_on_s"][0] == 0.0
    assert 3600 <= data["provenance"]["fitted_on_s"][1] <= 3700  # 12 / 19.65 of 6000 s
    assert data["provenance"]["licence"].endswith("this file holds fitted statistics, no rows of the trace")


def test_generate_import_and_compare_from_the_command_line(app, real, fitted, tmp_path):
    text = call(app, "generate", fitted, "-o", tmp_path / "t.parquet", "--hours", 0.5, "--seed", 2, "--devices", 6)
    assert "requests of 6 disks in 0.5 h, generated from profile mine, seed 2, as table" in text
    assert load_background(tmp_path / "t.parquet").metadata.rows["devices"] == 6
    assert "generated from profile mine, generated" in call(app, "describe", tmp_path / "t.parquet")
    text = call(app, "generate", fitted, "-o", tmp_path / "b", "--format", "alibaba-block", "--hours", 0.1)
    assert "of 4 disks" in text
    text = call(app, "import", "auto", tmp_path / "b", "-o", tmp_path / "b.parquet", "--interval", 1)
    assert "no real trace: drawn from profile mine, seed 0" in text

    text = call(app, "compare", real, fitted, "--part-a", "held-out", "--json", tmp_path / "c.json")
    assert "drift: how far the trace's own train hours are from A" in text
    assert "requests of a disk, 1/s" in text
    result = json.loads((tmp_path / "c.json").read_text())
    assert [sample["data_tag"] for sample in result["samples"]] == ["excerpt", "generated", "excerpt"]
    assert result["ks"]["requests_per_s"]["distance"] < 0.1
    assert "chance" in result
    text = call(app, "compare", real, tmp_path / "t.parquet", "--json", tmp_path / "c.json")
    assert "chance" not in json.loads((tmp_path / "c.json").read_text())


def test_the_shipped_profile_writes_a_table(app, tmp_path):
    call(app, "generate", "cloudphysics", "-o", tmp_path / "a", "--hours", 0.1)
    call(app, "generate", "cloudphysics", "-o", tmp_path / "b", "--hours", 0.1)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("generate", "redset", "-o", "x", "--format", "msr-block"), "or a load profile"),
        (("generate", "FITTED", "-o", "x", "--format", "redset"), "expected one of alibaba-block, msr-block"),
        (("generate", "redset", "-o", "x", "--devices", "2"), "--devices means nothing for a profile of tasks"),
        (("generate", "FITTED", "-o", "x", "--start-hour", "2"), "--start-hour means nothing for a load profile"),
        (("fit", "REAL", "-o", "x.json", "--kinds", "9", "--instant-s", "1"), "--kinds, --instant-s means nothing for"),
        (("fit", "REAL", "-o", "x.json", "--part", "second"), "unknown part 'second': expected one of train"),
        (("fit", "REAL", "-o", "x.txt"), "ends in .json"),
        (("compare", "REAL", "redset"), "expected two of a kind"),
        (("compare", "redset", "FITTED"), "expected two of a kind"),
        (("compare", "FITTED", "REAL"), "give a load table as A"),
        (("compare", "REAL", "FITTED", "--figure", "f.png"), "--figure means nothing for load tables"),
    ],
)
def test_what_cannot_be_done_is_explained(app, real, fitted, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    given = [{"REAL": str(real), "FITTED": str(fitted)}.get(argument, argument) for argument in arguments]
    assert message in call(app, *given, code=1)
    assert list(tmp_path.iterdir()) == []
