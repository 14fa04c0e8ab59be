"""`benchmarks/impulse_response.py`: effects that are known."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.scripts import load_script


@pytest.fixture(scope="module")
def script():
    return load_script("impulse_response.py")


def test_the_response_to_the_level_that_is_held_anyway_is_nothing_and_to_another_it_is_not(script, tmp_path):
    import typer

    application = typer.Typer()
    application.command()(script.main)
    file = tmp_path / "response.json"
    arguments = ["round_robin", "purge_level", "--scenario", "tiny-v1", "--windows", "3", "--at-s", "2"]
    ran = CliRunner().invoke(application, [*arguments, "--for-s", "5", "--json", str(file)])
    assert ran.exit_code == 0, ran.output
    record = json.loads(file.read_text())
    assert record["data"] == "generated"
    assert all(np.array(record["difference"]["1"]).ravel() == 0.0)
    assert any(np.array(record["difference"]["3"])[:, 0] != 0.0)


def test_the_response_sums_differences_from_the_change_on(script):
    unchanged = np.zeros((10, 4))
    changed = np.zeros((10, 4))
    changed[2] = 100.0  # before the change: not counted
    changed[3:] = 1.0
    assert [interval.estimate for interval in script.response(changed, unchanged, 3, [1, 5])] == [1.0, 5.0]


def test_an_unknown_knob_is_refused_with_the_known_ones(script):
    import typer

    application = typer.Typer()
    application.command()(script.main)
    ran = CliRunner().invoke(application, ["round_robin", "purge"])
    assert ran.exit_code == 2
    assert "purge_level" in ran.output
