"""A headroom study on the terminal, as Markdown for the docs, and as JSON with all raw values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudsched_env.agents.linear import LinearParameters
from cloudsched_env.headroom.policies import parameters_of
from cloudsched_env.headroom.provenance import (
    OWN_DATA,
    TASK_TABLE,
    command_lines,
    duration,
    search_warnings,
    sizes,
    starts,
)
from cloudsched_env.headroom.study import Study
from cloudsched_env.headroom.tables import Table, make_tables
from cloudsched_env.whole_file import write_whole

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["markdown", "page_name", "print_study", "write_page", "write_study"]

OWN_WORK = "generated"  # the data tag of a scenario's own workload
_OVERLAP = (
    "Intervals are 95 % bootstrap intervals over test windows; differences are taken window by window. Windows of a "
    "trace that overlap in time are not independent, and then the intervals are too narrow. How to read the tables: "
    "`docs/headroom.md`."
)


def print_study(study: Study, console: Console) -> None:
    """Print every table."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table as RichTable

    for table in make_tables(study.results, study.content["settings"]["seed"]):
        shown = RichTable(title=escape(table.title), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for heading in table.head:
            text = heading in (table.head[0], "replaced by", "what it is", "definition", "wanted")
            shown.add_column(escape(heading), justify="left" if text else "right", overflow="fold")
        for row in table.rows:
            style = "red" if "FAIL" in row else "green" if "pass" in row else None
            shown.add_row(*(escape(cell) for cell in row), style=style)
        console.print(shown)
        if table.note:
            console.print(table.note, style="dim", markup=False, highlight=False)
    console.print(_OVERLAP, style="dim", markup=False, highlight=False)


def page_name(content: Mapping[str, Any]) -> str:
    """What a study's page and stored values are called: the scenario, and the data if they are not the scenario's own.

    Args:
        content: of the study.
    """
    name, tag = str(content["scenario"]["id"]), content["data"]["tag"]
    return name if tag == OWN_WORK else f"{name}-{tag.replace(' ', '-')}"


def markdown(study: Study, figure: str) -> str:
    """The report as Markdown.

    Args:
        study: what was measured.
        figure: path of the picture, relative to the report.
    """
    content = study.content
    scenario, settings = content["scenario"], content["settings"]
    passed = sum(gate["passed"] for gate in content["gates"])
    lines = [
        f"# Headroom of `{scenario['id']}`",
        "",
        f"{scenario['description']}" if scenario["description"] else "",
        "",
        f"{passed} of {len(content['gates'])} gates passed on {settings['episodes']} test windows. Data: "
        f"{content['data']['tag']}.",
        "",
        *(f"* {line}" for line in _made(content)),
        "",
        "```",
        *command_lines(content),
        "```",
        "",
        _OVERLAP,
        "",
    ]
    lines += [f"![ladder, tuning, knock-out, staleness]({figure})", ""]
    for table in make_tables(study.results, settings["seed"]):
        lines += [f"## {table.title}", "", *([table.note, ""] if table.note else []), *_rows(table), ""]
    return "\n".join(lines)


def _made(content: Mapping[str, Any]) -> list[str]:
    """How the study was made, and what that means for its numbers."""
    trace = content["data"]["trace"]
    table = (
        f", where {TASK_TABLE} is the imported trace (digest of its tasks: {trace[:12]})" if trace != OWN_DATA else ""
    )
    return [
        sizes(content),
        *starts(content["results"]),
        *search_warnings(content),
        f"{duration(content)} of computing with cloudsched-env {content['versions']['cloudsched-env']}, by this "
        f"command{table}:",
    ]


def _rows(table: Table) -> list[str]:
    def line(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(table.head), "|" + "---|" * len(table.head), *(line(row) for row in table.rows)]


def write_study(study: Study, out: Path, docs: Path | None = None) -> list[Path]:
    """Write ``headroom.json``, ``headroom.md`` and ``headroom.png`` where they are missing or out of date.

    The tuned policies are written too, as ``linear_static.json`` and ``linear_feedback.json``: the files that the
    agents ``linear_static(parameters="…")`` and ``linear_feedback(parameters="…")`` take.

    Args:
        study: what was measured.
        out: folder of the study.
        docs: folder that gets a page and a picture of the study's `page_name` too.

    Returns:
        The files that were written.
    """
    written: list[Path] = []
    _write_if_new(out / "headroom.json", _json(study.content), written)
    for kind in ("static", "feedback"):
        if kind in study.results:
            policy, path = parameters_of(study.results[kind]), out / f"linear_{kind}.json"
            if not path.is_file() or LinearParameters.load(path) != policy:
                policy.save(path)
                written.append(path)
    targets = [(out, "headroom")] + ([(docs, page_name(study.content))] if docs is not None else [])
    for folder, stem in targets:
        written += write_page(study, folder, stem, redraw=bool(written))
    return written


def write_page(study: Study, folder: Path, stem: str, redraw: bool) -> list[Path]:
    """Write a study's Markdown and picture where they are missing or out of date.

    Args:
        study: what was measured.
        folder: of both files.
        stem: their name.
        redraw: draw the picture even if the page is as it was.

    Returns:
        The files that were written.
    """
    from cloudsched_env.headroom.figure import draw

    written: list[Path] = []
    picture = folder / f"{stem}.png"
    changed = _write_if_new(folder / f"{stem}.md", markdown(study, picture.name), written)
    if changed or redraw or not picture.is_file():
        draw(study, picture)
        written.append(picture)
    return written


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, allow_nan=False, separators=(",", ":")) + "\n"


def _write_if_new(path: Path, text: str, written: list[Path]) -> bool:
    """Write a file unless it holds this already."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    write_whole(path, text)
    written.append(path)
    return True
