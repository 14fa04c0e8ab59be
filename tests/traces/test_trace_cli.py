"""`cloudsched traces`: what a person sees, and that the help page stays light."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cloudsched_env
from cloudsched_env.traces import load_tasks
from tests.traces import google_files as g
from tests.traces.small_traces import write

pytest.importorskip("typer")
from typer.testing import CliRunner

from cloudsched_env.cli import build_app


@pytest.fixture(scope="module")
def app():
    return build_app()


@pytest.fixture(scope="module")
def trace(tmp_path_factory) -> Path:
    events = g.random_events(np.random.default_rng(11), jobs=80)
    return g.write_trace(tmp_path_factory.mktemp("cli") / "trace", events, parts=3)


def call(app, *arguments: object, code: int = 0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


def plain(text: str) -> str:
    return " ".join(text.split())


def test_import_writes_a_table_and_tells_what_is_in_it(app, trace, tmp_path):
    target = tmp_path / "t.parquet"
    result = call(app, "traces", "import", "google2011", trace, "-o", target, "--memory-limit", "300MB", "--threads", 1)
    table = load_tasks(target)
    text = plain(result.output)
    assert f"{len(table):,} tasks from Google clusterdata-2011-2 (v2.1), excerpt (3 of 500 parts" in text
    assert "null in the table: read_mb, write_mb" in text
    assert "CC-BY 4.0" in text


def test_import_shows_a_bar_for_every_stage(app, trace, tmp_path):
    result = call(app, "traces", "import", "google2011", trace, "-o", tmp_path / "t.parquet")
    for stage in ("Reading job_events", "Reading task_events", "Finding tasks", "Writing tasks"):
        assert stage in result.stderr
    assert "MB/s" in result.stderr
    assert "rows/s" in result.stderr


def test_a_bad_row_ends_with_place_and_advice_and_exit_code_1(app, trace, tmp_path):
    broken = tmp_path / "broken"
    for path in trace.rglob("*.gz"):
        copy = broken / path.relative_to(trace)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    g.write_gz(g.part(broken, "task_events", 3), ["1,2,3"])
    result = call(app, "traces", "import", "google2011", broken, "-o", tmp_path / "t.parquet", code=1)
    text = plain(result.stderr)
    assert "part-00003-of-00500.csv.gz, line 1: wrong number of columns" in text
    assert "--on-error skip" in text
    assert "Traceback" not in result.output
    assert not (tmp_path / "t.parquet").exists()

    skipped = call(app, "traces", "import", "google2011", broken, "-o", tmp_path / "t.parquet", "--on-error", "skip")
    assert "skipped 1 rows: task_events: wrong number of columns" in plain(skipped.output)
    described = plain(call(app, "traces", "describe", tmp_path / "t.parquet").output)
    assert "task_events/part-00003-of-00500.csv.gz, line 1" in described


def test_jobs_missing_from_job_events_are_not_overlooked(app, tmp_path):
    events = g.life(7, 0, (700, g.SUBMIT)) + g.life(8, 0, (701, g.SUBMIT))
    trace = g.write_trace(tmp_path / "trace", events, leave_out=frozenset({7}))
    result = call(app, "traces", "import", "google2011", trace, "-o", tmp_path / "t.parquet")
    assert "1 tasks belong to jobs that are not in job_events" in plain(result.output)


def test_an_unknown_format_lists_those_there_are(app, tmp_path):
    result = call(app, "traces", "import", "alibaba", tmp_path, "-o", tmp_path / "t.parquet", code=1)
    assert "unknown trace format 'alibaba'; expected one of: google2011" in plain(result.stderr)


def test_describe_shows_what_the_table_declares(app, trace, tmp_path):
    target = tmp_path / "t.parquet"
    call(app, "traces", "import", "google2011", trace, "-o", target)
    table = load_tasks(target)
    text = plain(call(app, "traces", "describe", target, "--files").output)
    assert f"{len(table):,} tasks of" in text
    for source in table.metadata.source_files:
        assert source.sha256 in text
    for column in table.metadata.synthetic_columns:
        assert f"{column.name}: {column.absent_because}" in text
    for line in (*table.metadata.assumptions, table.metadata.licence, table.metadata.citation):
        assert plain(line) in text
    medians = np.nanmedian(table["cpu_cores"])
    assert f"{medians:.3g}" in text
    assert "latency-critical" in text
    for name, count in table.metadata.rows.items():
        assert f"{name.replace('_', ' ')} {count:,}" in text
    assert set("▁█") <= set(text)


def test_describe_as_json_is_the_metadata(app, trace, tmp_path):
    target = tmp_path / "t.parquet"
    call(app, "traces", "import", "google2011", trace, "-o", target)
    found = json.loads(call(app, "traces", "describe", target, "--json").stdout)
    assert found["rows"] == load_tasks(target).metadata.rows


def test_describe_of_a_missing_table_says_how_to_make_one(app, tmp_path):
    result = call(app, "traces", "describe", tmp_path / "t.parquet", code=1)
    assert "cloudsched traces import google2011 DIR -o FILE" in plain(result.stderr)


def test_import_auto_says_which_format_it_is_and_why(app, trace, tmp_path):
    result = call(app, "traces", "import", "auto", trace, "-o", tmp_path / "t.parquet")
    assert (
        "google2011: task_events/part-00000-of-00500.csv.gz and 2 more: name and the 13 columns of task_events"
        in plain(result.stderr)
    )
    assert load_tasks(tmp_path / "t.parquet").metadata.format == "google2011"


def test_block_traces_become_load_tables_that_describe_shows(app, tmp_path):
    folder = write("alibaba-block", tmp_path / "blocks")
    target = tmp_path / "load.parquet"
    result = call(app, "traces", "import", "alibaba-block", folder, "-o", target, "--interval", 5)
    assert "intervals from Alibaba block traces (2020)" in plain(result.output)
    text = plain(call(app, "traces", "describe", target).output)
    assert "intervals of 5 s with traffic, 2 devices" in text
    assert "read_mb_per_s" in text
    assert "Requests are summed over intervals of 5 s." in text
    found = json.loads(call(app, "traces", "describe", target, "--json").stdout)
    assert found["rows"]["writes"] == 2


def test_describe_shows_what_queries_really_used(app, tmp_path):
    folder = write("snowset", tmp_path / "queries")
    call(app, "traces", "import", "snowset", folder, "-o", tmp_path / "t.parquet")
    text = plain(call(app, "traces", "describe", tmp_path / "t.parquet").output)
    for row in ("cpu_core_s (core s)", "spill_mb (MB)", "cpu used / requested"):
        assert row in text


def test_ctrl_c_says_that_the_import_goes_on_later(app, trace, tmp_path, monkeypatch):
    from cloudsched_env.traces.trace_format import TraceFormat

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(TraceFormat, "_run_steps", interrupted)
    result = call(app, "traces", "import", "google2011", trace, "-o", tmp_path / "t.parquet", code=130)
    assert "the same command goes on from there" in plain(result.stderr)
    monkeypatch.undo()
    call(app, "traces", "import", "google2011", trace, "-o", tmp_path / "t.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


def test_formats_names_every_table_and_the_licence(app):
    text = plain(call(app, "traces", "formats").output)
    for expected in ("google2011", "task_events/part-?????-of-00500.csv.gz", "logical job name", "CC-BY 4.0"):
        assert expected in text


def test_help_has_examples(app):
    assert "cloudsched traces import google2011" in plain(call(app, "traces", "import", "--help").output)
    assert "cloudsched traces describe google.parquet" in plain(call(app, "traces", "describe", "--help").output)


def test_version_is_that_of_the_package(app):
    assert cloudsched_env.__version__ in call(app, "--version").output


def python(code: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(cloudsched_env.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": root},
        check=False,
    )


HIDE = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in {hidden!r}:
            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)
sys.meta_path.insert(0, Hide())
sys.argv = ['cloudsched', *{arguments!r}]
from cloudsched_env.cli import main
main()
"""


