"""What users install: the built wheel, imported from another folder than the source tree."""

import subprocess
import sys
import zipfile

import pytest

ROOT = __file__.rsplit("/tests/", 1)[0]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel's contents in a folder of their own, as pip would lay them out."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), ROOT]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    target = folder / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def run_installed(installed, code, tmp_path):
    command = [sys.executable, "-c", code]
    environment = {"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin", "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path, env=environment).stdout


def test_holds_code_data_and_typing_marker_and_nothing_else(installed):
    files = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    for expected in (
        "cloudsched_env/py.typed",
        "cloudsched_env/scenarios/paper-v1.json",
        "cloudsched_env/scenarios/tiny-v1.json",
        "cloudsched_env/workload/profiles/google2011.json",
        "cloudsched_env/rllib_configs/hrac_lgrs.py",
        "cloudsched_env/leaderboard/suites/standard-v1.json",
        "cloudsched_env/leaderboard/anchors/quick-v1.json",
        "cloudsched_env/leaderboard/site/templates/index.html",
        "cloudsched_env/leaderboard/site/style.css",
        "cloudsched_env/rllib/networks/input_scales.json",
    ):
        assert expected in files
    assert {name.split("/")[0].split("-")[0] for name in files} == {"cloudsched_env"}
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in files)


def test_declares_the_base_dependencies_and_no_more(installed):
    (metadata,) = installed.glob("*.dist-info/METADATA")
    required = [line for line in metadata.read_text().splitlines() if line.startswith("Requires-Dist: ")]
    base = {line.split()[1].split(">")[0] for line in required if "extra ==" not in line}
    assert base == {"numpy", "gymnasium", "pettingzoo", "numba", "pydantic"}


def test_declares_both_commands(installed):
    (points,) = installed.glob("*.dist-info/entry_points.txt")
    text = points.read_text()
    assert "cloudsched = cloudsched_env.cli:main" in text
    assert "rllib = cloudsched_env.cli.rllib:main" in text


def test_imports_without_optional_packages_and_draws_an_episode(installed, tmp_path):
    code = (
        "import sys\n"
        "for name in ('torch', 'ray', 'duckdb', 'pyarrow', 'rich', 'typer', 'matplotlib'):\n"
        "    sys.modules[name] = None\n"
        "import numpy as np, cloudsched_env\n"
        f"assert cloudsched_env.__file__.startswith({str(installed)!r}), cloudsched_env.__file__\n"
        "from cloudsched_env.workload.source import make_source\n"
        "scenario = cloudsched_env.load_scenario('paper-v1')\n"
        "episode = make_source(scenario, 'train').episode(np.random.default_rng(0))\n"
        "print(episode.tasks, episode.data_tag)\n"
    )
    tasks, tag = run_installed(installed, code, tmp_path).split()
    assert int(tasks) > 1000
    assert tag == "generated"


@pytest.mark.slow
def test_steps_the_simulator_after_saying_that_it_compiles(installed, tmp_path):
    code = (
        "import cloudsched_env\n"
        "env = cloudsched_env.parallel_env('tiny-v1')\n"
        "observations, _ = env.reset(seed=0)\n"
        "for _ in range(20):\n"
        "    observations, rewards, *_ = env.step("
        "{a: env.action_space(a).sample(observations[a]['action_mask']) for a in env.agents})\n"
        "print(len(rewards))\n"
    )
    command = [sys.executable, "-c", code]
    environment = {"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin", "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    first = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert first.stdout.strip() == "5"
    assert "compiling the simulator" in first.stderr
    second = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert second.stdout.strip() == "5"
    assert "compiling" not in second.stderr
