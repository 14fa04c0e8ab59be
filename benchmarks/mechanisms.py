"""One figure for every mechanism of the simulator: points from the compiled kernel, lines from theory.

    python benchmarks/mechanisms.py                       # all of them, into docs/images/mechanisms
    python benchmarks/mechanisms.py --only cache --only quorum --out figures

The runs are those that the textbook tests check (tests/simulator/mechanisms), with more points. Everything is seeded:
the same code writes the same bytes.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import track

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the runs are shared with the tests, which are no installed package

from tests.simulator.mechanisms import (  # noqa: E402
    background,
    backoff,
    cache,
    compaction,
    dispatch,
    elastic,
    failure,
    memory,
    processor,
    purge,
    storage,
    telemetry,
)

Axes = Any
Figure = Callable[[Any], None]
LARGEST_BYTES = 100_000
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")  # told apart by colour-blind readers too
THEORY = {"color": "black", "linewidth": 1.0, "zorder": 1}


def label(axes: Axes, x: str, y: str, title: str, legend: str | None = "best") -> None:
    """Name the axes of a panel."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.25, linewidth=0.6)
    if legend is not None:
        axes.legend(frameon=False, fontsize=8, loc=legend)


def processor_sharing(figure: Any) -> None:
    """M/G/1 with processor sharing: slowdown over load, response time over size; throughput under over-commitment."""
    left, right, last = figure.subplots(1, 3)
    loads = np.array([0.1, 0.3, 0.5, 0.6, 0.7, 0.8])
    fine = np.linspace(0.02, 0.85, 100)
    left.plot(fine, 1 / (1 - fine), **THEORY, label="theory: 1 / (1 - load)")
    left.plot(fine, 1 + fine / (2 * (1 - fine)), "--", color="grey", linewidth=1, label="if FIFO, deterministic")
    left.plot(fine, 1 + 2.5 * fine / (1 - fine), ":", color="grey", linewidth=1, label="if FIFO, hyperexponential")
    for kind, colour, marker in zip(processor.SIZES, COLOURS, "osD", strict=False):
        runs = [processor.run_m_g_1(kind, load, step_s=0.07, clusters=96, tasks=400, seed=1) for load in loads]
        means, errors = np.array([run.slowdown() for run in runs]).T
        left.errorbar(loads, means, 2 * errors, fmt=marker, color=colour, markersize=4, capsize=2, label=kind)
    left.set_ylim(0, 8)
    label(left, "load", "mean response time / mean size", "Insensitive to the size distribution")
    run = processor.run_m_g_1("hyperexponential", 0.6, step_s=0.07, clusters=96, tasks=400, seed=1)
    edges = np.array([0.0, 0.3, 0.6, 1, 1.5, 2, 3, 4, 6, 9])
    for low, high in itertools.pairwise(edges):
        chosen = (run.size_s >= low) & (run.size_s < high)
        response = run.response_s[chosen]
        right.errorbar(run.size_s[chosen].mean(), response.mean(), 2 * response.std() / np.sqrt(chosen.sum()),
                       fmt="D", color=COLOURS[2], markersize=4, capsize=2)  # fmt: skip
    right.plot([0, 8], [0, 8 / 0.4], **THEORY, label="theory: size / (1 - load)")
    label(right, "size (s)", "mean response time (s)", "Proportional to size (load 0.6)")
    tasks = np.array([2, 4, 6, 8, 10, 12, 14, 16, 20, 24, 28])
    fine = np.linspace(0.1, 3.6, 200)
    for slope, colour in ((0.0, COLOURS[0]), (0.7, COLOURS[1])):
        measured = processor.run_over_commitment(tasks, slope=slope, onset=1.5) / 8
        last.plot(tasks / 8, measured, "o", color=colour, markersize=4, label=f"slope {slope:g}, onset 1.5")
        last.plot(fine, processor.over_committed_throughput(fine, slope=slope, onset=1.5) / 8, **THEORY)
    label(last, "running cores / cores", "useful work / capacity", "Over-commitment", "lower right")


