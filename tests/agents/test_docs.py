from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np

from cloudsched_env.agents import check_actions, load_agent
from cloudsched_env.agents.registry import KNOBS, LINEAR, PLACEMENTS
from cloudsched_env.evaluation.protocol import evaluate
from tests.agents.observations import equal_nodes, scheduling

PAGE = (Path(__file__).parents[2] / "docs" / "agents.md").read_text(encoding="utf-8")
EXAMPLE = next(block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))


def example_agent(tmp_path):
    file = tmp_path / "my_agent.py"
    file.write_text(EXAMPLE)
    return load_agent(f"{file}:OneAtATime")


def test_the_readme_shows_the_same_example():
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert EXAMPLE in readme


def test_the_example_does_what_the_page_says(tmp_path):
    info = equal_nodes()
    agent = example_agent(tmp_path)
    agent.reset(info, 1, 0)
    observations, masks = scheduling(info, [{}, {}], [{"queued_cores_load": load} for load in (0.5, 0.1, 0.3, 0.0)])
    masks["scheduler"][..., 3] = 0  # the emptiest node is believed dead
    actions = check_actions(agent.act(observations, masks), info, 1, agent.name)
    assert actions["scheduler"][0, 0].tolist() == [1, 4, 4, 4]
    masks["scheduler"][..., :4] = 0
    assert agent.act(observations, masks)["scheduler"][0, 0].tolist() == [4, 4, 4, 4]


def test_the_example_can_be_evaluated(tmp_path):
    changes = {"time.horizon_steps": 40, "time.warmup_steps": 10}
    result = evaluate([example_agent(tmp_path)], "tiny-v1", "validation", episodes=2, overrides=changes)
    assert np.isfinite(result.agents[0].metrics["team_reward"]).all()
    assert (result.agents[0].metrics["invalid_actions"] == 0).all()


def test_the_example_is_as_short_as_the_page_claims():
    body = [line for line in EXAMPLE.split("class ", 1)[1].splitlines() if line.strip()]
    assert len(body) <= 20


def test_the_page_names_every_agent_and_every_parameter_with_its_default():
    for name, rule in (PLACEMENTS | KNOBS).items():
        assert f"`{name}`" in PAGE
        for field in dataclasses.fields(rule):
            assert f"`{field.name}`" in PAGE, f"{name}: {field.name}"
            if field.default is not None and not field.name.endswith("_limit"):
                shown = re.search(rf"`{field.name}`(?:, `\w+`)* = ([\d.]+)", " ".join(PAGE.split()))
                assert shown, field.name
                assert float(shown[1].rstrip(".")) == field.default, field.name
    for name in LINEAR:
        assert f"`{name}`" in PAGE
