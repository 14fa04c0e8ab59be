"""The stages of a headroom study, in order, each stored as soon as it is done and not repeated while it is valid.

A stored result is valid as long as its key (`cloudsched_env.headroom.result_key`) is the same: a digest of the
scenario, the data, the settings that the stage reads, the code it runs and the keys of the stages that it builds on.
"""

from __future__ import annotations

import dataclasses
import json
import math
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudsched_env
from cloudsched_env.agents import load_agent
from cloudsched_env.agents.identity import agent_identity
from cloudsched_env.agents.protocol import ClusterInfo
from cloudsched_env.headroom import couplings, knockout, learned, local_rewards, policies, staleness
from cloudsched_env.headroom.bench import Bench, Progress, Silent
from cloudsched_env.headroom.gates import compute_gates
from cloudsched_env.headroom.joint import best_joint_heuristic
from cloudsched_env.headroom.result_key import data_digest, result_key
from cloudsched_env.headroom.settings import HeadroomSettings
from cloudsched_env.scenario import Scenario
from cloudsched_env.vector import CloudSchedVectorEnv
from cloudsched_env.whole_file import write_whole
from cloudsched_env.workload.tasks import RawTasks

__all__ = ["STAGES", "Study", "run_study", "stage_names", "with_needed"]

Run = Callable[[Bench, HeadroomSettings, Mapping[str, Any], Path], dict[str, Any]]

_SEARCH = (
    "train_windows", "validation_windows", "windows", "population", "elite_share", "validate_every",
    "placement_deviation", "context_deviation", "defer_deviation", "defer_context_deviation",
    "level_deviation", "level_weight_deviation",
)  # fmt: skip
_GRID = ("validation_windows", "grid_windows", "grid_reduction")


@dataclass(frozen=True)
class Stage:
    """One part of a study.

    Attributes:
        name: its name on the command line and in files.
        doc: one line for people.
        run: measures; gets the results of the stages before it and a folder for the state of searches.
        needs: stages whose results it reads.
        settings: fields of `HeadroomSettings` that it reads, beside ``seed`` and ``episodes``.
        modules: modules of this package whose code its result depends on.
    """

    name: str
    doc: str
    run: Run
    needs: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()