def littles_law(figure: Any) -> None:
    """A busy period, and L against lambda W."""
    left, right = figure.subplots(1, 2)
    run = processor.run_busy_period(node_cores=8.0, seed=0)
    time_s = np.arange(len(run.in_system)) * run.step_s
    shown = time_s <= 100
    left.plot(time_s[shown], run.in_system[shown], color=COLOURS[0], linewidth=1.2, label="in the system")
    left.plot(time_s[shown], run.waiting[shown], color=COLOURS[1], linewidth=1.2, label="waiting")
    label(left, "time (s)", "tasks", "A busy period")
    for cores, colour in zip((6.0, 8.0, 12.0, 24.0), COLOURS, strict=False):
        points = []
        for seed in range(6):
            run = processor.run_busy_period(node_cores=cores, seed=seed, steps=2500)
            duration = (len(run.in_system) - 1) * run.step_s
            rate = len(run.arrival_s) / duration
            points.append((rate * (run.finish_s - run.arrival_s).mean(), run.in_system.sum() * run.step_s / duration))
        right.plot(*np.array(points).T, "o", color=colour, markersize=4, label=f"{cores:g} cores")
    top = right.get_xlim()[1]
    right.plot([0, top], [0, top], **THEORY, label="theory: L = lambda W")
    label(right, "arrival rate x mean time in the system", "mean number in the system", "Little's law")


def memory_split(figure: Any) -> None:
    """Price of spilling, and what a shrinking cache keeps."""
    left, right = figure.subplots(1, 2)
    used = np.linspace(0.25, 2.0, 15)
    fine = np.linspace(0.2, 2.0, 200)
    for slope, colour in ((1.0, COLOURS[0]), (3.0, COLOURS[1])):
        ratio = memory.run_spill(used * 5.0, tasks=4, slope=slope) / 3.0
        left.plot(used, ratio, "o", color=colour, markersize=4, label=f"slope {slope:g}")
        left.plot(fine, 1 + slope * np.maximum(0, fine - 1), **THEORY)
    label(left, "memory of running tasks / execution memory", "run time / base time", "Spilling")
    hot = np.array([500.0, 1000.0, 1500.0])
    valid, fraction = memory.run_shrink(hot, (0.5, 0.1), slew_per_step=0.05, steps=12)
    time_s = np.arange(len(valid)) * 0.1
    for column, size, colour in zip(valid.T, hot, COLOURS, strict=False):
        right.plot(time_s, column, "o", color=colour, markersize=4, label=f"hot set {size:g} MB")
        right.plot(time_s, size * np.minimum(1, 10_000 * fraction / hot.sum()), **THEORY)
    label(right, "time (s)", "cached (MB)", "Shrinking the cache from 5 to 1 GB")


def cache_warmth(figure: Any) -> None:
    """Hit ratio under Zipf references, departure of large inserts, warmth under writes."""
    left, middle, right = figure.subplots(1, 3)
    shards, size = 50, 100.0
    caches = np.array([150, 250, 500, 1000, 1500, 2500, 3500, 4500.0])
    fine = np.linspace(50, 4900, 60)
    for exponent, colour in ((0.4, COLOURS[0]), (0.8, COLOURS[1]), (1.2, COLOURS[2])):
        popularity = cache.zipf(shards, exponent)
        theory = [(popularity * cache.random_replacement_hits(popularity, size, k)).sum() for k in fine]
        left.plot(fine / (shards * size), theory, **THEORY)
        measured = [
            cache.run_references(popularity, hot_set_mb=size, cache_mb=k, read_share=0.1,
                                 warm_up=1500, steps=1500, clusters=6, seed=3)[0]
            for k in caches
        ]  # fmt: skip
        left.plot(caches / (shards * size), measured, "o", color=colour, markersize=4, label=f"Zipf {exponent:g}")
    label(left, "cache / all hot sets", "byte hit ratio", "Random replacement (Che)")
    sizes = np.array([10.0, 20, 50, 100, 200, 333, 500])
    gap = cache.departure_by_shard_size(sizes, 1000.0, 4.0, warm_up=300, steps=2000, clusters=8, seed=1)
    middle.plot(sizes / 1000, 100 * np.array(gap), "o-", color=COLOURS[1], markersize=4, linewidth=0.8)
    middle.axhline(0, **THEORY)
    label(middle, "one read / cache", "simulated - theory (points)", "Departure of large reads", legend=None)
    ratios = np.logspace(-1.3, 1.3, 9)
    fine = np.logspace(-1.5, 1.5, 100)
    for k, colour, name in ((1e5, COLOURS[0], "cache of 1000 hot sets"), (150.0, COLOURS[1], "cache of 1.5 hot sets")):
        warmth = [cache.run_invalidation(5.0, 5.0 * x, hot_set_mb=100.0, cache_mb=k, steps=6000).reader for x in ratios]
        right.semilogx(ratios, warmth, "o", color=colour, markersize=4, label=name)
        right.semilogx(fine, cache.invalidated_warmth(5.0, 5.0 * fine, 100.0, k), **THEORY)
    label(right, "written / read (MB/s per MB/s)", "warmth of the reader", "Invalidation by writes")


