"""Learning without RLlib: a plain policy gradient finds placements whose optimum is known."""

import pytest
import torch

from cloudsched_env.rllib.networks import NetworkConfig, build_policy
from tests.rllib.random_observations import cluster


@pytest.fixture(autouse=True)
def one_thread_and_seed():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


class Placement:
    """Identical tasks of 4 cores and 4 nodes of 8 cores that run at random loads."""

    def __init__(self, slots):
        self.scenario = cluster(window_slots=slots, schedulers=1)
        self.policy = build_policy("scheduler", self.scenario, NetworkConfig(load_aversion=0.0))
        self.layout = self.policy.layout

    def observations(self, loads):
        """Rows in which nodes run at ``loads`` ``[rows, 4]``, and masks that allow to defer."""
        rows = len(loads)
        out = torch.zeros(rows, 1, self.layout.size)
        slots, nodes = self.layout.view(out, "slots"), self.layout.view(out, "nodes")
        self.fill(slots, "slots", present=1, cores=1, memory=0.25)
        self.fill(nodes, "nodes", alive=1, cores=1, memory=1, execution_memory=0.6, efficiency=1)
        nodes[..., self.layout.block("nodes").index("running_cores_load")] = loads.unsqueeze(1)
        return out, torch.ones(rows, 1, sum(self.policy.action_levels), dtype=torch.int8)

    def fill(self, block, name, **values):
        for field, value in values.items():
            block[..., self.layout.block(name).index(field)] = value

    def train(self, loads, reward, updates, rows=256):
        """Reinforce with the batch mean as baseline, and PPO's clip over two passes."""
        optimiser = torch.optim.Adam(self.policy.parameters(), lr=5e-3)
        for _ in range(updates):
            observations, masks = self.observations(load := loads(rows))
            actions, old = self.policy.act(observations, masks)
            gained = reward(load, actions[:, 0])
            advantage = ((gained - gained.mean()) / (gained.std() + 1e-6)).unsqueeze(-1)
            for _ in range(2):
                log_prob, entropy = self.policy.evaluate(observations, masks, actions)
                ratio = (log_prob - old).exp()
                surrogate = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
                optimiser.zero_grad()
                (-surrogate.mean() - 0.002 * entropy.mean()).backward()
                optimiser.step()


def test_scheduler_learns_to_pick_the_least_loaded_node():
    """The reward names the node only by its index; the policy has to find out that load is what matters."""
    problem = Placement(slots=1)
    loads = lambda rows: torch.rand(rows, 4) * 2  # noqa: E731

    def reward(load, actions):
        padded = torch.cat((load, torch.full((len(load), 1), 2.5)), -1)  # to defer is worst
        return -padded.gather(-1, actions).squeeze(-1)

    def accuracy():
        load = loads(1000)
        chosen, _ = problem.policy.act(*problem.observations(load), deterministic=True)
        return float((chosen[:, 0, 0] == load.argmin(-1)).float().mean())

    before = accuracy()
    problem.train(loads, reward, updates=60)
    assert before < 0.6
    assert accuracy() > 0.9


def test_scheduler_learns_to_spread_identical_tasks_over_two_equal_nodes():
    """Nodes 0 and 1 are equally free, 2 and 3 are full: two tasks belong on different free nodes.

    No policy that chooses the slots independently can do better than one half: the optimum needs the second choice to
    depend on the first.
    """
    problem = Placement(slots=2)

    def loads(rows):
        order = torch.rand(rows, 4).argsort(-1)
        return torch.tensor([0.2, 0.2, 1.6, 1.6]).expand(rows, 4).gather(-1, order)

    def good(load, actions):
        free = torch.cat((load < 1, torch.zeros(len(load), 1, dtype=torch.bool)), -1)
        on_free = free.gather(-1, actions)
        return on_free, on_free.all(-1) & (actions[:, 0] != actions[:, 1])

    def reward(load, actions):
        on_free, spread = good(load, actions)
        return on_free.float().sum(-1) + 2 * spread.float()

    problem.train(loads, reward, updates=80)
    load = loads(1000)
    chosen, _ = problem.policy.act(*problem.observations(load))  # sampled: symmetric nodes have no unique mode
    spread = float(good(load, chosen[:, 0])[1].float().mean())
    assert spread > 0.9
    # What was learned holds on a cluster twice as large, unchanged.
    larger = Placement(slots=2)
    larger.scenario = cluster(window_slots=2, schedulers=1, compute_nodes=8)
    larger.policy = build_policy("scheduler", larger.scenario, NetworkConfig(load_aversion=0.0))
    larger.layout = larger.policy.layout
    larger.policy.load_state_dict(problem.policy.state_dict())
    load = torch.cat((load, torch.full_like(load, 1.6)), -1)
    chosen, _ = larger.policy.act(*larger.observations(load))
    assert float(good(load, chosen[:, 0])[1].float().mean()) > 0.9
