"""The documentation page of a format, made from its declaration: what the reader says is what the page says."""

from __future__ import annotations

from cloudsched_env.traces.published import PublishedTable
from cloudsched_env.traces.trace_format import TraceFormat

__all__ = ["format_page"]

_SCALING = """\
An import changes neither times nor counts: arrivals, run times and requests are those of the trace. The workload stage
changes them, by the rules of [workload](../workload.md): arrival times and run times are divided by
`workload.time_compression`; whole jobs are taken in random order up to the scenario's task rate; run times are then
scaled by one factor, and memory by another, so that the offered load is exactly the scenario's. Order, batches and the
ratios between tasks remain; absolute run times do not, bursts that come from many jobs at once become weaker, and waits
are those of the simulated cluster. What the trace does not have is drawn there, seeded, and named in every result."""
_LOAD_SCALING = """\
Rates are those of the trace, per device. They are background traffic for storage nodes: choose devices and a window,
and scale by the number of devices for each node. Dividing times by a factor multiplies rates by it; scaling rates keeps
the pattern but not the sizes of requests. Shorter intervals keep more of the bursts: the mean of 10 s hides peaks of a
second."""


def format_page(trace_format: TraceFormat, real: str = "") -> str:
    """The page in Markdown.

    Args:
        trace_format: the format.
        real: what was counted when genuine files were imported, in Markdown.
    """
    entry = trace_format
    kind = "task table" if entry.kind == "tasks" else "load table"
    lines = [
        f"# {entry.title} (`{entry.name}`)",
        "",
        "<!-- Made from the declaration in cloudsched_env/traces by `python -m tests.traces.format_pages`. -->",
        "",
        entry.summary,
        "",
        f"* data: <{entry.url}>",
        f"* licence: {entry.licence}",
        f"* becomes: a [{kind}](../traces.md), mapping version {entry.mapping_version}",
        f"* machine-readable description of the published files: [{entry.name}.croissant.json]"
        f"(croissant/{entry.name}.croissant.json)",
        "",
        f"> {entry.citation}",
        "",
        "```sh",
        entry.download,
        f"cloudsched traces import {entry.name} PATH -o {entry.name}.parquet",
        "```",
        "",
        "## Published tables",
        "",
    ]
    for table in entry.tables:
        lines += _table(table)
    lines += [f"## The mapping, version {entry.mapping_version}", "", f"Clock: {entry.clock}.", ""]
    lines += ["| column | from |", "|---|---|"]
    for name, source in entry.columns_from.items():
        shown = name if name == "a row" else ", ".join(f"`{part}`" for part in name.split(", "))
        lines.append(f"| {shown} | {_cell(source)} |")
    lines += ["", "Columns that are not named here are null.", ""]
    if entry.synthetic:
        lines += ["### Not in the trace", "", "| column | what is missing | in the table |", "|---|---|---|"]
        for column in entry.synthetic:
            shown = ", ".join(f"`{part}`" for part in column.name.split(", "))
            lines.append(f"| {shown} | {_cell(column.absent_because)} | {_cell(column.filled_by)} |")
        lines.append("")
    assumptions = [*entry.assumptions, *([str(entry.request_unit)] if entry.kind == "tasks" else [])]
    if assumptions:
        lines += ["### Assumptions", "", *(f"* {text}" for text in assumptions), ""]
    lines += ["## Gotchas, and what is done about them", "", *(f"* {text}" for text in entry.gotchas), ""]
    lines += ["## Load and time", "", _SCALING if entry.kind == "tasks" else _LOAD_SCALING, ""]
    if real:
        lines += ["## Counted on genuine files", "", real.strip(), ""]
    return "\n".join(lines)


def _table(table: PublishedTable) -> list[str]:
    """One published table as a heading and a list of its columns."""
    header = {
        "none": "no header line",
        "required": "columns are read by name",
        "optional": "no header line (one is passed over)",
    }[table.header]
    need = "" if table.required else ", optional"
    lines = [f"### {table.name}{need}", "", f"{table.meaning[0].upper()}{table.meaning[1:]}. Files: `{table.layout}`;"]
    lines[-1] += f" {header}." + (f" {table.parts} files in all." if table.parts else "")
    if table.unique:
        lines[-1] += f" One row for each {', '.join(table.key_columns or table.unique)}."
    lines += ["", "| column | a valid field | meaning |", "|---|---|---|"]
    lines += [f"| {column.name} | {_cell(column.expected)} | {_cell(column.meaning)} |" for column in table.columns]
    return [*lines, ""]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
