"""Archives, compressed files, databases and headers that are not what they should be."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import sqlite3
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudsched_env.traces import TraceFormatError, load_tasks
from cloudsched_env.traces.formats import find_format
from cloudsched_env.traces.lines import Limits, PartReader
from cloudsched_env.traces.load_table import load_background
from cloudsched_env.traces.parts import Part
from cloudsched_env.traces.staging import EngineConfig
from tests.traces import small_traces as small

pytest.importorskip("duckdb")
ENGINE = EngineConfig("300MB", 2)


def run(name: str, folder: Path, **options):
    return find_format(name).import_folder(folder, folder.parent / "t.parquet", engine=ENGINE, **options)


@pytest.fixture
def home(tmp_path) -> Path:
    (tmp_path / "trace").mkdir()
    return tmp_path / "trace"


def add(tar: tarfile.TarFile, name: str, data: bytes = b"", **fields) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    for key, value in fields.items():
        setattr(entry, key, value)
    tar.addfile(entry, io.BytesIO(data))


@pytest.mark.parametrize(
    ("name", "fields", "problem"),
    [
        ("../batch_task.csv", {}, "leads out of it"),
        ("a/../../batch_task.csv", {}, "leads out of it"),
        ("/etc/batch_task.csv", {}, "leads out of it"),
        ("..\\batch_task.csv", {}, "leads out of it"),
        ("C:\\batch_task.csv", {}, "leads out of it"),
        ("batch_task.csv", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "is a link or a device"),
        ("batch_task.csv", {"type": tarfile.LNKTYPE, "linkname": "x"}, "is a link or a device"),
        ("batch_task.csv", {"type": tarfile.FIFOTYPE}, "is a link or a device"),
    ],
)
def test_archives_that_try_to_escape_are_refused(home, name, fields, problem):
    with tarfile.open(home / "batch_task.tar.gz", "w:gz") as tar:
        add(tar, name, b"1,2\n" if not fields else b"", **fields)
        add(tar, "batch_task.csv", small.csv_bytes(small.ALIBABA2018_TASKS))
    with pytest.raises(TraceFormatError, match="unsafe archive: .*" + problem):
        run("alibaba2018", home)
    assert [path.name for path in home.parent.iterdir()] == ["trace"]


def test_an_archive_in_any_nesting_is_read_like_the_plain_file(home, tmp_path):
    data = small.csv_bytes(small.ALIBABA2018_TASKS)
    small.write_csv(home / "batch_task.csv", small.ALIBABA2018_TASKS)
    run("alibaba2018", home)
    plain = load_tasks(tmp_path / "t.parquet")
    for number, member in enumerate(("batch_task.csv", "./batch_task.csv", "v2018/data/batch_task.csv")):
        folder = tmp_path / f"packed{number}"
        folder.mkdir()
        small.write_tar(folder / "batch_task.tar.gz", {"README": b"hello", member: data})
        run("alibaba2018", folder)
        packed = load_tasks(tmp_path / "t.parquet")
        assert packed["arrival_s"].tolist() == plain["arrival_s"].tolist()
        assert packed.metadata.source_files[0].name == f"batch_task.tar.gz!{member}"


def test_the_unpacked_file_beside_its_archive_is_not_read_twice(home):
    small.alibaba2018(home)
    small.write_csv(home / "batch_task.csv", small.ALIBABA2018_TASKS)
    assert run("alibaba2018", home).rows["batch_task"] == len(small.ALIBABA2018_TASKS)


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_cut_off_archive_is_refused(home, keep):
    path = small.write_tar(home / "io_traces.tar.gz", {"io_traces.csv": b"0,R,1,2,1577808000000626\n" * 5000})
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(TraceFormatError, match="cut off or damaged"):
        run("alibaba-block", home, on_error="skip")


def test_compressed_members_of_an_archive_are_read(home):
    small.block_msr(home)
    data = (home / "hm_1.csv.gz").read_bytes()
    run("msr-block", home)
    plain = load_background(home.parent / "t.parquet")
    folder = home.parent / "packed"
    folder.mkdir()
    with tarfile.open(folder / "msr-cambridge1.tar", "w") as tar:
        add(tar, "MSR-Cambridge/README.txt", b"hello")
        add(tar, "MSR-Cambridge/hm_1.csv.gz", data)
    run("msr-block", folder)
    packed = load_background(home.parent / "t.parquet")
    assert packed["read_mb_per_s"].tolist() == plain["read_mb_per_s"].tolist()
    source = packed.metadata.source_files[0]
    assert source.name == "msr-cambridge1.tar!MSR-Cambridge/hm_1.csv.gz"
    assert source.sha256 == hashlib.sha256((folder / "msr-cambridge1.tar").read_bytes()).hexdigest()


def test_an_archive_whose_checksum_does_not_match_is_refused(home):
    path = small.write_tar(home / "io_traces.tar.gz", {"io_traces.csv": b"0,R,1,2,1577808000000626\n" * 50})
    data = path.read_bytes()
    path.write_bytes(data[:-8] + b"\0\0\0\0" + data[-4:])
    with pytest.raises(TraceFormatError, match="cut off or damaged"):
        run("alibaba-block", home, on_error="skip")


def test_an_archive_without_the_table_is_a_missing_table(home):
    small.write_tar(home / "batch_task.tar.gz", {"notes.txt": b"hello"})
    with pytest.raises(TraceFormatError, match="the table batch_task is missing"):
        run("alibaba2018", home)


BOMB = Limits(ratio_from_bytes=1 << 20, line_bytes=1 << 16)


@pytest.mark.parametrize("packing", ["gzip", "tar"])
def test_a_decompression_bomb_is_refused_early(home, packing):
    data = b"0,R,1,2,3\n" * 1_000_000
    if packing == "gzip":
        (home / "io_traces.csv.gz").write_bytes(gzip.compress(data))
    else:
        small.write_tar(home / "io_traces.tar.gz", {"io_traces.csv": data})
    with pytest.raises(TraceFormatError, match="expands more than 200-fold"):
        run("alibaba-block", home, limits=BOMB)


def test_a_line_without_end_is_refused(home):
    (home / "io_traces.csv.gz").write_bytes(gzip.compress(b"0" * 20_000_000))
    with pytest.raises(TraceFormatError, match="a line longer than 65,536 bytes") as caught:
        run("alibaba-block", home, limits=Limits(line_bytes=1 << 16))
    assert caught.value.line == 1


def test_garbage_after_a_gzip_stream_is_refused(home):
    path = small.write_csv(home / "io_traces.csv.gz", [[0, "R", 0, 4096, 1_577_808_000_000_626]])
    path.write_bytes(path.read_bytes() + b"garbage")
    with pytest.raises(TraceFormatError, match="gzip stream is damaged"):
        run("alibaba-block", home)


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("queryId,warehouseId", "the header lacks databaseId, createdTime"),
        (",".join([*small.SNOWSET_HEADER, "queryId"]), "the header names queryId twice"),
        ("", "the header lacks queryId"),
    ],
)
def test_a_wrong_header_is_named(home, header, problem):
    (home / "snowset-main.csv").write_text(header + "\n" + "1,2\n")
    with pytest.raises(TraceFormatError, match=problem) as caught:
        run("snowset", home)
    assert caught.value.line == 1


def test_an_empty_file_with_a_required_header_is_named(home):
    (home / "snowset-main.csv").write_text("")
    with pytest.raises(TraceFormatError, match="empty file"):
        run("snowset", home)


@given(
    order=st.permutations(range(len(small.SNOWSET_HEADER))), lower=st.booleans(), crlf=st.booleans(), bom=st.booleans()
)
@settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow])
def test_columns_are_read_by_name_in_any_order_and_line_ends_do_not_matter(tmp_path_factory, order, lower, crlf, bom):
    folder = tmp_path_factory.mktemp("order") / "trace"
    folder.mkdir()
    header = [small.SNOWSET_HEADER[i].lower() if lower else small.SNOWSET_HEADER[i] for i in order]
    small.write_csv(folder / "snowset-main.csv", [[row[i] for i in order] for row in small.SNOWSET], header)
    text = (folder / "snowset-main.csv").read_bytes()
    text = text.replace(b"\n", b"\r\n") if crlf else text
    (folder / "snowset-main.csv").write_bytes(b"\xef\xbb\xbf" + text if bom else text)
    run("snowset", folder)
    table = load_tasks(folder.parent / "t.parquet")
    assert table["job"].tolist() == [12, 11, 2**63 - 1]
    assert table["read_mb"].tolist() == [0.0, 6.0, 1.0]


def test_quoted_fields_are_read_and_a_broken_quote_is_one_bad_row(home):
    rows = [[*row] for row in small.SNOWSET]
    rows[0][2] = '"db ""one"", first"'
    small.write_csv(home / "snowset-main.csv", rows, small.SNOWSET_HEADER)
    run("snowset", home)
    assert 'db "one", first' in load_tasks(home.parent / "t.parquet").names("shard_key").tolist()
    rows[1][2] = '"open'
    small.write_csv(home / "snowset-main.csv", rows, small.SNOWSET_HEADER)
    with pytest.raises(TraceFormatError, match="wrong quotes") as caught:
        run("snowset", home)
    assert caught.value.line == 3
    metadata = run("snowset", home, on_error="skip")
    assert metadata.rows["arrivals"] == 2
    assert metadata.skipped_rows == {"snowset: wrong quotes": 1}


def test_a_repeated_id_is_an_error_or_left_out_and_counted(home):
    # Lines 2 and 5 have one id, 3 and 6 another; of the two rows of an id the smaller one stays.
    first = small.AZURE_V1[1]
    rows = [*small.AZURE_V1, [*first[:4], 800, *first[5:]], small.AZURE_V1[2]]
    here = len(small.AZURE_V1) + 1
    small.write_csv(home / "vmtable.csv.gz", rows)
    with pytest.raises(TraceFormatError, match=r"repeated: found 'vm/b\+', which line 2 has too; 1 more") as caught:
        run("azure-v1", home)
    assert caught.value.file == str(home / "vmtable.csv.gz")
    assert (caught.value.line, caught.value.column) == (here, "vmid")
    assert f"vmtable.csv.gz, line {here}, column vmid: repeated" in str(caught.value)
    metadata = run("azure-v1", home, on_error="skip")
    assert metadata.skipped_rows == {"vmtable, column vmid: repeated": 2}
    left_out = [(row.file, row.line, row.column) for row in metadata.skipped_examples]
    assert left_out == [("vmtable.csv.gz", 2, "vmid"), ("vmtable.csv.gz", here + 1, "vmid")]
    assert metadata.skipped_examples[0].reason == "repeated; found 'vm/b+'"
    assert load_tasks(home.parent / "t.parquet")["duration_s"][0] == 500.0  # the smaller of the two rows


def test_a_repeated_id_is_located_across_chunks_headers_malformed_rows_and_files(home):
    rows = [*small.ALIBABA2017_TASKS[:2], ["broken"], *small.ALIBABA2017_TASKS[2:], small.ALIBABA2017_TASKS[1]]
    header = ["create_timestamp", "modify_timestamp", "job_id", "task_id", "instance_num", "status", "cpu", "mem"]
    small.write_csv(home / "batch_task.csv", rows, header)
    metadata = run("alibaba2017", home, on_error="skip", limits=Limits(chunk_bytes=40))
    found = [(row.file, row.line, row.column) for row in metadata.skipped_examples]
    assert found == [("batch_task.csv", 4, None), ("batch_task.csv", len(rows) + 1, "job id, task id")]
    (home / "other").mkdir()
    small.write_csv(home / "batch_task.csv", small.ALIBABA2017_TASKS)
    small.write_csv(home / "other" / "batch_task.csv", small.ALIBABA2017_TASKS[3:4])
    with pytest.raises(TraceFormatError, match=r"which line 4 of batch_task\.csv has too") as caught:
        run("alibaba2017", home)
    assert caught.value.file == str(home / "other" / "batch_task.csv")
    assert (caught.value.line, caught.value.column) == (1, "job id, task id")


def test_a_repeated_id_of_a_parquet_file_or_a_database_is_located_by_its_row(home):
    pq, pa = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    small.redset(home)
    path = next(home.rglob("*.parquet"))
    table = pq.read_table(path)
    pq.write_table(pa.concat_tables([table, table.slice(1, 1)]), path)
    with pytest.raises(TraceFormatError, match="which line 2 has too") as caught:
        run("redset", home)
    assert (caught.value.file, caught.value.line) == (str(path), len(table) + 1)
    assert caught.value.column == "instance_id, cluster_size, query_id"
    small.azure_packing2020(home)
    with sqlite3.connect(home / "packing_trace_zone_a_v1.sqlite") as database:
        database.execute("INSERT INTO vm VALUES (2, 9, 5, 1, 0.75, 0.9)")
    metadata = run("azure-packing2020", home, on_error="skip")
    assert [(row.line, row.column, row.reason) for row in metadata.skipped_examples] == [
        (5, "vmId", "repeated; found '2'")
    ]


@pytest.mark.parametrize("damage", ["text", "cut off", "no table", "no column"])
def test_a_database_that_is_not_the_published_one_is_refused(home, damage):
    small.azure_packing2020(home)
    path = home / "packing_trace_zone_a_v1.sqlite"
    if damage == "text":
        path.write_text("vmId,tenantId\n1,2\n" * 100)
        problem = "not a readable SQLite database"
    elif damage == "cut off":
        path.write_bytes(path.read_bytes()[:5000])
        problem = "not a readable SQLite database"
    else:
        with sqlite3.connect(path) as database:
            database.execute("DROP TABLE vm" if damage == "no table" else "ALTER TABLE vm DROP COLUMN endtime")
        database.close()
        problem = "there is no table vm" if damage == "no table" else "the table vm has no column endtime"
    with pytest.raises(TraceFormatError, match=problem):
        run("azure-packing2020", home)


def test_a_bad_value_in_a_database_names_row_and_column(home):
    small.azure_packing2020(home)
    with sqlite3.connect(home / "packing_trace_zone_a_v1.sqlite") as database:
        database.execute("UPDATE vm SET starttime = 'soon' WHERE vmId = 3")
    database.close()
    with pytest.raises(TraceFormatError, match="not a number: found 'soon'") as caught:
        run("azure-packing2020", home)
    assert (caught.value.line, caught.value.column) == (3, "starttime")
    assert run("azure-packing2020", home, on_error="skip").rows["arrivals"] == 2


JSON_FAULTS = [
    ('{"time": "5"', "not JSON", None),
    ("[1, 2]", "not a JSON record", None),
    ("", "empty line", None),
    ('{"time": "x"}', "not an integer", "time"),
    ('{"time": 1e3, "type": "SUBMIT"}', "not an integer", "time"),
    ('{"time": "5", "type": "START", "collection_id": "1"}', "unknown value", "type"),
    (
        '{"time": "5", "type": 0, "collection_id": "1", "instance_index": 0, "resource_request": {"cpus": -1}}',
        "out of range",
        "resource_request.cpus",
    ),
]


@pytest.mark.parametrize(("line", "reason", "column"), JSON_FAULTS)
def test_a_bad_record_names_line_and_field(home, line, reason, column):
    small.google2019(home)
    path = home / "instance_events-000000000000.json.gz"
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    lines.insert(2, line)
    path.write_bytes(gzip.compress("".join(text + "\n" for text in lines).encode()))
    with pytest.raises(TraceFormatError, match=reason) as caught:
        run("google2019", home)
    assert (caught.value.file, caught.value.line, caught.value.column) == (str(path), 3, column)
    metadata = run("google2019", home, on_error="skip")
    assert sum(metadata.skipped_rows.values()) == 1
    assert metadata.rows["arrivals"] == 3


def rewritten_redset(home: Path, change) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    small.redset(home)
    path = home / "provisioned" / "sample_0.01.parquet"
    rows = pq.read_table(path).to_pylist()
    change(rows)
    names = list(dict.fromkeys(name for row in rows for name in row))
    pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), path)


def test_a_bad_value_in_parquet_names_row_and_column(home):
    rewritten_redset(home, lambda rows: rows[1].update(query_id=-7))
    with pytest.raises(TraceFormatError, match="out of range: found '-7'") as caught:
        run("redset", home)
    assert (caught.value.line, caught.value.column) == (2, "query_id")
    metadata = run("redset", home, on_error="skip")
    assert metadata.skipped_rows == {"queries, column query_id: malformed or out of range": 1}
    assert metadata.rows["arrivals"] == 2
    assert metadata.skipped_examples[0].line == 2


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda row: row.pop("mbytes_scanned"), "no such column"),
        (lambda row: row.update(mbytes_scanned=[1]), r"the column is BIGINT\[\]"),
        (lambda row: row.update(arrival_timestamp=5), "the column is BIGINT"),
    ],
)
def test_a_missing_or_retyped_column_in_parquet_is_named(home, change, problem):
    rewritten_redset(home, lambda rows: [change(row) for row in rows])
    with pytest.raises(TraceFormatError, match=problem) as caught:
        run("redset", home)
    assert caught.value.column in ("mbytes_scanned", "arrival_timestamp")


def test_integers_that_went_through_floats_are_read_while_they_are_exact(home):
    rewritten_redset(home, lambda rows: [row.update(query_id=float(row["query_id"])) for row in rows])
    assert run("redset", home).rows["arrivals"] == 3
    (home.parent / "other").mkdir()
    rewritten_redset(home.parent / "other", lambda rows: [row.update(query_id=77.5) for row in rows])
    with pytest.raises(TraceFormatError, match="query_id"):
        run("redset", home.parent / "other")


def test_a_cut_off_parquet_file_is_refused(home):
    small.redset(home)
    path = home / "provisioned" / "sample_0.01.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(TraceFormatError, match="not a readable Parquet file"):
        run("redset", home, on_error="skip")


def test_utf_16_is_recognised(home):
    text = "".join(",".join(map(str, row)) + "\n" for row in small.ALIBABA2018_TASKS)
    (home / "batch_task.csv").write_bytes(text.encode("utf-16-le"))
    with pytest.raises(TraceFormatError, match="zero byte"):
        run("alibaba2018", home)


def test_one_file_can_be_given_instead_of_a_folder(home):
    small.block_cloudphysics(home)
    run("cloudphysics", home / "cloudPhysicsIO.csv")
    assert len(load_background(home / "t.parquet")) == 2


@given(
    lines=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=30), max_size=40),
    chunk=st.integers(1, 200),
    final=st.booleans(),
    packed=st.booleans(),
)
@settings(max_examples=60)
def test_chunks_hold_every_line_once_and_in_order(tmp_path_factory, lines, chunk, final, packed):
    folder = tmp_path_factory.mktemp("chunks")
    data = "\n".join(lines).encode() + (b"\n" if lines and final else b"")
    path = folder / ("f.csv.gz" if packed else "f.csv")
    path.write_bytes(gzip.compress(data) if packed else data)
    table = find_format("alibaba-block").tables[0]
    reader = PartReader(Part(path, "f", 0, "json"), table, Limits(chunk_bytes=chunk))
    read, numbers = b"", []
    for piece in reader.chunks(lambda number: folder / str(number)):
        numbers.append((piece.first_line, piece.lines))
        read += piece.path.read_bytes()
    bare = data.removeprefix(b"\xef\xbb\xbf")
    assert read == bare + (b"\n" if bare and not bare.endswith(b"\n") else b"")
    assert reader.lines == read.count(b"\n") == sum(count for _, count in numbers)
    assert [first for first, _ in numbers] == [1 + sum(count for _, count in numbers[:i]) for i in range(len(numbers))]
    assert json.dumps(reader.sha256)
