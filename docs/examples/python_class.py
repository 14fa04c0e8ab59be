"""A class: each scheduler sends its oldest tasks to the nodes that look least loaded; nodes keep fixed levels.

cloudsched check docs/examples/python_class.py:LeastLoaded
cloudsched leaderboard run --suite quick --agents docs/examples/python_class.py:LeastLoaded --out results
"""

import numpy as np

LOADS = ("running_cores_load", "queued_cores_load", "in_flight_cores_load")


class LeastLoaded:
    """Spreads the visible tasks over the nodes with the least load that telemetry shows."""

    name = "least_loaded_example"

    def __init__(self, most_per_step: int = 4) -> None:
        self.most_per_step = most_per_step

    def reset(self, info, batch_size, seed):
        self.info = info

    def act(self, observations, masks):
        layout, levels = self.info.layouts["scheduler"], self.info.action_levels["scheduler"]
        slots, nodes = len(levels), int(levels[0]) - 1
        block, seen = layout.block("nodes"), layout.view(observations["scheduler"], "nodes")
        load = sum(seen[..., block.index(name)] for name in LOADS)
        allowed = masks["scheduler"].reshape(*load.shape[:2], slots, nodes + 1)[..., :nodes] != 0
        chosen = np.full((*load.shape[:2], slots), nodes)  # the last level: not yet
        load = load.copy()
        for slot in range(min(slots, self.most_per_step)):
            possible = np.where(allowed[:, :, slot], load, np.inf)
            best = possible.argmin(axis=-1)
            placed = np.isfinite(possible.min(axis=-1))
            chosen[..., slot] = np.where(placed, best, nodes)
            np.put_along_axis(load, best[..., None], np.take_along_axis(load, best[..., None], -1) + 0.25, -1)
        return {role: self._keep(role, masks[role]) for role in ("compute", "storage")} | {"scheduler": chosen}

    def _keep(self, role, mask):
        """The allowed level in the middle of each sub-action: all but the present one are masked while a node waits."""
        parts = np.split(mask, np.cumsum(self.info.action_levels[role])[:-1], axis=-1)
        middle = [np.abs(np.arange(part.shape[-1]) - part.shape[-1] // 2) for part in parts]
        return np.stack([np.where(p != 0, d, 99).argmin(-1) for p, d in zip(parts, middle, strict=True)], axis=-1)