def storage_sharing(figure: Any) -> None:
    """Stream factors on their way, and reads that arrive at random."""
    left, right = figure.subplots(1, 2)
    for streams, colour in ((4, COLOURS[0]), (10, COLOURS[1]), (40, COLOURS[2])):
        run = storage.run_streams([0.5] * streams, 20000.0, steps=25)
        left.semilogy(np.arange(26) * 0.1, run.stream_factor, "o-", color=colour, markersize=3, linewidth=0.8,
                      label=f"{streams} streams")  # fmt: skip
        fixed = storage.shared_stream_factor([0.5] * streams, 20000.0, 500.0, storage.BANDWIDTH_MB_PER_S)
        left.axhline(fixed, **THEORY)
    left.set_ylim(0.03, 4)
    label(left, "time (s)", "stream factor", "From full speed to a fair share", "upper right")
    loads = np.array([0.2, 0.4, 0.6, 0.7, 0.8])
    fine = np.linspace(0.02, 0.85, 100)
    right.plot(fine, 1 / (1 - fine), **THEORY, label="theory: 1 / (1 - load)")
    for step_s, colour, marker in ((0.1, COLOURS[1], "s"), (0.05, COLOURS[0], "o")):
        runs = [storage.run_random_streams(load, step_s=step_s, clusters=64, tasks=250, seed=0) for load in loads]
        means, errors = np.array([run.stepped.slowdown() for run in runs]).T
        right.errorbar(loads, means, 2 * errors, fmt=marker, color=colour, markersize=4, capsize=2,
                       label=f"steps of {step_s:g} s")  # fmt: skip
    label(right, "load of the storage node", "time of a read / time alone", "Reads of 1 s that arrive at random")


