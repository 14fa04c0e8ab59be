"""What the page offers to download: tables, anchors, and the raw results that every number comes from."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from cloudsched_env.evaluation.metrics import METRICS
from cloudsched_env.leaderboard.standings import Board
from cloudsched_env.leaderboard.units import DECISION_TIME
from cloudsched_env.whole_file import write_whole

__all__ = ["write_downloads"]

_DATE = (2020, 1, 1, 0, 0, 0)  # of files in archives: the same results give the same bytes


def write_downloads(board: Board, folder: Path) -> None:
    """CSV and JSON of the table, the anchors, and archives of raw results."""
    names = [entry.name for entry in METRICS] + [DECISION_TIME]
    table: list[dict[str, Any]] = []
    for row in board.rows:
        line: dict[str, Any] = {
            "rank": row.rank or None,
            "tied": row.tied,
            "agent": row.declaration.name,
            "kind": row.declaration.kind,
            "status": row.status,
            "message": row.message,
            "runs": row.runs,
            "interval_over": row.interval_over,
            "training_env_steps": row.declaration.training.env_steps,
            "training_hours": row.declaration.training.hours,
        }
        figures = {"score": row.score, **{f"score_{s}": i for s, i in row.by_scenario.items()}}
        figures |= {name: row.metrics.get(name) for name in names}
        for name, interval in figures.items():
            for part in ("estimate", "low", "high"):
                value = getattr(interval, part) if interval is not None else np.nan
                line[name if part == "estimate" else f"{name}_{part}"] = None if np.isnan(value) else round(value, 9)
        table.append(line)
    write_whole(folder / f"{board.label}.json", json.dumps(table, indent=1) + "\n")
    buffer = io.StringIO()
    columns = list(dict.fromkeys(name for line in table for name in line))
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    write_whole(folder / f"{board.label}.csv", buffer.getvalue())
    board.anchors.write(folder / f"{board.label}-anchors.json")
    with zipfile.ZipFile(folder / f"{board.label}-raw.zip", "w", zipfile.ZIP_DEFLATED) as everything:
        for row in board.rows:
            files = [row.folder.path / "agent.json", row.folder.path / "metadata.json"]
            files += sorted(row.folder.path.glob("curves/*.csv"))
            contents = {str(f.relative_to(row.folder.path)): f.read_bytes() for f in files if f.exists()}
            contents |= row.folder.raw_files()
            with zipfile.ZipFile(folder / f"{board.label}-{row.slug}.zip", "w", zipfile.ZIP_DEFLATED) as own:
                for name, content in contents.items():
                    for archive, path in ((own, name), (everything, f"{row.slug}/{name}")):
                        info = zipfile.ZipInfo(path, _DATE)
                        info.compress_type = zipfile.ZIP_DEFLATED
                        archive.writestr(info, content)
