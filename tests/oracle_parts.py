"""What the oracle is made of: tasks, nodes and schedulers, with the symbols of `docs/simulator.md`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any


def clip(value: float, low: float, high: float) -> float:
    return max(low, min(high, value))


def ratio(part: float, whole: float) -> float:
    """Part of the whole, 0 of nothing."""
    return part / whole if whole > 0 else 0.0


@dataclass
class Task:
    """One task: its row of the episode, where it is, and its numbers of the current step."""

    index: int
    arrival: float
    cores: float
    base_time: float
    memory: float
    cacheable: float
    scan: float
    write: float
    deadline: float
    estimated_time: float
    estimated_read: float
    shard: int
    tenant: int
    job: int
    slo_class: int
    place: str = "future"
    where: int = -1
    ready: float = math.nan
    start: float = math.nan
    finish: float = math.nan
    remaining: float = 1.0
    seconds: float = 0.0  # a_i
    warmth: float = 0.0  # w
    miss: float = 0.0  # miss_i
    duration: float = 0.0  # T_i
    share: float = 0.0  # psi_i
    wanted: float = 0.0  # delta_i
    gate: float = 0.0  # f_i
    advance: float = 0.0

    @property
    def work(self) -> float:
        return self.cores * self.base_time


@dataclass
class ComputeNode:
    cores: float
    memory: float
    cache_level: int
    admission_level: int
    cache_fraction: float
    valid: list[float]  # A_nm, MB for each shard
    occupied: float = 0.0
    memory_split: bool = True  # the cache takes its memory from tasks
    alive: bool = True
    power: str = "on"  # or draining, asleep, waking
    wake_step: int = 0
    purge_level: int = 0
    garbage: float = 0.0  # G_n, MB of old versions
    written: float = 0.0  # MB written by own tasks in the last step, one copy
    available_cores: float = field(init=False)  # what noisy neighbours leave
    step_cores: float = field(init=False)  # what these and purging leave in the sharing step: C_n
    queue: list[Task] = field(default_factory=list)
    processor_share: float = 1.0  # c_n of the sharing step
    efficiency: float = 1.0  # e_n
    io_wait: float = 0.0
    share_sum: float = 0.0  # sum of psi
    busy: float = 0.0  # core-seconds in use in the last step
    useful: float = 0.0  # core-seconds of useful work in the last step
    read_mb: float = 0.0
    hit_decayed: float = 0.0
    cacheable_decayed: float = 0.0
    touched: dict[int, float] = field(default_factory=dict)  # part of each shard's hot set touched lately
    evicted_decayed: float = 0.0
    pending_read: float = 0.0  # MB
    spill: float = 0.0  # GB beyond execution memory in the last step
    summary: tuple[int, dict[str, float]] = (0, {})

    def __post_init__(self) -> None:
        self.available_cores = self.step_cores = self.cores

    @property
    def accepts(self) -> bool:
        return self.alive and self.power == "on"

    @property
    def power_level(self) -> int:
        return int(self.power in ("on", "waking"))

    @property
    def execution_memory(self) -> float:
        return (1 - self.cache_fraction) * self.memory if self.memory_split else self.memory

    @property
    def cache_mb(self) -> float:
        return 1000 * self.cache_fraction * self.memory


@dataclass
class StorageNode:
    background_level: int
    serve_level: int
    debt: float
    available: float  # MB/s that other volumes leave
    write_factor: float = 1.0  # sigma_r
    stream_factor: float = 1.0  # g_r
    lag: float = 0.0
    alive: bool = True
    amplification: float = 1.0  # RA_r
    demand: float = 0.0
    capacity: float = 0.0
    served_share: float = 1.0  # h_r
    reads: float = 0.0
    writes: float = 0.0
    served: float = 0.0
    read_rate: float = 0.0
    write_rate: float = 0.0
    stall_decayed: float = 0.0
    summary: tuple[int, dict[str, float]] = (0, {})


@dataclass
class Scheduler:
    fifo: list[Task] = field(default_factory=list)
    backing_off: list[tuple[int, Task]] = field(default_factory=list)  # step of the return, in order of deferral
    sent: list[tuple[int, int, float, float]] = field(default_factory=list)  # step, node, cores, memory
    arrival_rate: float = 0.0
    compute_view: list[tuple[int, dict[str, Any]]] = field(default_factory=list)  # stamp and snapshot of each node
    storage_view: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    candidates: list[int] = field(default_factory=list)  # compute nodes that it can choose from in the next step
    observed_storage: list[int] = field(default_factory=list)

    def in_flight(self, node: int) -> tuple[float, float]:
        """Cores and memory sent to the node that the view held of it cannot show yet."""
        stamp = self.compute_view[node][0]
        recent = [(cores, memory) for step, n, cores, memory in self.sent if n == node and step >= stamp]
        return sum(cores for cores, _ in recent), sum(memory for _, memory in recent)
