"""Small tables of the documents: rules on fixed validation episodes, recorded with what their figures depend on.

A record holds raw values of every episode, split, seed, data tag and command. Its fingerprint changes with the code of
simulator, roles and workload, comments and docstrings apart, and with the constants of its scenarios;
`tests/env/test_records.py` says which records are stale. The rules' own code is not part of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from rich.progress import track

from cloudsched_env.agents import load_agent
from cloudsched_env.evaluation.protocol import play_all
from cloudsched_env.headroom.result_key import _meaning
from cloudsched_env.scenario import load_scenario
from cloudsched_env.whole_file import write_whole
from cloudsched_env.workload import GeneratedSource
from cloudsched_env.workload.bound import upper_bound
from cloudsched_env.workload.episode import Split

SPLIT: Split = "validation"
SEED = 0
DYNAMICS = ("cloudsched_env.sim", "cloudsched_env.roles", "cloudsched_env.workload")
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


def fingerprint(played: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    """A digest of the dynamics and of these scenarios with their overrides."""
    digest = hashlib.sha256()
    for package in DYNAMICS:
        for entry in sorted(resources.files(package).iterdir(), key=lambda item: item.name):
            if entry.name.endswith(".py"):
                # Python 3.12 says of every function and class that it has no type parameters.
                meaning = _meaning(entry.read_text(encoding="utf-8"))
                digest.update(meaning.replace(b", type_params=[]", b""))
    for scenario, overrides in played:
        digest.update(json.dumps(load_scenario(scenario, overrides).to_dict(), sort_keys=True).encode())
    return digest.hexdigest()[:16]


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