def _bounds(bench: Bench, settings: HeadroomSettings, done: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    # Imported here: the linear program needs HiGHS, which the other stages do without.
    from cloudsched_env.headroom.bounds import study_bounds

    return study_bounds(bench, settings, done["static"], done["feedback"])


STAGES: tuple[Stage, ...] = (
    Stage(
        "heuristics",
        "random, kube-scheduler's default, every heuristic, the fluid bound",
        lambda bench, settings, done, folder: policies.heuristics(bench, settings),
        modules=("policies",),
    ),
    Stage(
        "joint",
        "the best joint heuristic: placement x compute knobs x storage knobs",
        lambda bench, settings, done, folder: best_joint_heuristic(bench, settings),
        settings=(*_GRID, "grid_placements"),
        modules=("joint",),
    ),
    Stage(
        "static",
        "linear placement and constant knobs, tuned",
        lambda bench, settings, done, folder: policies.tuned_static(bench, settings, folder),
        settings=(*_SEARCH, "static_generations", "stretches"),
        modules=("policies", "tuning", "cross_entropy"),
    ),
    Stage(
        "feedback",
        "linear placement and knobs that react to the state, tuned from the static policy",
        lambda bench, settings, done, folder: policies.tuned_feedback(bench, settings, folder, done["static"]),
        needs=("static",),
        settings=(*_SEARCH, "feedback_generations", "refinement", "stretches"),
        modules=("policies", "tuning", "cross_entropy"),
    ),
    Stage(
        "bounds",
        "offered loads; fluid bound, linear program and hindsight on shortened windows",
        _bounds,
        needs=("static", "feedback"),
        settings=(*_SEARCH, "refinement", "bound_windows", "bound_steps", "hindsight_generations"),
        modules=(
            "bounds",
            "offered",
            "windows",
            "certified",
            "plan",
            "storage_rows",
            "linear_program",
            "hindsight",
            "tuning",
            "cross_entropy",
        ),
    ),
    Stage(
        "knockout",
        "one role replaced: random, best constant, simpler rules",
        lambda bench, settings, done, folder: knockout.knock_out(bench, settings, done["static"], done["feedback"]),
        needs=("static", "feedback"),
        settings=("validation_windows",),
        modules=("knockout",),
    ),
    Stage(
        "learned",
        "one role of a trained policy replaced",
        lambda bench, settings, done, folder: learned.knock_out_learned(
            bench, settings, done["static"], done["feedback"], folder
        ),
        needs=("static", "feedback"),
        settings=(*_SEARCH, "refinement", "learned_generations", "learned"),
        modules=("learned", "knockout", "tuning", "cross_entropy"),
    ),
    Stage(
        "couplings",
        "couplings switched off one at a time and all together",
        lambda bench, settings, done, folder: couplings.switch_off(
            bench, settings, done["static"], done["feedback"], folder
        ),
        needs=("static", "feedback"),
        settings=(*_SEARCH, *_GRID, "single_couplings", "coupling_generations", "coupling_windows"),
        modules=("couplings", "joint", "tuning", "cross_entropy"),
    ),
    Stage(
        "staleness",
        "older and lost telemetry",
        lambda bench, settings, done, folder: staleness.sweep(bench, settings, done["static"], done["feedback"]),
        needs=("static", "feedback"),
        settings=("delays", "losses"),
        modules=("staleness",),
    ),
    Stage(
        "local_rewards",
        "local rewards against the team reward",
        lambda bench, settings, done, folder: local_rewards.study_local_rewards(
            bench, settings, done["feedback"], folder
        ),
        needs=("feedback",),
        settings=(*_SEARCH, "refinement", "selfish_rounds", "selfish_generations"),
        modules=("local_rewards", "tuning", "cross_entropy"),
    ),
)


@dataclass(frozen=True)
class Study:
    """A finished study.

    Attributes:
        results: of each stage.
        content: everything as JSON types: what was measured on what, gates, results.
        measured: stages that ran now; the others were stored before.
    """

    results: Mapping[str, dict[str, Any]]
    content: dict[str, Any]
    measured: list[str]


def stage_names() -> list[str]:
    """Names of all stages, in order."""
    return [stage.name for stage in STAGES]


def with_needed(names: Sequence[str], learned_policy: bool = True) -> list[Stage]:
    """The named stages and those that they build on, in order; all without a name, ``learned`` if there is a policy.

    The first stage is always among them: it has the random agent and the bound, to which everything is relative.

    Raises:
        ValueError: for an unknown name.
    """
    known = {stage.name: stage for stage in STAGES}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"unknown stage {', '.join(unknown)}: expected some of {', '.join(known)}")
    if not names and not learned_policy:
        del known["learned"]
    wanted = {STAGES[0].name, *(names or known)}
    for stage in reversed(STAGES):
        if stage.name in wanted:
            wanted.update(stage.needs)
    return [stage for stage in STAGES if stage.name in wanted]


