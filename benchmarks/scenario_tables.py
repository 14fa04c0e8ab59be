"""The tables of rules on pages of scenarios and in ``docs/calibration.md``: what a mechanism is worth to them.

    python benchmarks/scenario_tables.py                        # all of them
    python benchmarks/scenario_tables.py --only elastic

Writes ``benchmarks/results/tables/NAME.json``; then ``python -m tests.env.scenario_pages`` renews the documents. Rules
keep their packaged parameters; nothing is tuned anew.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from recorded import SEED, Cell, measure, write

from cloudsched_env.agents import load_agent
from cloudsched_env.evaluation.protocol import play_all
from cloudsched_env.scenario import load_scenario
from cloudsched_env.workload import GeneratedSource

NO_SHIFTS = {"workload.hot_shift_interval_s": 0.0}
NO_COMPACTION = {"compaction.enabled": False}
# Where quorum and spilling might matter: crashes, skew, other mixes of work, late telemetry, other clusters.
SWITCHED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("paper-v1", {}),
    ("tiny-v1", {}),
    ("failures-v1", {}),
    ("failures-v1", {"failure.storage_failures_per_hour": 100.0}),
    ("flash-crowd-v1", {}),
    ("hot-shift-v1", {}),
    ("elastic-v1", {}),
    ("stale-50-v1", {}),
    ("loss-70-bursty-v1", {}),
    ("tenants-4-v1", {}),
    ("tenants-64-v1", {}),
    ("tenants-4-per-tenant-v1", {}),
    ("paper-alibaba2017-v1", {}),
    ("paper-snowset-v1", {}),
)
SWITCHES = ("storage.quorum_enabled", "compute.spill_enabled")
# Changes of paper-v1 that might give compute nodes or schedulers something to adapt to.
LEVERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("paper-v1", {}),
    ("paper-v1", {"compute.cache_slew_per_step": 0.002}),
    ("paper-v1", {"workload.antiphase_probability": 0.5}),
    ("hot-shift-v1", {"workload.hot_shift_interval_s": 5.0}),
)
TUNED = "linear_feedback"
CHOOSING_EPISODES = 4


def hot_shift() -> list[Cell]:
    """What shifts and compaction do to rules that follow the data and to rules that do not."""
    agents = ("least_allocated", "locality", "bounded_load_hash", "linear_feedback")
    return [
        Cell("hot-shift-v1", agents, overrides, ("team_reward", "cache_hit_ratio"))
        for overrides in ({}, NO_SHIFTS, NO_COMPACTION, NO_SHIFTS | NO_COMPACTION)
    ]


def elastic() -> list[Cell]:
    """All nodes on, the fewest, and autoscalers that keep some of them on."""
    agents = (
        "least_allocated",
        "random",
        "least_allocated+static(power_level=0)",
        *(f"least_allocated+reactive(sleep_load={load})" for load in (0.5, 0.7, 0.9)),
        "least_allocated+reactive",
        "linear_static",
        "linear_feedback",
    )
    metrics = (
        "team_reward",
        "active_core_share",
        "goodput",
        "slo_attainment",
        "scheduling_latency_p95_ms",
        "bounced",
    )
    return [Cell("elastic-v1", agents, {}, metrics)]


def switches() -> list[Cell]:
    """Quorum and spilling switched off on the shipped scenarios."""
    agents = ("random", "balanced", "linear_feedback")
    changes: list[dict[str, Any]] = [{}, *({name: False} for name in SWITCHES)]
    return [Cell(scenario, agents, other | change) for scenario, other in SWITCHED for change in changes]


def levers() -> list[Cell]:
    """What the tuned feedback policy loses with a role that does not adapt, under changes of single constants."""
    return [
        Cell(
            scenario, ("random", TUNED, with_role("scheduler", "linear_static"), best_levels(scenario, change)), change
        )
        for scenario, change in LEVERS
    ]


def with_role(role: str, spec: str) -> str:
    """The tuned feedback policy with one role of another agent."""
    roles = dict.fromkeys(("compute", "storage", "scheduler"), TUNED) | {role: spec}
    return f"mixed({', '.join(f'{name}={json.dumps(value)}' for name, value in roles.items())})"


def best_levels(scenario: str, change: dict[str, Any]) -> str:
    """The tuned feedback policy with the constant compute levels that are best on train episodes."""
    source = GeneratedSource(load_scenario(scenario, change), "train")
    fixed = source.evaluation_episodes(CHOOSING_EPISODES, SEED)
    environments: dict[int, Any] = {}

    def reward(spec: str) -> float:
        return float(
            np.mean(play_all(load_agent(spec), source, fixed, SEED, environments=environments).metrics["team_reward"])
        )

    specs = [
        with_role("compute", f"balanced+static(cache_level={cache},admission_level={admission},purge_level={purge})")
        for cache, admission, purge in itertools.product((1, 2), (1, 2), (1, 2))
    ]
    return max(specs, key=reward)


TABLES: dict[str, Callable[[], list[Cell]]] = {
    "hot-shift": hot_shift,
    "elastic": elastic,
    "switches": switches,
    "levers": levers,
}


def main(
    only: Annotated[list[str] | None, typer.Option(help="Just this table; repeatable.")] = None,
    episodes: Annotated[int, typer.Option(min=2, help="Validation episodes of each cell.")] = 16,
    results: Annotated[Path, typer.Option(help="Folder of results.")] = Path("benchmarks/results/tables"),
) -> None:
    """Measure the tables one after the other."""
    unknown = set(only or ()) - set(TABLES)
    if unknown:
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: expected {', '.join(TABLES)}", param_hint="--only")
    for name in only or TABLES:
        command = f"python benchmarks/scenario_tables.py --only {name} --episodes {episodes}"
        write(results / f"{name}.json", measure(TABLES[name](), episodes, command))


if __name__ == "__main__":
    typer.run(main)
