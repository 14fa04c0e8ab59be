"""An upper bound with perfect foresight: the cluster as a linear program over time bins, for one episode.

The fluid bound of `cloudsched_env.workload.bound` maximises the terms of the team reward one by one. Here one plan of
fractions has to serve them all: x_ib, the work done on task i in bin b, split into work before and after the task's
deadline. It maximises the weighted sum of useful and on-time work; the latency term is bounded as in the fluid bound
and the fairness term by 1, for neither is concave.

Whatever a policy does in the simulator gives a point of this program with at least its reward: the work it did in each
bin. Every constraint below is a limit that such a point keeps (equations: `docs/simulator.md`), so that adding it never
cuts off a policy, and everything that is not a constraint (where tasks run, dispatch, processor sharing, contention,
telemetry, queues, eviction, invalidation, stream factors, slow writes, outages) is relaxed, which can only raise
the optimum:

* **Time.** Bins are whole steps, with a border at the end of the warm-up. Limits hold at every instant, hence summed
  over a bin; within it, order is free.
* **Arrivals and deadlines.** Work of a task lies after its release. Goodput counts work before the deadline, also of a
  task that is not completed: more than the simulator, which counts only completed tasks, and counts a completed task's
  work exactly once. Tasks that alone cannot finish on time in the counted steps add nothing to goodput.
* **Rate.** In a bin a task does at most its fastest rate x its time in it (`fastest_rates`, with the largest warmth
  that its shard can have at the end of the bin, `warmth_limits`).
* **Processors.** Node types have their cores (by step, if they vary). Work is divided among node types at will,
  in classes of tasks.
* **Memory.** Work x at a rate of at most r takes at least x / r seconds at full efficiency, in which a task of q GB
  fills q x / r GB s. A node with execution memory E and requests Q in it yields Q e GB s per second, with efficiency
  e <= 1 / (1 + s max(0, Q/E - 1)): at most E max(1, 1/s). And Q is at most the admission limit or the largest single
  task. E is largest with the smallest cache fraction. Within a class, all tasks count with the smallest q / r.
* **Cache.** Misses are those of a best cache: infinite, never invalidated, all reads of a shard on its warmest node.
  From warmth w0 and hot set H, reads of X in all then miss at least f(X) = (1 - w0) H (1 - exp(-X/H)): a step that
  reads x hot sets misses x (1 - w) of them and leaves 1 - w at (1 - w) max(0, 1 - x) or above, and
  x + (1 - x)(1 - exp(-(X - x))) >= 1 - exp(-X). Several nodes miss more, as f is subadditive. f is concave, so it lies
  above its chord up to the most that tasks can have read by then: cumulative misses >= chord slope x cumulative reads.
* **Storage.** Per replica and bin: reads of any split among the replicas, amplified, plus writes, plus the compaction
  share, within the bandwidth. In a step, served reads keep within the share that the slowest replica in use serves, and
  writes within that of the quorum-th fastest: at least *quorum* replicas serve a write in its own step. What the others
  serve later (apply lag) is relaxed.
* **Compaction.** Debt grows by write amplification x acknowledged writes on every replica and shrinks by at most
  u B D / (D + D0), concave in D and bounded by tangents. The simulator has no hard limit, writes only slow down: none
  here either. Amplification is slope x min(D / soft, cap) x reads, a product: bounded from below by McCormick's (1976)
  two planes, over the smallest debt that full compaction leaves and the largest that all writes can reach.
* **Crashes** of compute nodes let work be done again: the bound of the reward then does without "a task's work counts
  once", as the fluid bound does, and the one of useful utilisation counts surviving work only. Both may then contain
  less writing than there was, so that the tangents are left out.

The value returned is certified by weak duality (`cloudsched_env.headroom.certified`) and never above the fluid bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloudsched_env.headroom.certified import LinearProgram
from cloudsched_env.headroom.plan import Plan, make_plan
from cloudsched_env.headroom.storage_rows import StorageVariables, add_storage
from cloudsched_env.scenario import Scenario
from cloudsched_env.workload.background import core_shares
from cloudsched_env.workload.bound import UpperBound, least_cost, upper_bound
from cloudsched_env.workload.episode import Episode

__all__ = ["ForesightBound", "foresight_bound"]

Floats = NDArray[np.float64]

BIN_STEPS = 10
_MEMORY_CLASSES = 4
# Rounding of the simulator's sums of memory requests and cache fractions.
_MEMORY_SLACK = 1.0 + 1e-9


@dataclass(frozen=True)
class ForesightBound:
    """Upper bounds of one episode with perfect foresight, means over counted steps.

    Attributes:
        team_reward: of J; no policy can exceed it on this episode.
        useful_utilisation: of useful utilisation, by a plan of its own.
        fluid: the fluid bounds of the same episode; never below.
        useful_term: U of the plan that the solver found for ``team_reward``.
        goodput_term: G of that plan.
        variables: of the linear program.
        rows: of the linear program.
        seconds: wall time of building and solving.
        optimal: whether the solver finished; after a time limit the bounds hold, but are looser.
    """

    team_reward: float
    useful_utilisation: float
    fluid: UpperBound
    useful_term: float
    goodput_term: float
    variables: int
    rows: int
    seconds: float
    optimal: bool


def foresight_bound(
    scenario: Scenario,
    episode: Episode,
    *,
    bin_steps: int = BIN_STEPS,
    capacity_factors: Floats | None = None,
    time_limit_s: float | None = None,
) -> ForesightBound:
    """What no policy can exceed on an episode, however much it knows of the future.

    The program has about tasks x (bins from arrival to the end) variables and shards x bins rows: use short windows
    (`cloudsched_env.headroom.windows.shorten`) or long bins. Measured on one core for ``paper-v1``: 200 steps, 1,100
    tasks, bins of 1 s: 17,000 variables, 7,000 rows, 3 s; a whole episode, 3,700 tasks, bins of 2 s: 79,000 variables,
    14,000 rows, 50 s. Shorter bins give tighter bounds: 0.0001 of J at most between 0.5 s and 1 s.

    Args:
        scenario: the cluster.
        episode: its work.
        bin_steps: steps of a time bin.
        capacity_factors: what is left of each compute node's cores in each step where that varies, between 0 and 1,
            ``[compute nodes, steps]``; by default what the episode's background load leaves.
        time_limit_s: stop each of the solver's runs after this long, with a looser bound.

    Raises:
        ValueError: for a wrong number of steps or shape or range of factors.
        SolverError: if HiGHS is not installed or fails.
    """
    if bin_steps < 1:
        raise ValueError(f"bin_steps is {bin_steps}: expected at least 1")
    cores = _cores_by_step(scenario, episode, capacity_factors)
    fluid = upper_bound(scenario, episode, None if capacity_factors is None else cores.sum(axis=0))
    if episode.tasks == 0:
        return ForesightBound(fluid.team_reward, fluid.useful_utilisation, fluid, 0.0, 0.0, 0, 0, 0.0, True)

    time, reward = scenario.time, scenario.reward
    nominal = sum(t.count * t.cores for t in scenario.cluster.compute_nodes)
    counted = nominal * (time.horizon_steps - time.warmup_steps) * time.step_s
    crashes = scenario.failure.compute_failures_per_hour > 0
    plan = make_plan(scenario, episode, bin_steps)
    program, x, _ = _build(scenario, episode, plan, cores, work_repeats=crashes)
    useful, on_time = (_objective(program, x, chosen / counted) for chosen in (plan.counted, plan.on_time))
    gains = reward.useful_weight * useful + reward.goodput_weight * on_time if reward.team == "mixed" else on_time
    best = program.maximise(gains, time_limit_s)
    solutions = [best]
    if crashes:
        program, x, _ = _build(scenario, episode, plan, cores, work_repeats=False)
        solutions.append(program.maximise(_objective(program, x, plan.counted / counted), time_limit_s))
    else:
        solutions.append(program.maximise(useful, time_limit_s))
    fixed = reward.latency_weight * fluid.latency_term + reward.fairness_weight * fluid.fairness_term
    # Shares of entitlement are not a linear function of the work that is done: their bound stays the fluid one.
    cost = least_cost(scenario)
    foreseen = {"mixed": best.bound + fixed - cost, "goodput": best.bound - cost}.get(reward.team, fluid.team_reward)
    return ForesightBound(
        team_reward=min(fluid.team_reward, foreseen),
        useful_utilisation=min(fluid.useful_utilisation, solutions[1].bound),
        fluid=fluid,
        useful_term=float(useful @ best.point),
        goodput_term=float(on_time @ best.point),
        variables=program.variables,
        rows=program.rows,
        seconds=sum(solution.seconds for solution in solutions),
        optimal=all(solution.optimal for solution in solutions),
    )


def _cores_by_step(scenario: Scenario, episode: Episode, factors: Floats | None) -> Floats:
    """Cores of all nodes of each type in each step, ``[node types, steps]``.

    Raises:
        ValueError: for factors of the wrong shape or outside of 0 to 1.
    """
    types, steps = scenario.cluster.compute_nodes, scenario.time.horizon_steps
    shape = (scenario.compute_count, steps)
    if factors is None:
        factors = core_shares(scenario, episode)
    if np.shape(factors) != shape:
        raise ValueError(f"capacity_factors has shape {np.shape(factors)}: expected {shape}, compute nodes and steps")
    if not ((factors >= 0.0) & (factors <= 1.0)).all():
        raise ValueError("capacity_factors: expected numbers between 0 and 1, the part of a node's cores that is left")
    first = np.cumsum([0] + [t.count for t in types[:-1]])
    return np.add.reduceat(factors, first, axis=0) * np.array([t.cores for t in types])[:, None]


def _objective(program: LinearProgram, x: NDArray[np.int64], gains: Floats) -> Floats:
    """An objective in which only work counts."""
    objective = np.zeros(program.variables)
    objective[x] = gains
    return objective


def _build(
    scenario: Scenario, episode: Episode, plan: Plan, cores: Floats, *, work_repeats: bool
) -> tuple[LinearProgram, NDArray[np.int64], StorageVariables | None]:
    """The program, the numbers of its work variables, and those of storage if its bandwidth is limited."""
    program = LinearProgram()
    x = program.add_variables(plan.most_core_s)
    # A task's work counts once. Where it may be done again, on-time work still counts once: a task completes once.
    limited = plan.on_time > 0.0 if work_repeats else np.ones(len(x), dtype=np.bool_)
    once = program.add_rows(plan.work_core_s)
    program.add_terms(once[plan.task[limited]], x[limited], 1.0)
    _add_processors(program, scenario, episode, plan, x, cores)
    storage = add_storage(program, scenario, episode, plan, x) if scenario.storage.sharing_enabled else None
    return program, x, storage


def _add_processors(
    program: LinearProgram, scenario: Scenario, episode: Episode, plan: Plan, x: NDArray[np.int64], cores: Floats
) -> None:
    """Cores and memory of node types; x is divided among them in classes of similar memory per work."""
    in_bin = np.add.reduceat(cores, plan.edges_steps[:-1], axis=1) * scenario.time.step_s  # core-s, [types, bins]
    memory = _memory_limits_gb(scenario, episode)[:, None] * plan.lengths_s  # GB s, [types, bins]
    per_work = episode.memory_gb / plan.fastest_cores  # GB s of memory per core-s of work, at least, [tasks]
    total = program.add_rows(memory.sum(axis=0))
    program.add_terms(total[plan.bin], x, per_work[plan.task])

    kind, least = _memory_classes(per_work, plan.work_core_s)
    flow = program.add_variables(np.broadcast_to(in_bin, (len(least), *in_bin.shape)))  # [classes, types, bins]
    divided = program.add_rows(np.zeros((len(least), plan.bins)))
    program.add_terms(divided[kind[plan.task], plan.bin], x, 1.0)
    program.add_terms(divided[:, None, :], flow, -1.0)
    program.add_terms(program.add_rows(in_bin)[None, :, :], flow, 1.0)
    program.add_terms(program.add_rows(memory)[None, :, :], flow, least[:, None, None])


def _memory_limits_gb(scenario: Scenario, episode: Episode) -> Floats:
    """Most memory x efficiency of all nodes of each type, in GB, ``[node types]``."""
    compute = scenario.compute
    size = np.array([t.memory_gb for t in scenario.cluster.compute_nodes])
    count = np.array([t.count for t in scenario.cluster.compute_nodes])
    smallest_cache = min(compute.cache_fractions) if compute.memory_split_enabled else 0.0
    execution = (1.0 - smallest_cache) * size
    admitted = np.maximum(max(compute.memory_overcommit) * execution, episode.memory_gb.max())
    slope = compute.spill_slope if compute.spill_enabled else 0.0
    efficient = execution * max(1.0, 1.0 / slope) if slope > 0.0 else np.full_like(execution, np.inf)
    return count * np.minimum(admitted, efficient) * _MEMORY_SLACK


def _memory_classes(per_work: Floats, work: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Classes of about equal work by memory per work: class of each task, and the smallest value of each class."""
    order = np.argsort(per_work, kind="stable")
    before = np.cumsum(work[order]) - work[order]
    kind = np.empty(len(work), dtype=np.int64)
    kind[order] = np.minimum(_MEMORY_CLASSES - 1, (before / work.sum() * _MEMORY_CLASSES).astype(np.int64))
    names, kind = np.unique(kind, return_inverse=True)
    least = np.full(len(names), np.inf)
    np.minimum.at(least, kind, per_work)
    return kind, least