def quorum_writes(figure: Any) -> None:
    """Order statistics of write delays, and how a replica catches up."""
    left, right, last = figure.subplots(1, 3)
    counts = np.arange(1, 10)
    for quorum, colour, name in ((True, COLOURS[0], "majority"), (False, COLOURS[1], "fastest replica")):
        means, errors, theory = [], [], []
        for replicas in counts:
            delay = 1 + np.random.default_rng(int(replicas)).exponential(1.0, (600, replicas))
            measured = storage.run_writes(delay, quorum=quorum)
            means.append(measured.mean())
            errors.append(2 * measured.std(ddof=1) / np.sqrt(len(measured)))
            theory.append(1 + storage.harmonic_gap(int(replicas), replicas // 2 + 1 if quorum else 1))
        left.errorbar(counts, means, errors, fmt="o", color=colour, markersize=4, capsize=2, label=name)
        left.plot(counts, theory, **THEORY)
    label(left, "replicas", "mean write time / fastest possible", "Replica delays 1 + Exp(1)")
    x = np.linspace(0, 4, 200)
    late = np.exp(-x)
    delay = 1 + np.random.default_rng(0).exponential(1.0, (1000, 3))
    for quorum, colour, name in ((True, COLOURS[0], "2 of 3"), (False, COLOURS[1], "1 of 3")):
        measured = np.sort(storage.run_writes(delay, quorum=quorum))
        right.step(measured[::20], np.arange(0, 1000, 20) / 1000, where="post", color=colour, label=name)
        theory = 1 - 3 * late**2 + 2 * late**3 if quorum else 1 - late**3
        right.plot(1 + x, theory, **THEORY)
    right.set_xlim(1, 4)
    label(right, "write time / fastest possible", "share of writes", "Distribution with three replicas")
    time_s = np.arange(301) * 0.1
    for rate, colour in ((100.0, COLOURS[0]), (300.0, COLOURS[1]), (500.0, COLOURS[2])):
        last.plot(time_s[:151:5], storage.run_catch_up(rate, outage_s=5.0)[:151:5], "o", color=colour, markersize=3,
                  label=f"{rate:g} MB/s")  # fmt: skip
        theory = np.minimum(rate * np.clip(time_s - 1, 0, 5), rate * 5 - (1000 - rate) * (time_s - 6))
        last.plot(time_s[:151], np.maximum(0, theory)[:151], **THEORY)
    last.set_xlim(0, 15)
    label(last, "time (s)", "apply lag (MB)", "Down from 1 s to 6 s, 1000 MB/s")


def compaction_debt(figure: Any) -> None:
    """Where debt settles, a stall, and the cycle of a relay."""
    left, middle, right = figure.subplots(1, 3)
    rates = np.array([5.0, 20, 40, 55, 65, 72, 80, 85, 88])
    run = compaction.run_writer(rates, steps=6000)
    fine = np.linspace(0, 90, 200)
    left.plot(fine, compaction.stationary_debt(run.scenario, fine, 0.2) / 1000, **THEORY, label="theory")
    left.plot(rates, run.debt_mb[-1] / 1000, "o", color=COLOURS[0], markersize=4, label="after 600 s")
    left.axhline(1, color=COLOURS[1], linestyle="--", linewidth=1, label="soft limit")
    left.axvline(compaction.stall_threshold_mb_per_s(run.scenario, 0.2), color=COLOURS[1], linestyle=":", linewidth=1)
    left.set_ylim(0, 2.6)
    label(left, "written (MB/s)", "debt (s of bandwidth)", "Where debt settles")
    for share, colour in ((0.1, COLOURS[1]), (0.2, COLOURS[0]), (0.4, COLOURS[2])):
        run = compaction.run_writer(300.0, steps=400, saturating=True, storage__background_shares=(share,))
        fixed = compaction.throttled_debt(run.scenario, 300.0, share)
        middle.plot(np.arange(400) * 0.1, run.written_mb[:, 0] / 0.1, color=colour, label=f"share {share:g}")
        middle.axhline(share * 1000 * fixed / (fixed + 300) / 2, **THEORY)
    label(middle, "time (s)", "written (MB/s)", "A writer of 300 MB/s is slowed down")
    run = compaction.run_writer(
        60.0, steps=3600, control=compaction.relay(0.5, 0.8), storage__background_shares=(0.05, 0.4),
        compaction__efficient_debt_s=0.0, compaction__soft_limit_s=10.0, compaction__hard_limit_s=25.0,
    )  # fmt: skip
    right.plot(np.arange(3601)[::10] * 0.1, run.debt_mb[::10, 0] / 10000, color=COLOURS[0], label="debt")
    for level in (0.5, 0.8):
        right.axhline(level, **THEORY)
    period = 3000 / 70 + 3000 / 280
    start = (np.flatnonzero(np.diff(run.background_share[:, 0]) > 0)[0] + 1) * 0.1
    for k in range(5):
        right.axvline(start + k * period, color="black", linestyle=":", linewidth=1)
    label(right, "time (s)", "debt (soft limits)", f"Relay: theory has a period of {period:.1f} s", legend=None)


def telemetry_loss(figure: Any) -> None:
    """Losses in a row, and what a scheduler is shown meanwhile."""
    left, right = figure.subplots(1, 2)
    most = 14
    for loss, burst, colour, name in (
        (0.3, 1.0, COLOURS[0], "30 %, independent"),
        (0.7, 1.0, COLOURS[1], "70 %, independent"),
        (0.3, 8.0, COLOURS[2], "30 %, bursts of 8"),
    ):
        lost = telemetry.run_telemetry(loss=loss, burst=burst, steps=1500).losses()
        measured = np.bincount(lost.ravel(), minlength=most + 1)[: most + 1] / lost.size
        left.semilogy(np.arange(most + 1), measured, "o", color=colour, markersize=4, label=name)
        left.semilogy(np.arange(most + 1), telemetry.losses_in_a_row(loss, burst, most), **THEORY)
    left.set_ylim(1e-5, 1)
    label(left, "deliveries missed in a row", "share of links", "Geometric ages")
    run = telemetry.run_telemetry(
        loss=0.5, burst=1.0, every=5, delay=5, nodes=4, clusters=1, steps=150, arrivals_per_step=1.0
    )
    right.step(np.arange(151), run.true_load[:, 0, 1], where="post", color="grey", linewidth=1, label="true")
    right.step(np.arange(151), run.shown_load[:, 0, 1], where="post", color=COLOURS[0], linewidth=1.4, label="shown")
    label(right, "step", "running cores / cores", "Every 5 steps, 5 late, half of it lost")


def dispatch_rate(figure: Any) -> None:
    """The scheduler as a server, and refusals by a dead node."""
    left, right = figure.subplots(1, 2)
    for rate, colour in ((70, COLOURS[0]), (100, COLOURS[1]), (160, COLOURS[2])):
        run = dispatch.run_dispatch((np.arange(rate * 20) + 0.5) / rate, slots=8, steps=200)
        time_s = np.arange(201) * 0.1
        left.plot(time_s[::10], run.queue_length[::10], "o", color=colour, markersize=3, label=f"{rate} tasks/s")
        left.plot(time_s, np.maximum(0, rate - 80) * time_s, **THEORY)
    label(left, "time (s)", "scheduler's queue (tasks)", "8 slots per step of 0.1 s: 80 tasks/s")
    run = dispatch.run_refusals(slots=8, every=5, delay=5, crash_step=12, repair_step=42, steps=70, tasks=800)
    step = np.arange(70)
    right.bar(step, run.bounced, width=1, color=COLOURS[1], label="refused by the dead node")
    right.bar(step, run.masked, width=1, color=COLOURS[4], label="masked: known to be dead")
    for event, name in ((12, "crash"), (42, "repair")):
        right.axvline(event - 0.5, ymax=0.75, color="black", linewidth=1)
        right.text(event, 8.4, name, fontsize=8)
        seen = event + dispatch.blind_steps(5, 5, event)
        right.axvline(seen - 0.5, ymax=0.75, color="black", linestyle=":", linewidth=1)
        right.text(seen, 8.4, "seen", fontsize=8)
    right.set_ylim(0, 12)
    label(right, "step", "placements per step", "Telemetry every 5 steps, 5 late", "upper left")


def node_failures(figure: Any) -> None:
    """Availability over time, and completion with restarts."""
    left, right = figure.subplots(1, 2)
    for mttr_s, colour in ((1.0, COLOURS[0]), (4.0, COLOURS[1]), (10.0, COLOURS[2])):
        time_s, up = failure.run_availability(
            mtbf_s=10.0, mttr_s=mttr_s, role="compute", steps=400, clusters=30, seed=1
        )
        left.plot(time_s[::8], up[::8], "o", color=colour, markersize=3, label=f"repair in {mttr_s:g} s")
        left.plot(time_s, failure.availability(time_s, 10.0, mttr_s), **THEORY)
    left.set_ylim(0.4, 1.2)
    label(left, "time (s)", "share of nodes that are up", "A crash every 10 s of up time", "upper right")
    works = np.array([0.5, 1, 2, 3, 4, 5])
    fine = np.linspace(0.1, 5.2, 100)
    means, errors = [], []
    for i, work in enumerate(works):
        run = failure.run_restarts(float(work), mtbf_s=2.0, mttr_s=1.0, steps=4000, clusters=250, seed=1000 * i)
        means.append(run.finish_s.mean())
        errors.append(2 * run.finish_s.std(ddof=1) / np.sqrt(len(run.finish_s)))
    right.errorbar(works, means, errors, fmt="o", color=COLOURS[0], markersize=4, capsize=2, label="simulated")
    exact = [failure.mean_time_with_restarts(float(x), mtbf_s=2.0, mttr_s=1.0) for x in fine]
    right.plot(fine, exact, **THEORY, label="theory: (MTBF + MTTR)(exp(x / MTBF) - 1)")
    stepped = [failure.mean_time_with_restarts(float(x), mtbf_s=2.0, mttr_s=1.0, step_s=0.1) for x in fine]
    right.plot(fine, stepped, ":", color=COLOURS[1], label="theory with steps of 0.1 s")
    right.plot(fine, fine, "--", color="grey", linewidth=1, label="without crashes")
    right.set_yscale("log")
    label(right, "work x (s)", "mean completion time (s)", "Restarts: MTBF 2 s, MTTR 1 s")


def noisy_neighbours(figure: Any) -> None:
    """Availability of cores, how long disturbances last, and tasks on the cores that are left."""
    left, middle, last = figure.subplots(1, 3)
    time_s = np.arange(121) * 0.1
    for disturbed_s, colour in ((1.0, COLOURS[0]), (4.0, COLOURS[1])):
        shares = background.run_neighbours(quiet_s=4.0, disturbed_s=disturbed_s, steps=120, nodes=200, clusters=15)
        disturbed = shares.reshape(121, -1) < 1.0
        again = disturbed[:, disturbed[0]].mean(axis=1)
        left.plot(
            time_s[::4], again[::4], "o", color=colour, markersize=3, label=f"after a disturbance, {disturbed_s:g} s"
        )
        left.plot(time_s, background.disturbed_again(time_s, 4.0, disturbed_s), **THEORY)
        left.plot(time_s[::4], disturbed.mean(axis=1)[::4], "^", color=colour, markersize=3, label="all nodes")
        left.axhline(disturbed_s / (4.0 + disturbed_s), **THEORY)
    left.set_ylim(0, 1.35)
    label(left, "time (s)", "share of nodes that are disturbed", "Quiet for 4 s on average", "upper right")
    means = np.array([0.5, 1, 2, 4, 8, 16])
    fine = np.linspace(0.2, 17, 100)
    for loss, colour in (((0.3, 0.6), COLOURS[0]), ((0.1, 0.2), COLOURS[1]), ((0.95, 0.95), COLOURS[2])):
        capacity = [
            background.run_neighbours(
                quiet_s=4.0, disturbed_s=float(d), loss=loss, steps=300, nodes=100, clusters=10, seed=2
            ).mean()
            for d in means
        ]
        middle.plot(means, capacity, "o", color=colour, markersize=4, label=f"losses {loss[0]:g} to {loss[1]:g}")
        middle.plot(fine, 1 - fine / (4 + fine) * sum(loss) / 2, **THEORY)
    middle.set_ylim(0, 1.3)
    label(middle, "mean length of a disturbance (s)", "mean share of cores left", "Capacity", "upper right")
    demands = np.array([2, 3, 4, 5, 6, 8, 12, 16])
    for share, colour in ((1.0, COLOURS[0]), (0.7, COLOURS[1]), (0.4, COLOURS[2])):
        times_s = [background.run_schedule([d / 4] * 4, 6.0, [0], [share], steps=700).max() for d in demands]
        last.plot(demands, times_s, "o", color=colour, markersize=4, label=f"{8 * share:g} of 8 cores left")
        last.plot(demands, [background.time_to_do(6.0, float(d), [0], [share]) for d in demands], **THEORY)
    label(last, "cores that four tasks ask for", "run time (s), alone 6 s", "Only who needs them misses them")


def back_off(figure: Any) -> None:
    """What tasks that are deferred again and again cost the others."""
    left, right = figure.subplots(1, 2)
    rates = np.array([1.0, 2, 3, 4, 5, 5.5, 6, 6.4])
    fine = np.linspace(0.5, 6.5, 200)
    for steps, colour in ((5, COLOURS[0]), (10, COLOURS[1]), (20, COLOURS[2])):
        waits = []
        for rate in rates:
            run = backoff.run_deferral(held=60, rate_per_step=rate, slots=8, backoff_steps=steps, steps=1500)
            settled = (run.arrival_s > 80) & (run.arrival_s < 140)
            waits.append(np.nanmean((run.start_s - run.arrival_s)[settled]) / 0.1 - 0.5)
        left.plot(rates, waits, "o", color=colour, markersize=4, label=f"back-off of {steps} steps")
        left.plot(fine, backoff.held_back_wait_steps(fine, held=60, slots=8, backoff_steps=steps), **THEORY)
    label(left, "arrivals per step", "wait for a slot (steps)", "60 held tasks, 8 slots a step", "upper left")
    time_s = np.arange(301) * 0.1
    for steps, colour in ((0, COLOURS[1]), (5, COLOURS[0]), (10, COLOURS[2])):
        run = backoff.run_deferral(held=60, rate_per_step=4.0, slots=8, backoff_steps=steps, steps=300, held_at_s=5.0)
        started = (run.start_s < time_s[:, None] - 1e-9).sum(axis=1)
        right.plot(
            time_s, started, color=colour, linewidth=1.4, label=f"back-off of {steps} steps" if steps else "none"
        )
    right.plot(time_s, 4 * time_s / 0.1, "--", color="grey", linewidth=1, label="arrived")
    label(right, "time (s)", "tasks placed", "60 tasks that fit nowhere come at 5 s", "upper left")


def elastic_nodes(figure: Any) -> None:
    """Gain of sleeping through a pause over its length, for several lead times and costs."""
    left, right = figure.subplots(1, 2)
    pauses = np.array([1.0, 3.0, 6.0, 10.0, 15.0, 20.0, 25.0, 30.0])

    def gain(wake_s: float, cost: float) -> Any:
        run = elastic.run_pause
        return [
            run(p, sleep=True, wake_s=wake_s, cost=cost) - run(p, sleep=False, wake_s=wake_s, cost=cost) for p in pauses
        ]

    for wake_s, colour in zip((0.5, 1.1, 4.0), COLOURS, strict=False):
        left.plot(pauses, gain(wake_s, 0.3), "o", color=colour, markersize=4, label=f"lead time {wake_s:g} s")
        left.plot(pauses, elastic.expected_gain(pauses, wake_s, 0.3), **THEORY)
    label(left, "pause (s)", "reward gained by sleeping (s)", "Lead time (cost 0.3)", "upper left")
    for cost, colour in zip((0.1, 0.3, 0.6), COLOURS, strict=False):
        right.plot(pauses, gain(1.1, cost), "o", color=colour, markersize=4, label=f"cost {cost:g}")
        right.plot(pauses, elastic.expected_gain(pauses, 1.1, cost), **THEORY)
    for axes in (left, right):
        axes.axhline(0, color="grey", linewidth=0.8)
    label(right, "pause (s)", "reward gained by sleeping (s)", "Cost of cores (lead time 1.1 s)", "upper left")


def purging(figure: Any) -> None:
    """Where garbage settles, what it costs, and the share of the cores that is best spent on it."""
    left, middle, right = figure.subplots(1, 3)
    rates = np.array([10.0, 40, 80, 110, 140, 160, 175])
    fine = np.linspace(1, 185, 200)
    for efficient, colour in ((0.2, COLOURS[0]), (0.05, COLOURS[1])):
        run = purge.run_writer(rates, share=0.25, steps=6000, purge__efficient_garbage=efficient)
        settled = run.garbage_mb[-1] / purge.SOFT_MB
        left.plot(rates, settled, "o", color=colour, markersize=4, label=f"half efficient at {efficient:g}")
        left.plot(fine, purge.stationary_garbage_mb(run.scenario, fine, 0.25) / purge.SOFT_MB, **THEORY)
    left.axvline(200, color="grey", linestyle=":", linewidth=1, label="rate of two cores")
    left.set_ylim(0, 2.6)
    label(left, "written (MB/s)", "garbage (soft limits)", "A quarter of 8 cores purges 200 MB/s", "upper left")
    depth = np.array([0, 0.25, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 5])
    for slope, colour in ((0.15, COLOURS[0]), (0.4, COLOURS[1])):
        ratio = purge.run_slowdown(depth, slope=slope)
        middle.plot(depth, ratio, "o", color=colour, markersize=4, label=f"slope {slope:g}, cap 3")
        middle.plot(np.linspace(0, 5, 100), 1 + slope * np.minimum(np.linspace(0, 5, 100), 3), **THEORY)
    middle.set_ylim(0.9, 2.6)
    label(middle, "garbage (soft limits)", "run time / base time", "What it costs", "upper left")
    shares = np.array([0.0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5])
    fine = np.linspace(0, 0.5, 101)
    for written, colour in ((5.0, COLOURS[2]), (20.0, COLOURS[0]), (40.0, COLOURS[1])):
        runs = [purge.run_writer(written, share=s, steps=6000, tasks=16, purge__slowdown_slope=0.3) for s in shares]
        useful = [float(run.useful_cores[-1, 0]) for run in runs]
        right.plot(shares, useful, "o", color=colour, markersize=4, label=f"{written:g} MB per core-second")
        right.plot(fine, [purge.saturated_useful_cores(runs[0].scenario, written, s) for s in fine], **THEORY)
    right.set_ylim(3, 9.4)
    label(
        right, "share of the cores that purges", "useful cores of 8", "A node whose cores are all busy", "upper right"
    )


FIGURES: dict[str, tuple[Figure, int]] = {
    "processor-sharing": (processor_sharing, 3),
    "littles-law": (littles_law, 2),
    "memory": (memory_split, 2),
    "cache": (cache_warmth, 3),
    "storage-sharing": (storage_sharing, 2),
    "quorum": (quorum_writes, 3),
    "compaction": (compaction_debt, 3),
    "telemetry": (telemetry_loss, 2),
    "dispatch": (dispatch_rate, 2),
    "failures": (node_failures, 2),
    "background": (noisy_neighbours, 3),
    "purge": (purging, 3),
    "back-off": (back_off, 2),
    "elastic": (elastic_nodes, 2),
}
EPILOG = (
    "Examples: [bold]python benchmarks/mechanisms.py[/bold] draws all; "
    "[bold]python benchmarks/mechanisms.py --only cache --out figures[/bold] draws one elsewhere."
)
app = typer.Typer(add_completion=False, rich_markup_mode="rich")


@app.command(epilog=EPILOG)
def main(
    only: Annotated[
        list[str] | None, typer.Option(help=f"Draw only this one; repeatable. One of: {', '.join(FIGURES)}.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the SVG files.", show_default="docs/images/mechanisms")] = ROOT
    / "docs"
    / "images"
    / "mechanisms",
) -> None:
    """Draw a figure for every mechanism of the simulator, from the compiled kernel against theory."""
    try:
        import matplotlib
    except ImportError:
        raise typer.BadParameter('drawing needs matplotlib: pip install "cloudsched-env[viz]"') from None
    unknown = set(only or ()) - FIGURES.keys()
    if unknown:
        raise typer.BadParameter(f"unknown mechanism {sorted(unknown)}: expected some of {list(FIGURES)}")
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "cloudsched", "font.size": 9, "axes.spines.top": False})
    matplotlib.rcParams.update({"axes.spines.right": False, "svg.fonttype": "none", "font.family": "sans-serif"})
    from matplotlib.figure import Figure as Canvas

    out.mkdir(parents=True, exist_ok=True)
    console = Console()
    for name in track(list(only or FIGURES), description="Drawing", console=console):
        draw, panels = FIGURES[name]
        figure = Canvas(figsize=(4.1 * panels, 3.1), layout="constrained")
        draw(figure)
        path = out / f"{name}.svg"
        figure.savefig(path, metadata={"Date": None})
        size = path.stat().st_size
        console.print(f"{path} ({size / 1000:.0f} kB)", highlight=False, soft_wrap=True)
        if size > LARGEST_BYTES:
            raise RuntimeError(f"{path} has {size} bytes: expected at most {LARGEST_BYTES}; draw fewer points")


if __name__ == "__main__":
    app()
