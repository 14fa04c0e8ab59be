from __future__ import annotations

from pathlib import Path

from cloudsched_env.evaluation.metrics import METRICS

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def table() -> str:
    """The table of docs/metrics.md as the code defines it."""
    arrows = {"higher": "higher", "lower": "lower", "": "neither"}
    lines = ["| metric | unit | better | definition |", "|---|---|---|---|"]
    lines += [f"| `{m.name}` | {m.unit} | {arrows[m.better]} | {m.definition} |" for m in METRICS]
    return "\n".join(lines)


def test_the_docs_show_the_definitions_of_the_code():
    assert table() in PAGE.read_text(encoding="utf-8"), (
        f"docs/metrics.md is out of date; its table should be:\n{table()}"
    )
