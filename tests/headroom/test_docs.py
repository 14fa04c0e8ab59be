from __future__ import annotations

import re
from pathlib import Path

from cloudsched_env.headroom import gates
from cloudsched_env.headroom.study import stage_names
from tests.headroom.test_gates import good

PAGE = (Path(__file__).parents[2] / "docs" / "headroom.md").read_text(encoding="utf-8")


def test_the_docs_explain_every_stage():
    for name in stage_names():
        assert re.search(rf"\*\*(\w+, )*{name}(, \w+)*\.\*\*", PAGE), f"docs/headroom.md has no paragraph on {name}"


def test_the_docs_list_every_gate_with_its_limit():
    table = PAGE.split("## Gates")[1]
    rows = dict(line.strip("| ").split(" | ")[:2] for line in table.splitlines() if line.startswith("| "))
    names = {gate.name for gate in gates.compute_gates(good(), seed=0)}
    documented = {re.sub(r" \(\w+\)$", "", re.sub(r"^(scheduler|compute|storage) ", "ROLE ", name)) for name in names}
    assert set(rows) - {"gate"} == documented
    low, high = gates.CORRELATION_BETWEEN
    assert f"≤ {gates.RANDOM_UTILISATION_AT_MOST} of" in rows["random is bad"]
    assert f"≥ {100 * gates.FEEDBACK_OVER_STATIC_AT_LEAST:g} %" in rows["feedback pays"]
    assert f"≥ {100 * gates.CONSTANT_COSTS_AT_LEAST:g} %" in rows["ROLE adapts"]
    assert f"≥ {100 * gates.RANDOM_COSTS_AT_LEAST:g} %" in rows["ROLE matters"]
    assert gates.COUPLINGS_CLOSE_AT_LEAST == 0.5
    assert "≥ half" in rows["couplings make it"]
    assert f"≤ {100 * gates.COUPLINGS_CLOSE_AT_MOST:g} %" in rows["couplings make it"]
    assert f"between {low} and {high}" in rows["local rewards guide"]
