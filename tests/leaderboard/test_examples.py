"""The four ways to plug in an agent, as the examples under docs/ show them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cloudsched_env import parallel_env
from cloudsched_env.agents import AgentError, load_agent
from cloudsched_env.agents.onnx_policy import masked_choice
from cloudsched_env.agents.per_agent import PerAgentPolicies
from cloudsched_env.evaluation.protocol import evaluate
from cloudsched_env.leaderboard.conformance import check_conformance
from cloudsched_env.leaderboard.declaration import load_declarations
from cloudsched_env.leaderboard.run import run_suite

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
SHORT = {"time.horizon_steps": 60, "time.warmup_steps": 10}


def errors(spec):
    return [f for f in check_conformance(spec, ("tiny-v1",), 10) if f.level == "error"]


def run_example(*arguments, path=ROOT):
    environment = {"PYTHONPATH": f"{path}:{ROOT}", "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=ROOT).stdout


def test_the_page_names_every_example_and_they_exist():
    page = (ROOT / "docs" / "leaderboard.md").read_text(encoding="utf-8")
    for name in ("python_class.py", "plugin_package/pyproject.toml", "onnx_policy.py", "safetensors_policy.py",
                 "pettingzoo_functions.py"):  # fmt: skip
        assert f"(examples/{name})" in page
        assert (EXAMPLES / name).exists()


def test_the_class_keeps_to_the_contract_and_beats_random():
    spec = f"{EXAMPLES / 'python_class.py'}:LeastLoaded"
    assert errors(spec) == []
    result = evaluate([spec], "tiny-v1", "validation", episodes=3)
    assert (result.score(result.agents[0]) > 0).all()
    assert (result.agents[0].metrics["invalid_actions"] == 0).all()


@pytest.mark.parametrize("name", ["POLICIES", "uniform"])
def test_functions_by_agent_keep_to_the_contract(name):
    spec = f"{EXAMPLES / 'pettingzoo_functions.py'}:{name}"
    assert errors(spec) == []
    result = evaluate([spec], "tiny-v1", "validation", episodes=1, overrides=SHORT)
    assert (result.agents[0].metrics["invalid_actions"] == 0).all()


def test_the_same_functions_drive_the_pettingzoo_face():
    policies = load_agent(f"{EXAMPLES / 'pettingzoo_functions.py'}:POLICIES")._policies
    env = parallel_env("tiny-v1")
    observations, _ = env.reset(seed=0)
    rng = np.random.default_rng(0)
    for _ in range(3):
        actions = {}
        for agent in env.agents:
            extra = {"rng": rng} if agent.startswith("scheduler") else {}
            actions[agent] = policies[agent.split("_")[0]](observations[agent], agent, **extra)
            assert env.action_space(agent).contains(actions[agent])
        observations, *_ = env.step(actions)


def test_functions_say_which_agent_got_no_policy_or_a_wrong_action():
    info = load_info()
    with pytest.raises(AgentError, match="no policy for storage_0"):
        PerAgentPolicies("a", {"compute": lambda observation, agent: [0]}).reset(info, 1, 0)
    agent = PerAgentPolicies("a", lambda observation, agent: [0.5])
    agent.reset(info, 1, 0)
    with pytest.raises(AgentError, match="policy of compute_0 returned float64 of shape"):
        agent.act(*inputs(info))


def test_a_name_comes_before_a_role_and_roles_before_nothing():
    info = load_info()
    agent = PerAgentPolicies("a", {
        "compute_1": lambda observation, agent: np.array([1, 1, 1]),
        "compute": lambda observation, agent: np.array([0, 0, 0]),
        "storage": lambda observation, agent: np.array([0, 0]),
        "scheduler": lambda observation, agent: np.zeros(len(info.action_levels["scheduler"]), int),
    })  # fmt: skip
    agent.reset(info, 1, 0)
    assert agent.act(*inputs(info))["compute"][0].tolist() == [[0, 0, 0], [1, 1, 1]]


def load_info():
    from cloudsched_env.leaderboard.agent_server import cluster_info
    from cloudsched_env.scenario import load_scenario

    return cluster_info(load_scenario("tiny-v1"))


def inputs(info):
    shapes = {role: (1, count) for role, count in info.role_counts.items()}
    observations = {role: np.zeros((*shapes[role], info.layouts[role].size), np.float32) for role in shapes}
    masks = {role: np.ones((*shapes[role], int(info.action_levels[role].sum())), np.int8) for role in shapes}
    return observations, masks


@pytest.fixture(scope="module")
def onnx_folder(tmp_path_factory):
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("onnx") / "policy"
    run_example(EXAMPLES / "onnx_policy.py", folder)
    return folder


def test_the_onnx_policy_keeps_to_the_contract_and_does_what_its_rules_say(onnx_folder):
    assert errors(str(onnx_folder)) == []
    info = load_info()
    agent = load_agent(str(onnx_folder))
    agent.reset(info, 1, 0)
    observations, masks = inputs(info)
    block = info.layouts["storage"].block("node")
    info.layouts["storage"].view(observations["storage"], "node")[0, 1, block.index("debt")] = 1.0
    background = agent.act(observations, masks)["storage"][0, :, 0].tolist()
    assert background[1] in (3, 4)  # 1.5 + 2 x debt, rounded
    assert background[0] in (1, 2)
    masks["storage"][..., :5] = [1, 0, 0, 0, 0]
    assert agent.act(observations, masks)["storage"][0, :, 0].tolist() == [0, 0]


def test_an_onnx_policy_of_another_size_is_refused_by_role(onnx_folder, tmp_path):
    import shutil

    shutil.copytree(onnx_folder, tmp_path / "policy")
    shutil.copy(onnx_folder / "storage.onnx", tmp_path / "policy" / "compute.onnx")
    with pytest.raises(AgentError, match="model of compute: observation has 15 values, tiny-v1 has 26"):
        load_agent(str(tmp_path / "policy")).reset(load_info(), 1, 0)
    description = json.loads((onnx_folder / "policy.json").read_text())
    description["roles"]["compute"] = {"model": "../compute.onnx"}
    (tmp_path / "policy" / "policy.json").write_text(json.dumps(description))
    with pytest.raises(AgentError, match="must be a file in the folder"):
        load_agent(str(tmp_path / "policy"))


def test_masked_choices_follow_the_softmax_of_what_is_allowed():
    logits = np.log(np.array([[[1.0, 2.0, 1.0, 4.0, 4.0]]])).repeat(1, axis=0).repeat(4000, axis=1)
    mask = np.ones(logits.shape, np.int8)
    mask[..., 4] = 0
    drawn = masked_choice(logits, mask, np.array([3, 2]), [np.random.default_rng(0)])
    shares = [np.mean(drawn[..., 0] == level) for level in range(3)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    assert (drawn[..., 1] == 0).all()
    assert (masked_choice(logits, mask, np.array([3, 2]), None)[..., 0] == 1).all()


@pytest.fixture(scope="module")
def safetensors_folder(tmp_path_factory):
    for package in ("torch", "safetensors"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("project") / "baselines" / "cloned" / "seed_0" / "policy"
    text = run_example(EXAMPLES / "safetensors_policy.py", folder)
    for role in ("compute", "storage", "scheduler"):
        first, last = map(
            float, re.search(rf"{role}: cross-entropy of a decision (\S+) at first, (\S+)", text).groups()
        )
        assert last < first / 2, text
    return folder


def test_a_safetensors_policy_keeps_to_the_contract_and_beats_random(safetensors_folder):
    assert sorted(file.name for file in safetensors_folder.iterdir()) == ["policy.json", "weights.safetensors"]
    assert errors(str(safetensors_folder)) == []
    result = evaluate([str(safetensors_folder)], "tiny-v1", "validation", episodes=2)
    assert (result.score(result.agents[0]) > 0).all()


def test_one_line_of_the_reference_list_brings_a_policy_of_the_baselines(safetensors_folder, small_suite, tmp_path):
    project = safetensors_folder.parents[3]
    curve = "env_steps,validation/team_reward\n1000,0.4\n2000,0.5\n"
    (safetensors_folder.parent / "curve.csv").write_text(curve)
    line = {
        "name": "cloned",
        "spec": "{here}/../../baselines/cloned/seed_{seed}/policy",
        "trainings": 1,
        "curves": "../../baselines/cloned/seed_*/curve.csv",
    }
    reference = project / "benchmarks" / "leaderboard" / "reference.json"
    reference.parent.mkdir(parents=True)
    reference.write_text(json.dumps([line]))
    summary = run_suite(small_suite, load_declarations([str(reference)]), tmp_path)
    assert summary.failures == {}
    folder = summary.results.folder("cloned")
    assert folder.runs("tiny-v1") == [0]
    assert str(project) not in (folder.path / "agent.json").read_text()
    assert (folder.path / "curves" / "seed_0.csv").read_text().endswith("2000,0.5\n")


def test_an_installed_package_brings_its_agent(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    subprocess.run([*build, str(EXAMPLES / "plugin_package")], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "from cloudsched_env.leaderboard.conformance import check_conformance\n"
        "from cloudsched_env.agents import list_agents\n"
        "assert any(e.name == 'greedy_scheduler' and e.origin == 'plug-in' for e in list_agents())\n"
        "print([f for f in check_conformance('greedy_scheduler(background_level=2)', ('tiny-v1',), 8)"
        " if f.level != 'ok'])\n"
    )
    assert run_example("-c", code, path=tmp_path / "site").strip() == "[]"