def run_study(
    scenario: Scenario,
    out: Path,
    settings: HeadroomSettings,
    *,
    trace: Path | None = None,
    stages: Sequence[str] = (),
    threads: int = 1,
    progress: Progress | None = None,
    entered: Callable[[str, bool], None] = lambda stage, stored: None,
) -> Study:
    """Measure what has not been measured yet, and put everything together.

    Args:
        scenario: the cluster.
        out: folder of the study; results of stages lie in ``stages``, states of searches in ``search``.
        settings: sizes.
        trace: task table of an imported trace; the calibrated generator without it.
        stages: names; with those that they build on. All by default.
        threads: that play; results do not depend on it.
        progress: hears of every agent that was played.
        entered: told of each stage, and whether its result was stored already.

    Raises:
        ValueError: for an unknown stage, a learned policy that cannot be loaded, or a scenario that the data cannot
            carry.
        SolverError: if HiGHS, which the stage ``bounds`` needs, is missing or fails.
    """
    chosen = with_needed(stages, bool(settings.learned))
    if not settings.learned and any(stage.name == "learned" for stage in chosen):
        raise ValueError("stage learned needs a trained policy: give --learned FOLDER")
    tasks = RawTasks.from_file(trace) if trace is not None else None
    data = data_digest(tasks)
    keys = _keys(chosen, scenario, data, settings)
    kept = {name: _stored(_stage_file(out, name), key) for name, key in keys.items()}
    if "learned" in kept and kept["learned"] is None:
        _try_learned(settings.learned, scenario)  # before hours of other stages
    results: dict[str, dict[str, Any]] = {}
    measured: list[str] = []
    seconds: dict[str, float] = {}
    with Bench(scenario, tasks, settings.seed, threads, progress or Silent()) as bench:
        for stage in chosen:
            stored = kept[stage.name]
            entered(stage.name, stored is not None)
            if stored is None:
                key, began = keys[stage.name], time.monotonic()
                folder = out / "search" / f"{stage.name}-{key[:12]}"
                # As JSON types, so that the next stage reads the same now as from the file.
                result = _plain(stage.run(bench, settings, results, folder))
                stored = {"key": key, "seconds": time.monotonic() - began, "result": result}
                write_whole(_stage_file(out, stage.name), json.dumps(stored, allow_nan=False) + "\n")
                measured.append(stage.name)
            results[stage.name], seconds[stage.name] = stored["result"], stored["seconds"]
    content = {
        "scenario": scenario.to_dict(),
        "data": {"trace": data, "tag": results["heuristics"]["data_tag"]},
        "settings": dataclasses.asdict(settings),
        "versions": {"cloudsched-env": cloudsched_env.__version__, "python": platform.python_version()},
        "keys": keys,
        "seconds": seconds,
        "gates": [gate.to_dict() for gate in compute_gates(results, settings.seed)],
        "results": results,
    }
    return Study(results, _plain(content), measured)


def _keys(chosen: Sequence[Stage], scenario: Scenario, data: str, settings: HeadroomSettings) -> dict[str, str]:
    """The key of each stage's result, in the order of the stages."""
    keys: dict[str, str] = {}
    for stage in chosen:
        keys[stage.name] = result_key(
            stage.name,
            scenario,
            data,
            {name: _setting(settings, name) for name in ("seed", "episodes", *stage.settings)},
            stage.modules,
            [keys[name] for name in stage.needs],
        )
    return keys


def _try_learned(spec: str, scenario: Scenario) -> None:
    """Load a policy and show it the cluster.

    Raises:
        ValueError: if there is no such policy, or it cannot act there.
    """
    env = CloudSchedVectorEnv(scenario, 1)
    load_agent(spec).reset(ClusterInfo(env.scenario, env.layouts, env.action_levels, env.role_counts), 1, 0)


def _stage_file(out: Path, name: str) -> Path:
    return out / "stages" / f"{name}.json"


def _setting(settings: HeadroomSettings, name: str) -> Any:
    """Its value; of a policy what it is, wherever it lies."""
    value = getattr(settings, name)
    return agent_identity(value) if name == "learned" else value


def _plain(content: Any) -> Any:
    """As JSON types; None for a number that does not exist, as JSON has no NaN."""
    if isinstance(content, Mapping):
        return {str(name): _plain(value) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_plain(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _stored(path: Path, key: str) -> dict[str, Any] | None:
    """A result with this key, or None."""
    if not path.is_file():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    return content if content.get("key") == key else None
