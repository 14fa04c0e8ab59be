"""The simulator once more, slow and obvious: what `docs/simulator.md` says, in plain Python.

Lists, dictionaries and small classes instead of arrays, one method for each numbered item of the page, float64
throughout. Nothing here is shared with the compiled kernel, so an error has to be made twice to go unnoticed.
Its parts are in `tests/oracle_parts.py`; rewards,
observations and invariants each have a file beside this one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from cloudsched_env.scenario import Scenario
from cloudsched_env.sim.result import TOTALS
from cloudsched_env.workload.episode import Episode
from tests import oracle_candidates, oracle_invariants, oracle_observations, oracle_rewards
from tests.oracle_parts import ComputeNode, Scheduler, StorageNode, Task, clip, ratio

Agent = tuple[str, int]
SUMMARY: Agent = ("storage", -1)
"""Publisher of the means over storage nodes, as the ``lost`` argument of `OracleCluster` names it."""


def nothing_is_lost(observer: Agent, publisher: Agent, stamp: int) -> bool:
    return False


class OracleCluster:
    """One cluster and one episode.

    Args:
        scenario: the cluster.
        episode: its work.
        lost: whether the delivery of a snapshot is lost, for observer and publisher as ``(role, index)``; the
            publisher of the storage summary is `SUMMARY`.
        outages: ``(role, index, down_step, up_step)``: the node is down from item 12 of the step that brings the
            clock to ``down_step`` until that of ``up_step``.
        key: key of the counter-based generator.
    """

    def __init__(
        self,
        scenario: Scenario,
        episode: Episode,
        *,
        lost: Callable[[Agent, Agent, int], bool] = nothing_is_lost,
        outages: Sequence[tuple[str, int, int, int]] = (),
        key: int = 0,
    ) -> None:
        self.scenario, self.episode, self.key = scenario, episode, key
        self.lost, self.outages = lost, list(outages)
        self.dt = scenario.time.step_s
        self.k = 0
        self.tasks = [self._task(i) for i in range(episode.tasks)]
        self.running: list[Task] = []
        self.finished: list[Task] = []
        self.hot_set = [float(h) for h in episode.shard_hot_set_mb]
        self.replicas = [[int(r) for r in row] for row in episode.shard_replicas]
        self.homes = [[int(n) for n in row] for row in episode.shard_homes]
        self.tenant_scheduler = [int(s) for s in episode.tenant_scheduler]
        compute, storage, compaction = scenario.compute, scenario.storage, scenario.compaction
        B = storage.bandwidth_mb_per_s
        self.soft, self.hard = compaction.soft_limit_s * B, compaction.hard_limit_s * B
        self.compute = [
            ComputeNode(
                kind.cores,
                kind.memory_gb,
                compute.initial_cache_level,
                compute.initial_admission_level,
                compute.cache_fractions[compute.initial_cache_level],
                [0.0] * len(self.hot_set),
                memory_split=compute.memory_split_enabled,
            )
            for kind in scenario.cluster.compute_nodes
            for _ in range(kind.count)
        ]
        self.cores = sum(node.cores for node in self.compute)
        for node in self.compute:
            node.purge_level = scenario.purge.initial_level
            if scenario.purge.enabled:
                node.garbage = scenario.purge.initial_garbage * self.garbage_limit(node)
        debt = compaction.initial_debt * self.soft if compaction.enabled else 0.0
        self.storage = [
            StorageNode(
                storage.initial_background_level,
                storage.initial_serve_level,
                debt,
                storage.bandwidth_mb_per_s,
                self._write_factor(debt),
            )
            for _ in range(scenario.cluster.storage_nodes)
        ]
        self.schedulers = [Scheduler() for _ in range(scenario.cluster.schedulers)]
        for shard, homes in enumerate(self.homes):
            for n in homes:
                if scenario.cache.enabled:
                    self.compute[n].valid[shard] = scenario.cache.initial_warmth * self.hot_set[shard]
        for node in self.compute:
            node.occupied = sum(node.valid)
            self._shrink_to_cache(node)
        tenants = scenario.workload.tenants
        self.served, self.arrived = [0.0] * tenants, [0.0] * tenants  # decayed, for the fairness term
        self.weights = [float(w) for w in episode.tenant_weight]
        self.totals = dict.fromkeys(TOTALS, 0.0)
        self.tenant_served, self.tenant_arrived = [0.0] * tenants, [0.0] * tenants  # counted steps
        self.useful_ever = self.lost_ever = self.arrived_ever = 0.0
        self.counted = False
        self.step_served, self.on_time = [0.0] * tenants, [0.0] * tenants  # work of the last step
        self.terms = {"useful": 0.0, "goodput": 0.0}
        self._move_background()
        self._arrive()
        self.terms |= {"latency": oracle_rewards.latency_term(self), "fairness": oracle_rewards.fairness_term(self)}
        self.team_reward = 0.0
        self.local_rewards = {role: [0.0] * count for role, count in scenario.role_counts.items()}
        self.published = {0: oracle_observations.snapshot(self)}
        for scheduler in self.schedulers:
            scheduler.compute_view = [(0, {})] * len(self.compute)
            scheduler.storage_view = [(0, {})] * len(self.storage)
        self._deliver(0, nothing_is_lost)
        oracle_candidates.choose(self)

    def _task(self, i: int) -> Task:
        e = self.episode
        amounts = (
            e.arrival_s, e.cores, e.base_time_s, e.memory_gb, e.cacheable_read_mb, e.scan_read_mb, e.write_mb,
            e.deadline_s, e.estimated_time_s, e.estimated_read_mb,
        )  # fmt: skip
        labels = (e.shard, e.tenant, e.job, e.slo_class)
        row: list[Any] = [float(column[i]) for column in amounts] + [int(column[i]) for column in labels]
        return Task(i, *row)

    # What agents see.

    def observations(self) -> dict[str, list[list[float]]]:
        return oracle_observations.observations(self)

    def state(self) -> list[float]:
        return oracle_observations.state(self)

    def masks(self) -> dict[str, list[list[int]]]:
        return oracle_observations.masks(self)

    @property
    def time(self) -> float:
        return self.k * self.dt

    @property
    def waiting(self) -> int:
        """Tasks arrived, not running nor finished."""
        return sum(task.place in ("fifo", "back-off", "queue") for task in self.tasks)

    def on_node(self, n: int) -> list[Task]:
        return [task for task in self.running if task.where == n]

    # One step.

    def step(self, actions: dict[str, Any]) -> None:
        """Advance by one control interval; actions are ``{role: [agent][sub-action]}``."""
        self.counted = self.k >= self.scenario.time.warmup_steps
        self._set_levels(actions)
        self._place(actions["scheduler"])
        self._split_memory()
        self._admit()
        read_time, write_time, splits = self._storage_paths()
        self._io_wait(read_time, write_time)
        self._share_processors()
        read_gate, write_gate = self._share_storage(splits)
        self._progress(read_gate, write_gate)
        self._spread(splits, lambda task: task.advance)
        self._complete()
        self._update_storage()
        self._update_garbage()
        self.k += 1
        self._move_background()
        self._fail_and_repair()
        self._settle_power()
        self._decay_fairness()
        self._come_back()
        self._arrive()
        self._telemetry()
        oracle_candidates.choose(self)
        oracle_rewards.settle(self)

    def count(self, name: str, amount: float) -> None:
        if self.counted:
            self.totals[name] += amount

    def _set_levels(self, actions: dict[str, Any]) -> None:
        """Item 1."""
        groups: list[tuple[str, Sequence[Any], tuple[str, ...]]] = [
            ("compute", self.compute, ("cache_level", "admission_level", "purge_level")),
            ("storage", self.storage, ("background_level", "serve_level")),
        ]
        for role, nodes, names in groups:
            interval = getattr(self.scenario, role).decision_interval_steps
            for index, (node, chosen) in enumerate(zip(nodes, actions[role], strict=True)):
                for name, level in zip(names, chosen[: len(names)], strict=True):
                    if node.alive and self.k % interval == index % interval:
                        setattr(node, name, int(level))
                    elif level != getattr(node, name):
                        self.count("invalid_actions", 1)

        if self.scenario.elastic.enabled:
            self._set_power([int(chosen[-1]) for chosen in actions["compute"]])

    def _set_power(self, levels: Sequence[int]) -> None:
        """Elastic nodes: start to drain or to wake."""
        elastic, interval = self.scenario.elastic, self.scenario.compute.decision_interval_steps
        for n, (node, level) in enumerate(zip(self.compute, levels, strict=True)):
            may_choose = node.alive and self.k % interval == n % interval and node.power in ("on", "asleep")
            if not may_choose:
                self.count("invalid_actions", level != node.power_level)
            elif node.power == "on" and level == 0:
                if sum(other.accepts for other in self.compute) > elastic.minimum_nodes:
                    node.power = "draining"
            elif node.power == "asleep" and level == 1:
                node.power = "waking"
                node.wake_step = self.k + max(1, math.ceil(elastic.wake_s / self.dt - 1e-9))

    def _settle_power(self) -> None:
        """Elastic nodes: fall asleep when drained, be on when the lead time is over."""
        for n, node in enumerate(self.compute):
            if node.power == "draining" and not node.queue and not self.on_node(n):
                node.power = "asleep"
                node.valid, node.occupied, node.garbage = [0.0] * len(node.valid), 0.0, 0.0
                node.touched, node.evicted_decayed, node.pending_read, node.spill = {}, 0.0, 0.0, 0.0
            elif node.power == "waking" and self.k >= node.wake_step:
                node.power = "on"

    @property
    def active_share(self) -> float:
        return sum(node.cores for node in self.compute if node.power != "asleep") / self.cores

    def _place(self, choices: Sequence[Sequence[int]]) -> None:
        """Item 2."""
        pause = self.scenario.scheduling.backoff_steps
        for scheduler, row in zip(self.schedulers, choices, strict=True):
            window = scheduler.fifo[: self.scenario.scheduling.window_slots]
            refused = []
            defer = len(scheduler.candidates)
            for slot, choice in enumerate(row):
                picked = int(choice)
                if picked != defer:
                    n = scheduler.candidates[picked]
                    if slot >= len(window) or not scheduler.compute_view[n][1]["alive"]:
                        self.count("invalid_actions", 1)
                        picked = defer
                if slot >= len(window):
                    continue
                task = window[slot]
                if picked == defer:
                    if pause > 0:
                        scheduler.fifo.remove(task)
                        task.place = "back-off"
                        scheduler.backing_off.append((self.k + pause, task))
                    continue
                scheduler.fifo.remove(task)
                if self.compute[n].accepts:
                    task.ready = self.time + self.scenario.scheduling.dispatch_delay_s
                    task.place, task.where = "queue", n
                    self.compute[n].queue.append(task)
                    scheduler.sent.append((self.k, n, task.cores, task.memory))
                else:
                    refused.append(task)
                    self.count("bounced", 1)
            scheduler.fifo.extend(refused)

    def _split_memory(self) -> None:
        """Item 3."""
        slew = self.scenario.compute.cache_slew_per_step
        for node in self.compute:
            target = self.scenario.compute.cache_fractions[node.cache_level]
            node.cache_fraction += clip(target - node.cache_fraction, -slew, slew)
            self._shrink_to_cache(node)

    def _shrink_to_cache(self, node: ComputeNode) -> None:
        if node.occupied > node.cache_mb:
            scale = node.cache_mb / node.occupied
            node.valid = [scale * amount for amount in node.valid]
            node.occupied = node.cache_mb

    def _admit(self) -> None:
        """Item 4."""
        compute = self.scenario.compute
        for task in self.running:
            task.seconds = self.dt
        for n, node in enumerate(self.compute):
            if not node.alive:
                continue
            memory_limit = compute.memory_overcommit[node.admission_level] * node.execution_memory
            core_limit = compute.core_overcommit[node.admission_level] * node.cores
            while node.queue:
                head, tasks = node.queue[0], self.on_node(n)
                memory = sum(task.memory for task in tasks) + head.memory
                cores = sum(task.cores for task in tasks) + head.cores
                fits = memory <= memory_limit * (1 + 1e-12) and cores <= core_limit * (1 + 1e-12)
                if tasks and not fits:
                    break
                node.queue.pop(0)
                head.start = max(self.time, head.ready)
                head.seconds = self.time + self.dt - head.start
                head.place, head.where = "running", n
                self.running.append(head)

    def _quorum_th_largest(self, values: list[float]) -> float:
        quorum = len(values) // 2 + 1 if self.scenario.storage.quorum_enabled else 1
        return sorted(values, reverse=True)[quorum - 1]

    def _storage_paths(self) -> tuple[list[float], list[float], list[dict[int, float]]]:
        """Item 5: read and write time per MB and the read split of each shard."""
        config = self.scenario.storage
        read_time, write_time, splits = [], [], []
        for replicas in self.replicas:
            live = [r for r in replicas if self.storage[r].alive]
            weights = {r: config.serve_weights[self.storage[r].serve_level] for r in live}
            split = {r: weight / sum(weights.values()) for r, weight in weights.items()}
            splits.append(split)
            per_mb = [
                alpha / (config.read_stream_mb_per_s * self.storage[r].stream_factor) for r, alpha in split.items()
            ]
            read_time.append(sum(per_mb) if live else 1e6)
            factors = [self.storage[r].write_factor if self.storage[r].alive else 0.0 for r in replicas]
            factor = max(self._quorum_th_largest(factors), 1e-6)
            write_time.append(1 / (config.write_stream_mb_per_s * factor))
        return read_time, write_time, splits

    def _io_wait(self, read_time: list[float], write_time: list[float]) -> None:
        """Item 6."""
        for task in self.running:
            m = task.shard
            warmth = min(1.0, self.compute[task.where].valid[m] / self.hot_set[m])
            task.warmth = warmth if self.scenario.cache.enabled else 0.0
            task.miss = task.cacheable * (1 - task.warmth) + task.scan
            task.duration = task.base_time + task.miss * read_time[m] + task.write * write_time[m]
            task.share = task.cores * task.base_time / task.duration

    def _share_processors(self) -> None:
        """Item 7."""
        config, purge = self.scenario.compute, self.scenario.purge
        for n, node in enumerate(self.compute):
            tasks = self.on_node(n)
            memory, cores = sum(task.memory for task in tasks), sum(task.cores for task in tasks)
            node.share_sum = sum(task.share for task in tasks)
            node.step_cores = node.available_cores
            garbage = 1.0
            if purge.enabled:
                node.step_cores = node.available_cores * (1 - purge.shares[node.purge_level])
                depth = min(node.garbage / self.garbage_limit(node), purge.slowdown_cap)
                garbage = 1 + purge.slowdown_slope * depth
            node.processor_share = min(1.0, node.step_cores / node.share_sum) if tasks else 1.0
            spill = contention = 1.0
            if config.spill_enabled:
                spill = 1 + config.spill_slope * max(0.0, memory / node.execution_memory - 1)
            if config.contention_enabled:
                excess = max(0.0, cores / node.step_cores - config.contention_onset)
                contention = 1 + config.contention_slope * excess**2
            node.efficiency = 1 / (spill * contention * garbage)
            node.io_wait = 1 - node.share_sum / cores if tasks else 0.0
            for task in tasks:
                task.wanted = task.seconds * node.processor_share * node.efficiency / task.duration
            node.busy = sum(task.share * node.processor_share * task.seconds for task in tasks)
            self.count("busy_core_s", node.busy)
            self.count("allocated_core_s", cores * self.dt)
            self.count("allocated_core_capped_s", min(cores, node.cores) * self.dt)
            self.count("allocated_memory_gb_s", min(memory, node.memory) * self.dt)
            node.spill = max(0.0, memory - node.execution_memory)
            self.count("spill_gb_s", max(0.0, memory - node.execution_memory) * self.dt)

    def _share_storage(self, splits: list[dict[int, float]]) -> tuple[list[float], list[float]]:
        """Item 8: the read and the write gate of each shard."""
        config, compaction = self.scenario.storage, self.scenario.compaction
        self._spread(splits, lambda task: task.wanted)
        for node in self.storage:
            node.amplification = 1.0
            if compaction.enabled:
                debt = min(node.debt / self.soft, compaction.read_amplification_cap)
                node.amplification = 1 + compaction.read_amplification_slope * debt
            node.demand = node.amplification * node.reads + node.writes
            foreground = 1 - config.background_shares[node.background_level]
            node.capacity = node.available * foreground * self.dt
            if not config.sharing_enabled:
                node.capacity = max(node.capacity, node.demand)
            if not node.alive:
                node.capacity = 0.0
            node.served_share = min(1.0, node.capacity / node.demand) if node.demand > 0 else 1.0
        read_gate, write_gate = [], []
        for replicas, split in zip(self.replicas, splits, strict=True):
            read_gate.append(min((self.storage[r].served_share for r in split), default=0.0))
            shares = [self.storage[r].served_share if self.storage[r].alive else 0.0 for r in replicas]
            write_gate.append(self._quorum_th_largest(shares))
        return read_gate, write_gate

    def _spread(self, splits: list[dict[int, float]], part: Callable[[Task], float]) -> None:
        """Reads and writes of every replica when each running task does the given part of itself."""
        for node in self.storage:
            node.reads = node.writes = 0.0
        for task in self.running:
            for r, alpha in splits[task.shard].items():
                self.storage[r].reads += alpha * part(task) * task.miss
            for r in self.replicas[task.shard]:
                self.storage[r].writes += part(task) * task.write

    def _progress(self, read_gate: list[float], write_gate: list[float]) -> None:
        """Item 9."""
        hit, cacheable = [0.0] * len(self.compute), [0.0] * len(self.compute)
        self.step_served = [0.0] * len(self.served)
        window = math.exp(-self.dt / self.scenario.observation.working_set_window_s)
        for node in self.compute:
            node.useful = node.read_mb = node.written = node.pending_read = 0.0
            node.touched = {m: window * part for m, part in node.touched.items()}
        for task in self.running:
            m, n = task.shard, task.where
            node = self.compute[n]
            task.gate = 1.0
            if task.miss > 1e-9:
                task.gate = min(task.gate, read_gate[m])
            if task.write > 0:
                task.gate = min(task.gate, write_gate[m])
            task.advance = min(task.remaining, task.wanted * task.gate)
            node.useful += task.work * task.advance
            node.read_mb += task.advance * task.miss
            node.written += task.advance * task.write
            node.pending_read += (task.remaining - task.advance) * task.miss
            part = min(1.0, task.advance * task.cacheable / self.hot_set[m])
            node.touched[m] = 1 - (1 - node.touched.get(m, 0.0)) * (1 - part)
            self.step_served[task.tenant] += task.work * task.advance
            cacheable[n] += task.advance * task.cacheable
            hit[n] += task.advance * task.cacheable * task.warmth
            if self.scenario.cache.enabled:
                entering = min(task.advance * task.cacheable * (1 - task.warmth), self.hot_set[m] - node.valid[m])
                node.valid[m] += entering
                node.occupied += entering
            if self.scenario.cache.invalidation_enabled:
                left = max(0.0, 1 - task.advance * task.write / self.hot_set[m])
                for other in self.compute:
                    if other is not node:
                        other.valid[m] *= left
        for n, node in enumerate(self.compute):
            node.evicted_decayed = 0.9 * node.evicted_decayed + 0.1 * max(0.0, node.occupied - node.cache_mb)
            self._shrink_to_cache(node)
            node.hit_decayed = 0.9 * node.hit_decayed + hit[n]
            node.cacheable_decayed = 0.9 * node.cacheable_decayed + cacheable[n]
        useful = sum(node.useful for node in self.compute)
        self.useful_ever += useful
        self.count("useful_core_s", useful)
        self.count("cacheable_mb", sum(cacheable))
        self.count("cache_hit_mb", sum(hit))

    def _complete(self) -> None:
        """Item 10."""
        self.on_time = [0.0] * len(self.served)
        i = 0
        while i < len(self.running):
            task = self.running[i]
            done = task.wanted * task.gate
            if done < task.remaining:
                task.remaining -= task.advance
                i += 1
                continue
            task.finish = self.time + self.dt - task.seconds + task.seconds * task.remaining / done
            task.remaining = 0.0
            task.place, task.where = "finished", -1
            self.finished.append(task)
            if task.finish - task.arrival <= task.deadline:
                self.on_time[task.tenant] += task.work
            self._free_slot(i)

    def _free_slot(self, i: int) -> None:
        """A slot that becomes free is taken by the last running task."""
        last = self.running.pop()
        if i < len(self.running):
            self.running[i] = last

    def _write_factor(self, debt: float) -> float:
        compaction = self.scenario.compaction
        if not compaction.enabled or debt <= self.soft:
            return 1.0
        if debt >= self.hard:
            return compaction.minimum_write_factor
        return clip(1 - (debt - self.soft) / (self.hard - self.soft), compaction.minimum_write_factor, 1.0)

    def _update_storage(self) -> None:
        """Item 11."""
        config, compaction = self.scenario.storage, self.scenario.compaction
        B = config.bandwidth_mb_per_s
        for node in self.storage:
            reads = node.amplification * node.reads
            consumption = reads + node.writes + node.lag
            node.served = min(node.capacity, consumption)
            node.lag = consumption - node.served
            if node.lag < 1e-9:
                node.lag = 0.0
            node.read_rate = reads / (B * self.dt)
            node.write_rate = 0.8 * node.write_rate + 0.2 * node.writes / (B * self.dt)
            if compaction.enabled:
                share = config.background_shares[node.background_level] if node.alive else 0.0
                compacted = (
                    share * node.available * self.dt * ratio(node.debt, node.debt + compaction.efficient_debt_s * B)
                )
                node.debt = max(0.0, node.debt + compaction.write_amplification * node.writes - compacted)
            node.write_factor = self._write_factor(node.debt)
            node.stall_decayed = 0.9 * node.stall_decayed + 0.1 * (1 - node.write_factor)
            if not node.alive:
                pass
            elif node.demand > 0:
                factor = node.stream_factor * math.sqrt(node.capacity / node.demand)
                node.stream_factor = clip(factor, config.minimum_stream_factor, 1.0)
            else:
                node.stream_factor = 1.0
            self.count("storage_served_mb", node.served)

    def garbage_limit(self, node: ComputeNode) -> float:
        """Soft limit of a node's garbage, MB."""
        return self.scenario.purge.soft_limit_mb_per_core * node.cores

    def _update_garbage(self) -> None:
        """Item 11, garbage of compute nodes."""
        purge = self.scenario.purge
        for node in self.compute:
            if not (purge.enabled and node.alive):
                node.garbage = 0.0
                continue
            # As one fraction of MB, so that nothing purges nothing also where the efficient garbage is 0.
            whole = node.garbage + purge.efficient_garbage * self.garbage_limit(node)
            seconds = purge.shares[node.purge_level] * node.available_cores * self.dt
            purged = purge.rate_mb_per_core_s * seconds * ratio(node.garbage, whole)
            node.garbage = max(0.0, node.garbage + purge.garbage_per_written * node.written - purged)

    def _move_background(self) -> None:
        """First half of item 12: noisy neighbours leave a node a share of its cores or of its bandwidth."""
        e = self.episode
        for step, n, share in zip(e.background_step, e.background_node, e.background_share, strict=True):
            if step > self.k:
                continue
            if n < len(self.compute):
                self.compute[int(n)].available_cores = float(share) * self.compute[int(n)].cores
            else:
                bandwidth = self.scenario.storage.bandwidth_mb_per_s
                self.storage[int(n) - len(self.compute)].available = float(share) * bandwidth

    def _fail_and_repair(self) -> None:
        """Second half of item 12."""
        for role, index, _, up_step in self.outages:
            if self.k == up_step:
                (self.compute if role == "compute" else self.storage)[index].alive = True
        for n, node in enumerate(self.compute):
            if node.alive and any(self.k == down for role, i, down, _ in self.outages if (role, i) == ("compute", n)):
                self._crash(n, node)
        for role, index, down_step, _ in self.outages:
            if role == "storage" and self.k == down_step:
                self.storage[index].alive = False

    def _crash(self, n: int, node: ComputeNode) -> None:
        node.alive = False
        node.valid, node.occupied, node.garbage = [0.0] * len(node.valid), 0.0, 0.0
        node.touched, node.evicted_decayed, node.pending_read, node.spill = {}, 0.0, 0.0, 0.0
        evicted = self.on_node(n)
        for task in evicted:
            done = task.work * (1 - task.remaining)
            self.lost_ever += done
            self.count("lost_core_s", done)
        for task in evicted + node.queue:
            task.place, task.where = "fifo", self.tenant_scheduler[task.tenant]
            task.start, task.remaining = math.nan, 1.0
            self.schedulers[task.where].fifo.append(task)
            self.count("requeued", 1)
        node.queue = []
        i = 0
        while i < len(self.running):
            if self.running[i].place == "running":
                i += 1
            else:
                self._free_slot(i)

    def _decay_fairness(self) -> None:
        decay = self.scenario.reward.fairness_decay
        for g, served in enumerate(self.step_served):
            self.served[g] = decay * self.served[g] + served
            self.arrived[g] *= decay
            if self.counted:
                self.tenant_served[g] += served

    def _come_back(self) -> None:
        """First half of item 13: tasks whose back-off ends."""
        for s, scheduler in enumerate(self.schedulers):
            for release, task in scheduler.backing_off:
                if release == self.k:
                    task.place, task.where = "fifo", s
                    scheduler.fifo.append(task)
            scheduler.backing_off = [(release, task) for release, task in scheduler.backing_off if release > self.k]

    def _arrive(self) -> None:
        """Second half of item 13."""
        counts = [0] * len(self.schedulers)
        for task in self.tasks:
            if task.place == "future" and task.arrival <= self.time:
                s = self.tenant_scheduler[task.tenant]
                task.place, task.where = "fifo", s
                self.schedulers[s].fifo.append(task)
                counts[s] += 1
                self.arrived[task.tenant] += task.work
                self.arrived_ever += task.work
                if self.counted:
                    self.tenant_arrived[task.tenant] += task.work
        for scheduler, count in zip(self.schedulers, counts, strict=True):
            scheduler.arrival_rate = 0.9 * scheduler.arrival_rate + 0.1 * count

    def _telemetry(self) -> None:
        """Item 14."""
        telemetry = self.scenario.telemetry
        if self.k % telemetry.publish_every_steps == 0:
            self.published[self.k] = oracle_observations.snapshot(self)
        stamp = self.k - telemetry.delay_steps
        if stamp in self.published:
            self._deliver(stamp, self.lost)

    def _deliver(self, stamp: int, lost: Callable[[Agent, Agent, int], bool]) -> None:
        news = self.published[stamp]
        for s, scheduler in enumerate(self.schedulers):
            for role, view in (("compute", scheduler.compute_view), ("storage", scheduler.storage_view)):
                for index, content in enumerate(news[role]):
                    if not lost(("scheduler", s), (role, index), stamp):
                        view[index] = (stamp, content)
        groups: list[tuple[str, Sequence[Any]]] = [("compute", self.compute), ("storage", self.storage)]
        for role, nodes in groups:
            for index, node in enumerate(nodes):
                if not lost((role, index), SUMMARY, stamp):
                    node.summary = (stamp, news["summary"])

    def check_invariants(self) -> None:
        """Raise AssertionError, naming the invariant, if the state breaks one of those of `docs/simulator.md`."""
        oracle_invariants.check(self)
