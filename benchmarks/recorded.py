"""Small tables of the documents: rules on fixed validation episodes, recorded with what their figures depend on.

A record holds raw values of every episode, split, seed, data tag and command. Its fingerprint changes with what its
scenarios do, as the golden roll-outs hash it (`tests/simulator/golden_rollouts.json`), and with the overrides;
`tests/env/test_records.py` says which records are stale. The rules' own code is not part of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.progress import track

from cloudsched_env.agents import load_agent
from cloudsched_env.evaluation.protocol import play_all
from cloudsched_env.scenario import load_scenario
from cloudsched_env.whole_file import write_whole
from cloudsched_env.workload import GeneratedSource
from cloudsched_env.workload.bound import upper_bound
from cloudsched_env.workload.episode import Split

SPLIT: Split = "validation"
SEED = 0
GOLDEN = Path(__file__).parents[1] / "tests" / "simulator" / "golden_rollouts.json"
DIGITS = 6


@dataclass(frozen=True)
class Cell:
    """Rules that play one scenario.

    Attributes:
        scenario: its id.
        agents: their specs.
        overrides: fields changed by dotted name.
        metrics: what is kept of every episode.
        batch: episodes at once; figures do not depend on it.
    """

    scenario: str
    agents: tuple[str, ...]
    overrides: Mapping[str, Any] = field(default_factory=dict)
    metrics: tuple[str, ...] = ("team_reward",)
    batch: int = 16


def fingerprint(played: Iterable[tuple[str, Mapping[str, Any]]], golden: Mapping[str, str] | None = None) -> str:
    """A digest of what these scenarios do and of their overrides.

    Code may be put into another form without making records stale: what counts is every number of a roll-out.

    Args:
        played: scenarios and the fields that were changed.
        golden: hash of the roll-out of every scenario; by default the committed ones.
    """
    hashes = json.loads(GOLDEN.read_text(encoding="utf-8")) if golden is None else golden
    content = [[scenario, hashes[scenario], overrides] for scenario, overrides in played]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def current_fingerprint(record: Mapping[str, Any]) -> str:
    """The fingerprint that a record would have if it were made now."""
    return fingerprint((row["scenario"], row["overrides"]) for row in record["rows"])


def measure(cells: Sequence[Cell], episodes: int, command: str) -> dict[str, Any]:
    """Play all cells on the first fixed validation episodes, with the seeds that `cloudsched evaluate` takes."""
    rows = []
    for cell in track(cells, description="Scenarios"):
        source = GeneratedSource(load_scenario(cell.scenario, cell.overrides), SPLIT)
        fixed = source.evaluation_episodes(episodes, SEED)
        environments: dict[int, Any] = {}
        agents = {}
        for spec in cell.agents:
            played = play_all(
                load_agent(spec), source, fixed, SEED, batch_size=cell.batch, environments=environments
            ).metrics
            agents[spec] = {name: [round(float(value), DIGITS) for value in played[name]] for name in cell.metrics}
        bound = [round(float(upper_bound(source.scenario, episode).team_reward), DIGITS) for episode in fixed]
        rows.append({"scenario": cell.scenario, "overrides": dict(cell.overrides), "agents": agents, "bound": bound})
    return {
        "command": command,
        "split": SPLIT,
        "seed": SEED,
        "episodes": episodes,
        "data_tag": fixed[0].data_tag,
        "fingerprint": fingerprint((cell.scenario, cell.overrides) for cell in cells),
        "rows": rows,
    }


def write(path: Path, record: Mapping[str, Any]) -> None:
    """Store a record, a line for each scenario."""
    head = {name: value for name, value in record.items() if name != "rows"}
    rows = ",\n".join(json.dumps(row) for row in record["rows"])
    write_whole(path, json.dumps(head, indent=1)[:-2] + f',\n "rows": [\n{rows}\n]\n}}\n')