def test_the_help_page_imports_nothing_heavy():
    result = python(
        "import sys; sys.argv = ['cloudsched', '--help']\n"
        "from cloudsched_env.cli import main\n"
        "try:\n    main()\nexcept SystemExit as done:\n    assert not done.code, done.code\n"
        "heavy = {'ray', 'torch', 'duckdb', 'numba', 'pyarrow', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    assert result.returncode == 0, result.stderr
    assert "traces" in result.stdout


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_without_the_cli_extra_the_command_says_what_to_install(package):
    result = python(HIDE.format(hidden=[package], arguments=["--help"]))
    assert result.returncode == 1
    assert f"needs the package {package}: pip install 'cloudsched-env[cli]'" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("package", ["duckdb", "pyarrow"])
def test_without_the_traces_extra_an_import_says_what_to_install(package, trace, tmp_path):
    arguments = ["traces", "import", "google2011", str(trace), "-o", str(tmp_path / "t.parquet")]
    result = python(HIDE.format(hidden=[package], arguments=arguments))
    assert result.returncode == 1
    assert "pip install 'cloudsched-env[traces]'" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_sub_command_that_lacks_a_package_says_so_and_does_not_break_the_others():
    code = (
        "import sys, types\n"
        "from cloudsched_env import cli\n"
        "cli.COMMANDS = {'lame': 'lame_command', 'gone': 'cloudsched_env.cli.not_there', **cli.COMMANDS}\n"
        "import pathlib, tempfile\n"
        "folder = tempfile.mkdtemp(); sys.path.insert(0, folder)\n"
        "pathlib.Path(folder, 'lame_command.py').write_text('import a_package_nobody_has')\n"
        "sys.argv = ['cloudsched', *sys.argv[1:], 'lame', '--flag']\n"
        "cli.main()\n"
    )
    result = python(code)
    assert result.returncode == 1
    assert "a_package_nobody_has" in result.stderr
    assert "Traceback" not in result.stderr
    assert python(code.replace("'lame', '--flag'", "'traces', 'formats'")).returncode == 0
