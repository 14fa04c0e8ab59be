"""What is declared about published traces, and what is selected from it."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudsched_env.traces.errors import TraceFormatError
from cloudsched_env.traces.fetch.catalogue import (
    Dataset,
    Licence,
    PublishedFile,
    RemoteTable,
    check_path,
    parse_parts,
    plain_name,
    select,
)
from cloudsched_env.traces.fetch.checksums import Checksums
from cloudsched_env.traces.fetch.datasets import DATASETS, find_dataset
from cloudsched_env.traces.fetch.errors import FetchError
from cloudsched_env.traces.fetch.instructions import by_hand, describe_bytes, manual_steps
from cloudsched_env.traces.fetch.plan import Selection, make_plan
from cloudsched_env.traces.fetch.transport import check_address
from cloudsched_env.traces.formats import FORMATS

BY_PROGRAM = [dataset for dataset in DATASETS if dataset.manual is None]
BY_HAND = [dataset for dataset in DATASETS if dataset.manual is not None]
GOOGLE = "https://storage.googleapis.com/clusterdata-2011-2"


def name(dataset: Dataset) -> str:
    return dataset.name


@pytest.mark.parametrize("dataset", BY_PROGRAM, ids=name)
def test_every_declared_file_has_https_addresses_and_a_path_of_its_own(dataset, tmp_path):
    files = select(dataset, tables=["all"])
    assert len({file.path for file in files}) == len(files)
    for file in files:
        assert (tmp_path / file.path).resolve().is_relative_to(tmp_path)
        assert len(file.urls) == len(dataset.mirrors)
        for url in file.urls:
            check_address(url)
            assert urlsplit(url).scheme == "https"
            assert url.endswith(file.path)
    assert set(select(dataset)) <= set(files)
    assert select(dataset)


def test_names_and_folders_are_distinct_and_small_spelling_differences_do_not_matter():
    assert len({dataset.name for dataset in DATASETS}) == len(DATASETS)
    assert len({dataset.folder for dataset in DATASETS}) == len(DATASETS)
    for dataset in DATASETS:
        for spelling in (dataset.name, dataset.name.replace("-", "_"), dataset.name.replace("-", "").upper()):
            assert find_dataset(spelling) is dataset


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(FetchError, match=r"'google2020'; expected one of: google2011, google2019, .*cloudphysics"):
        find_dataset("google2020")


def test_google_2011_is_the_published_layout():
    dataset = find_dataset("google2011")
    files = select(dataset, tables=["all"])
    assert len(files) == 4 * 500 + 2
    by_path = {file.path: file for file in files}
    assert by_path["task_usage/part-00499-of-00500.csv.gz"].urls[0] == (
        f"{GOOGLE}/task_usage/part-00499-of-00500.csv.gz"
    )
    assert by_path["machine_events/part-00000-of-00001.csv.gz"].part is None
    assert dataset.checksums == "SHA256SUM"
    assert {file.table for file in select(dataset)} == {"task_events", "job_events", "machine_events"}


def test_parts_choose_among_split_tables_and_leave_single_files():
    files = select(find_dataset("google2011"), parts="0-2,7")
    assert [file.part for file in files if file.table == "task_events"] == [0, 1, 2, 7]
    assert [file.path for file in files if file.part is None] == ["machine_events/part-00000-of-00001.csv.gz"]
    azure = select(find_dataset("azure-v2"), tables=["vm_cpu_readings"], parts="195")
    assert [file.path for file in azure] == ["trace_data/vm_cpu_readings/vm_cpu_readings-file-195-of-195.csv.gz"]


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        ("google2011", {"tables": ["tasks"]}, "no such table: tasks; expected all or some of: task_events"),
        ("google2011", {"tables": []}, "none named"),
        ("google2011", {"parts": "498-500"}, "task_events has no part 500; expected parts 0 to 499"),
        ("azure-v1", {"tables": ["vm_cpu_readings"], "parts": "0"}, "no part 0; expected parts 1 to 125"),
        ("alibaba2018", {"parts": "0"}, "single files; leave --parts out"),
        ("google2011", {"parts": "5-3"}, "ascending"),
        ("google2011", {"parts": "1,,2"}, "expected numbers"),
        ("google2011", {"parts": "-1"}, "expected numbers"),
        ("google2011", {"parts": "0-99999999999"}, "expected numbers"),
    ],
)
def test_a_selection_that_does_not_exist_is_told_with_what_does(dataset, options, message):
    with pytest.raises(FetchError, match=message):
        select(find_dataset(dataset), **options)


@given(st.sets(st.integers(0, 400), min_size=1, max_size=30))
def test_part_numbers_survive_being_written_as_ranges(numbers):
    ordered = sorted(numbers)
    pieces, start = [], ordered[0]
    for number, following in zip(ordered, [*ordered[1:], None], strict=True):
        if following != number + 1:
            pieces.append(str(start) if start == number else f"{start}-{number}")
            start = following
    assert parse_parts(",".join(pieces)) == tuple(ordered)


@given(st.text(alphabet="ab./\\:~-_ \0\n%é", max_size=12))
def test_a_path_that_is_accepted_stays_inside_the_folder(text):
    try:
        path = check_path(text)
    except ValueError:
        return
    assert not PurePosixPath(path).is_absolute()
    assert Path("/base", path).resolve().is_relative_to("/base")
    assert path == str(PurePosixPath(path))


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/./b", "a\\b", "C:/x", "~/x", "a b"]
)
def test_paths_that_leave_the_folder_cannot_be_declared(path):
    with pytest.raises(ValueError, match="not a safe path"):
        RemoteTable("t", path)


def test_declarations_that_contradict_themselves_are_refused():
    licence = Licence("X", "x", "https://example.org", acceptance_required=False)
    with pytest.raises(ValueError, match="either mirrors and tables, or a manual source"):
        Dataset("x", "X", "https://example.org", "x", licence)
    with pytest.raises(ValueError, match="64 lower-case hexadecimal digits"):
        PublishedFile("ABC")


def test_a_mirror_of_the_user_comes_first():
    files = select(find_dataset("google2011"), parts="3", mirrors=["https://mirror.example.org/google/"])
    assert files[0].urls[0] == "https://mirror.example.org/google/task_events/part-00003-of-00500.csv.gz"
    assert files[0].urls[1].startswith(GOOGLE)


READERS = {plain_name(reader.name): reader for reader in FORMATS}


@pytest.mark.parametrize(
    "dataset", [one for one in BY_PROGRAM if plain_name(one.name) in READERS and not one.after], ids=name
)
def test_what_is_fetched_by_default_lies_where_the_reader_looks(dataset, tmp_path):
    pytest.importorskip("duckdb")
    split = any(table.default and table.parts for table in dataset.tables)
    for file in select(dataset, parts="0-1" if split else None):
        path = tmp_path / "trace" / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.name.endswith(".tar.gz"):
            with tarfile.open(path, "w:gz") as archive:
                archive.addfile(tarfile.TarInfo(path.name.removesuffix(".tar.gz") + ".csv"), io.BytesIO())
        else:
            path.write_bytes(gzip.compress(b"x\n") if path.suffix == ".gz" else b"x\n")
    # These files are no trace, but none of them may be missed.
    with pytest.raises(TraceFormatError) as caught:
        READERS[plain_name(dataset.name)].import_folder(tmp_path / "trace", tmp_path / "t.parquet")
    assert "is missing" not in str(caught.value)


DIGESTS = ["a" * 64, "B" * 64, "c" * 64]


def test_published_lists_of_checksums_are_read_in_both_modes():
    text = f"{DIGESTS[0]}  task_events/part-1.gz\n{DIGESTS[1]} *./job_events/part-1.gz\n\n"
    sums = Checksums(text, "SHA256SUM")
    assert sums.find("task_events/part-1.gz") == DIGESTS[0]
    assert sums.find("job_events/part-1.gz") == DIGESTS[1].lower()
    assert sums.find("part-1.gz") is None  # two would fit
    assert sums.find("task_usage/part-1.gz") is None
    assert sums.find("ask_events/part-1.gz") is None
    longer = Checksums(f"{DIGESTS[2]}  clusterdata-2011-2/task_events/part-1.gz", "SHA256SUM")
    assert longer.find("task_events/part-1.gz") == DIGESTS[2]


@pytest.mark.parametrize("text", ["", "\n\n", "<html>not found</html>", f"{'a' * 63}  x", f"{'g' * 64}  x", "a" * 64])
def test_something_else_in_place_of_a_list_of_checksums_is_refused(text):
    with pytest.raises(FetchError, match="SHA256SUM"):
        Checksums(text, "SHA256SUM")


@pytest.mark.parametrize("dataset", BY_HAND, ids=name)
def test_what_no_program_may_download_comes_with_steps_and_the_next_command(dataset, tmp_path):
    steps = manual_steps(dataset, tmp_path / "my trace")
    assert dataset.page in steps
    assert dataset.licence.url in steps
    assert f"'{tmp_path}/my trace'" in steps
    assert "{folder}" not in steps
    assert "\n  1. " in steps
    assert "next: cloudsched traces" in steps
    with pytest.raises(FetchError, match="can be downloaded"):
        manual_steps(find_dataset("google2011"), tmp_path)


def test_what_to_do_by_hand_names_every_file_once(tmp_path):
    dataset = find_dataset("google2011")
    plan = make_plan(dataset, tmp_path / "g", Selection(parts="0-13,20"))
    text = by_hand(plan, plan.missing)
    assert "(Google clusterdata-2011-2 (v2.1), 31 files)" in text
    for path in (
        "task_events/part-00000",
        "task_events/part-00013",
        "task_events/part-00020",
        "machine_events/part-00000",
    ):
        assert f"{GOOGLE}/{path}" in text
        assert f"{tmp_path}/g/{path}" in text
    assert f"-o {tmp_path}/g/SHA256SUM {GOOGLE}/SHA256SUM" in text
    # curl counts through the numbers in brackets and puts them in place of #1.
    assert (
        f"-o '{tmp_path}/g/task_events/part-#1-of-00500.csv.gz' '{GOOGLE}/task_events/part-[00000-00013]-of-00500"
        in text
    )
    assert f"cloudsched traces fetch google2011 --to {tmp_path}/g --parts 0-13,20" in text
    assert f"cloudsched traces import google2011 {tmp_path}/g -o google2011.parquet" in text


def test_what_to_do_by_hand_has_checksums_and_sizes_where_they_are_published(tmp_path):
    plan = make_plan(find_dataset("alibaba-gpu2023"), tmp_path)
    text = by_hand(plan, plan.missing)
    assert "(575 kB, sha256 1ee7ed79c27a3b0861cda8ddba86a004c6aba904caafa329a76ae93ca63834a8)" in text
    packing = make_plan(find_dataset("azure-packing2020"), tmp_path)
    assert "size unknown" in by_hand(packing, packing.missing)
    assert "unpack AzurePackingTraceV1.zip" in by_hand(packing, packing.missing)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "unknown"),
        (0, "0 bytes"),
        (999, "999 bytes"),
        (347_211, "347 kB"),
        (41 * 10**9, "41 GB"),
        (2.6e12, "2.6 TB"),
    ],
)
def test_sizes_are_told_in_decimal_units(count, text):
    assert describe_bytes(count) == text
