"""An agent built on a rule of cloudsched-env: its placement, with another choice of node levels."""

from cloudsched_env.agents import load_agent


class GreedyScheduler:
    """Balanced placement; storage nodes give more of their bandwidth to compaction than by default."""

    name = "greedy_scheduler"

    def __init__(self, background_level: int = 3) -> None:
        self._rule = load_agent(f"balanced+static(background_level={background_level})")

    def reset(self, info, batch_size, seed):
        self._rule.reset(info, batch_size, seed)

    def act(self, observations, masks):
        return self._rule.act(observations, masks)
