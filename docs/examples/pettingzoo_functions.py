"""PettingZoo-style policies: a function from an agent's observation and name to its action.

    cloudsched check docs/examples/pettingzoo_functions.py:POLICIES
    cloudsched leaderboard run --suite quick --agents docs/examples/pettingzoo_functions.py:POLICIES --out results

``uniform`` alone is an agent as well (``docs/examples/pettingzoo_functions.py:uniform``). The same functions drive the
PettingZoo face, ``env.step({a: policy(observations[a], a) for a in env.agents})``.
"""

import numpy as np

# Levels of the sub-actions of a node, as `env.action_space("compute_0").nvec` shows them.
COMPUTE_LEVELS, STORAGE_LEVELS = (5, 4, 5), (5, 3)


def parts(mask, levels):
    """The mask of each sub-action."""
    return np.split(mask, np.cumsum(levels)[:-1])


def uniform(observation, agent, rng):
    """An allowed level of each sub-action at random; schedulers have equally many levels in each slot."""
    mask = observation["action_mask"]
    if agent.startswith("scheduler"):
        levels = slot_levels(mask)
    else:
        levels = COMPUTE_LEVELS if agent.startswith("compute") else STORAGE_LEVELS
    return np.array([rng.choice(np.flatnonzero(part)) for part in parts(mask, levels)])


def slot_levels(mask):
    """A scheduler can always defer, its last level: the slots of a mask are equally long and each ends with a one."""
    for nodes in range(2, len(mask) + 1):
        if len(mask) % nodes == 0 and mask.reshape(-1, nodes)[:, -1].all() and len(mask) // nodes in (4, 8):
            return (nodes,) * (len(mask) // nodes)
    raise ValueError(f"a mask of {len(mask)} is not that of 4 or 8 slots")


def keep(observation, agent):
    """The middle level, or the nearest one that is allowed."""
    levels = COMPUTE_LEVELS if agent.startswith("compute") else STORAGE_LEVELS
    chosen = []
    for part in parts(observation["action_mask"], levels):
        distance = np.abs(np.arange(len(part)) - len(part) // 2)
        chosen.append(np.where(part != 0, distance, 99).argmin())
    return np.array(chosen)


POLICIES = {"compute": keep, "storage": keep, "scheduler": uniform}
