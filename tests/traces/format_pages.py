"""Writes docs/traces/<format>.md and the Croissant files: ``python -m tests.traces.format_pages``."""

from __future__ import annotations

from pathlib import Path

from cloudsched_env.traces.croissant import croissant_json
from cloudsched_env.traces.formats import FORMATS
from cloudsched_env.traces.pages import format_page

DOCS = Path(__file__).parents[2] / "docs" / "traces"

# What imports of genuine files found; the tests marked `real_trace` check these numbers.
REAL = {
    "google2011": """\
Counts of parts 0 to 13 (600 s to 70,756 s, 19.5 h):

| | |
|---|---:|
| rows of task_events / job_events / machine_events | 2,609,335 / 53,410 / 37,780 |
| SUBMIT rows | 936,182 (144,339 of them at time 0) |
| distinct tasks | 614,019 |
| present at time 0 | 144,339, of which 40,136 are submitted again |
| first SUBMIT after time 0 | 509,816 |
| **arrivals** (the rows of the table) | **469,680** = 614,019 - 144,339 = 509,816 - 40,136 |
| jobs / users / logical names | 15,185 / 153 / 4,381 |
| never scheduled / censored | 30,276 / 19,390 |
| ended: finished / killed / evicted / failed | 293,059 / 89,068 / 28,860 / 9,027 |
| machines at time 0 | 12,477, of which 6,672 are (0.5, 0.4995) |

```
CLOUDSCHED_TRACE_DIR=clusterdata-2011-2 python -m pytest tests/traces -m real_trace
```""",
    "alibaba2017": """\
The whole table batch_task (80,553 rows; a copy with one header line added), without the other tables:

| | |
|---|---:|
| rows of batch_task | 80,553 in 12,951 jobs |
| created before the trace | 167 |
| **arrivals** | **80,386** |""",
    "alibaba-gpu2023": """\
The default list of pods and the list of all nodes:

| | |
|---|---:|
| pods | 8,152, of which 897 were never scheduled |
| pods that failed / succeeded / were deleted while they ran | 1,870 / 192 / 5,193 |
| nodes | 1,523 |""",
    "azure-v1": "Ten machines and a hundred readings (test data of another project): 3 arrivals, 7 present at time 0.",
    "cloudphysics": """\
The file that libCacheSim carries:

| | |
|---|---:|
| requests | 113,872 over 2.0 h: 46,974 reads, 66,898 writes |
| read / written | 1,797 MB / 2,408 MB |
| intervals of 10 s with traffic | 721 |""",
}


def pages() -> dict[Path, str]:
    """Text of every page and description."""
    written = {DOCS / f"{entry.name}.md": format_page(entry, REAL.get(entry.name, "")) for entry in FORMATS}
    for entry in FORMATS:
        written[DOCS / "croissant" / f"{entry.name}.croissant.json"] = croissant_json(entry)
    return written


if __name__ == "__main__":
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
