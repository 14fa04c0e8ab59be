"""The help pages of both commands: every example stands on a line of its own."""

import re

import pytest

pytest.importorskip("typer")

import typer
from typer.testing import CliRunner

from cloudsched_env.cli import build_app
from cloudsched_env.cli.rllib_train import app as rllib_app

_EXAMPLE = re.compile(r"`((?:cloudsched|rllib) [^`]+)`")


def pages(app, command, path):
    """Application, name and click command of a command and of all below it."""
    yield app, path, command
    for name, child in sorted(getattr(command, "commands", {}).items()):
        yield from pages(app, child, f"{path} {name}")


WITH_EXAMPLES = [
    pytest.param(*page, id=page[1])
    for name, app in (("cloudsched", build_app()), ("rllib", rllib_app))
    for page in pages(app, typer.main.get_command(app), name)
    if _EXAMPLE.search(page[2].epilog or "")
]


def test_the_pages_that_people_copy_commands_from_are_looked_at():
    found = {page.id for page in WITH_EXAMPLES}
    assert {"cloudsched train", "cloudsched attention", "cloudsched evaluate", "rllib train file"} <= found
    assert len(found) >= 15


@pytest.mark.parametrize(("app", "path", "command"), WITH_EXAMPLES)
def test_examples_are_paragraphs_of_their_own(app, path, command):
    paragraphs = re.split(r"\n\s*\n", command.epilog.strip())
    crowded = [text for text in paragraphs if len(_EXAMPLE.findall(text)) > 1]
    assert not crowded, f"{path}: a blank line is missing in {crowded}"


@pytest.mark.parametrize(("app", "path", "command"), WITH_EXAMPLES)
def test_examples_are_shown_on_lines_of_their_own(app, path, command):
    shown = CliRunner().invoke(app, [*path.split()[1:], "--help"], env={"COLUMNS": "400"})
    assert shown.exit_code == 0, shown.output
    lines = [" ".join(line.split()) for line in shown.output.splitlines()]
    for example in _EXAMPLE.findall(command.epilog):
        text = " ".join(example.split())
        assert any(line.startswith(text) for line in lines), f"{path}: no line begins with {text!r}"
