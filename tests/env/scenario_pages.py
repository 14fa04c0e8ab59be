"""The generated parts of ``docs/scenarios``: agents, sizes, differences, gates and waivers, headroom, recorded tables.

Each part of a page stands between two comments, ``<!-- generated: NAME -->`` and ``<!-- end -->``. After a change of a
scenario, of the observations, of the headroom tables, of the waivers or of a record, rewrite them with
``python -m tests.env.scenario_pages``. Tables of records (`tests.env.measured_tables`) stand on other pages, too.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from cloudsched_env.scenario import Scenario, load_scenario, scenario_chain, scenario_ids
from cloudsched_env.vector import ROLES, CloudSchedVectorEnv
from tests.env.measured_tables import DOCUMENTS, PARTS, ROOT, table

FOLDER = ROOT / "docs" / "scenarios"
STUDIES = ROOT / "benchmarks" / "results" / "headroom"
WAIVERS = ROOT / "benchmarks" / "gate_waivers.json"
FAMILIES = {
    "tiny": r"tiny-v\d+",
    "paper": r"paper-v\d+",
    "medium": r"medium-v\d+",
    "large": r"large-v\d+",
    "internet": r"internet-v\d+",
    "loss": r"loss-\d+(-bursty)?-v\d+",
    "stale": r"stale-\d+-v\d+",
    "tenants": r"tenants-\d+(-per-tenant)?-v\d+",
    "failures": r"failures-v\d+",
    "elastic": r"elastic-v\d+",
    "flash-crowd": r"flash-crowd-v\d+",
    "hot-shift": r"hot-shift-v\d+",
    "cross-cluster": r"paper-(google2011|alibaba2017|alibaba2018|azure|snowset|redset)-v\d+",
}
_PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def _natural(scenario_id: str) -> tuple[int, str, list[int]]:
    """Sort key that puts tenants-8 before tenants-16, and plain kinds before those with a suffix."""
    kind = re.sub(r"\d+", "", scenario_id)
    return len(kind), kind, [int(number) for number in re.findall(r"\d+", scenario_id)]


def family_of(scenario_id: str) -> str | None:
    """The page on which a scenario is described, or None."""
    return next((f for f, pattern in FAMILIES.items() if re.fullmatch(pattern, scenario_id)), None)


def members(family: str) -> list[str]:
    """Ids of a family in reading order."""
    return sorted((i for i in scenario_ids() if family_of(i) == family), key=_natural)


def agents_table(ids: list[str]) -> str:
    """Agents, tenants, shards and load of scenarios."""
    header = ["scenario", "agents", *ROLES, "tenants", "shards", "tasks/s", "episode, s"]
    rows = []
    for scenario_id in ids:
        s = load_scenario(scenario_id)
        counts = s.role_counts
        numbers = [sum(counts.values()), *counts.values(), s.workload.tenants, s.shards, s.workload.task_rate_per_s]
        rows.append([f"`{scenario_id}`", *(f"{n:,g}" for n in numbers), f"{s.duration_s:g}"])
    return table(header, rows, 1)


def sizes_table(ids: list[str]) -> str:
    """Observation, action and state sizes of scenarios."""
    header = ["scenario", *(f"{role} observes" for role in ROLES), *(f"{role} chooses" for role in ROLES), "state"]
    rows = []
    for scenario_id in ids:
        env = CloudSchedVectorEnv(scenario_id, 1)
        observed = [f"{env.layouts[role].size:,}" for role in ROLES]
        levels = [env.action_levels[role].tolist() for role in ROLES]
        chosen = [f"{len(v)} x {v[0]:,}" if len(set(v)) == 1 else " and ".join(map(str, v)) for v in levels]
        rows.append([f"`{scenario_id}`", *observed, *chosen, f"{env.state_layout.size:,}"])
    return table(header, rows, 1)


def _show(value: object) -> str:
    if isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
        return ", ".join(f"{t.count} x ({t.cores:g} cores, {t.memory_gb:g} GB)" for t in value)
    return f"{value:,g}" if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


def differences(scenario_id: str) -> tuple[str, list[list[str]]]:
    """What a scenario is compared with, and the fields in which it differs: name, value there, value here."""
    chain = scenario_chain(scenario_id)
    other = load_scenario(chain[-1]) if len(chain) > 1 else Scenario()
    own = load_scenario(scenario_id)
    rows = []
    for group in dataclasses.fields(own):
        mine, theirs = getattr(own, group.name), getattr(other, group.name)
        if dataclasses.is_dataclass(mine):
            for entry in dataclasses.fields(mine):
                pair = [getattr(theirs, entry.name), getattr(mine, entry.name)]
                if pair[0] != pair[1]:
                    rows.append([f"`{group.name}.{entry.name}`", *map(_show, pair)])
    return (chain[-1] if len(chain) > 1 else "the defaults"), rows


def differences_table(ids: list[str]) -> str:
    """The fields in which scenarios differ from what they extend."""
    bases = sorted({differences(i)[0] for i in ids})
    header = ["scenario", "field", " or ".join(bases), "here"]
    rows = []
    for scenario_id in ids:
        found = differences(scenario_id)[1] or [["no difference", "", ""]]
        rows += [[f"`{scenario_id}`", *row] for row in found]
    return table(header, rows, 4)


def headroom_links(ids: list[str]) -> str:
    """Links to the headroom tables that have been computed; nothing for the others."""
    present = [page.stem for i in ids for page in studied(i, FOLDER / "headroom", "md")]
    if not present:
        return ""
    return "Headroom: " + " · ".join(f"[{name}](headroom/{name}.md)" for name in present) + "\n"


def studied(scenario_id: str, folder: pathlib.Path, ending: str) -> list[pathlib.Path]:
    """Files of the studies of a scenario: on its own work, then on traces."""
    own = folder / f"{scenario_id}.{ending}"
    return [path for path in (own, *sorted(folder.glob(f"{scenario_id}-*.{ending}"))) if path.is_file()]


def all_studies() -> dict[str, tuple[str, dict[str, Any]]]:
    """The scenario and the content of every stored study, by its name, in the order of the index."""
    return {
        path.stem: (scenario_id, json.loads(path.read_text(encoding="utf-8")))
        for family in FAMILIES
        for scenario_id in members(family)
        for path in studied(scenario_id, STUDIES, "json")
    }


def gates_table() -> str:
    """What feedback pays and the gates that are not passed, of every study; the scenarios that have none."""
    header = ["scenario", "data", "feedback over static", "gates passed", "not passed"]
    rows, without = [], [i for family in FAMILIES for i in members(family)]
    for name, (scenario_id, study) in all_studies().items():
        gates = study["gates"]
        (paid,) = (gate["interval"] for gate in gates if gate["name"] == "feedback pays")
        share = f"{100 * paid['estimate']:.1f} % [{100 * paid['low']:.1f}, {100 * paid['high']:.1f}]"
        link, passed = f"[`{scenario_id}`](headroom/{name}.md)", len(gates) - len(failed_gates(study))
        rows.append([link, study["data"]["tag"], share, f"{passed} of {len(gates)}", ", ".join(failed_gates(study))])
        without = [other for other in without if other != scenario_id]
    not_measured = ", ".join(f"`{scenario_id}`" for scenario_id in without) or "none"
    return f"{table(header, rows, 5)}\nNot measured: {not_measured}.\n"


def failed_gates(study: Mapping[str, Any]) -> list[str]:
    """Names of the gates that a study does not pass."""
    return [gate["name"] for gate in study["gates"] if not gate["passed"]]


def waivers() -> dict[str, list[dict[str, Any]]]:
    """The decisions to ship a scenario all the same: by study, ``gates`` that it does not pass and the ``reason``."""
    content: dict[str, list[dict[str, Any]]] = json.loads(WAIVERS.read_text(encoding="utf-8"))
    return content


def waivers_table() -> str:
    """Every waiver with its reason, in the order of the index."""
    decided, rows = waivers(), []
    for name, (scenario_id, study) in all_studies().items():
        for waiver in decided.get(name, []):
            gates = ", ".join(waiver["gates"])
            rows.append([f"[`{scenario_id}`](headroom/{name}.md)", study["data"]["tag"], gates, waiver["reason"]])
    return table(["scenario", "data", "waived", "because"], rows, 4)


def index_table() -> str:
    """All scenarios with their descriptions and pages."""
    rows = [
        [f"[`{i}`]({family}.md)", f"{sum(load_scenario(i).role_counts.values()):,}", load_scenario(i).description]
        for family in FAMILIES
        for i in members(family)
    ]
    return table(["scenario", "agents", "what it is"], rows, 1).replace("| ---: | ---: |\n", "| ---: | --- |\n", 1)


def generated_part(name: str, family: str) -> str:
    """The text of one part of one page.

    Raises:
        KeyError: for a part that is not known.
    """
    of_all = {"index": index_table, "gates": gates_table, "waivers": waivers_table, **PARTS}
    if name in of_all:
        return of_all[name]()
    tables = {
        "agents": agents_table,
        "sizes": sizes_table,
        "differences": differences_table,
        "headroom": headroom_links,
    }
    return tables[name](members(family))


def refreshed(page: pathlib.Path) -> str:
    """The page's text with all generated parts up to date."""
    return _PART.sub(lambda m: m[1] + generated_part(m[2], page.stem) + m[3], page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    for path in (*sorted(FOLDER.glob("*.md")), *DOCUMENTS):
        path.write_text(refreshed(path), encoding="utf-8")
