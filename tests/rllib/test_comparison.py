"""`benchmarks/comparison.py`: what is trained in what order, what is repeated, what the tables say."""

import csv
import fcntl
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ray")
pytest.importorskip("yaml")

from rich.console import Console

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
if str(BENCHMARKS) not in sys.path:
    sys.path.insert(0, str(BENCHMARKS))

from comparison import evaluations, figure, publish, steps, tables, trainings, variants  # noqa: E402

from cloudsched_env.evaluation.protocol import evaluate  # noqa: E402
from cloudsched_env.leaderboard.convergence import Curve  # noqa: E402
from tests.scripts import load_script  # noqa: E402

COLD, WARM = variants.Variant("mappo", "mappo"), variants.Variant("mappo+warm", "mappo", True, {"update.epochs": 2})


def plan_of(folder, epochs=4, **changes):
    values = {"scenario": "tiny-v1", "trace": None, "data": "generated", "expert": "linear_feedback"}
    return trainings.Plan(**{"runs": folder, "epochs": epochs, "recorded_episodes": 2, **values, **changes})


# ---- variants


def test_the_committed_variants_are_accepted_by_the_settings():
    experiment = variants.read_experiment(BENCHMARKS / "comparison.yaml")
    variants.check_settings(experiment.variants)
    names = {v.name for v in experiment.variants}
    assert {"hrac_lgrs", "mappo", "ippo", "happo", "qmix", "vdn", "hrac_lgrs+warm", "happo+warm"} <= names
    warm = {v.name: v.warm_start for v in experiment.variants}
    pairs = [(each.minuend, name) for each in experiment.differences for name in each.subtrahends]
    assert {("hrac_lgrs", "mappo"), ("hrac_lgrs+warm", "mappo+warm"), ("hrac_lgrs+warm", "linear_feedback")} < set(
        pairs
    )
    assert all(warm[first] == warm[second] for first, second in pairs if second in warm)  # both cloned, or neither


def test_algorithms_choose_cold_variants_and_warm_start_chooses_warm_ones():
    known = [COLD, WARM, variants.Variant("qmix", "qmix"), variants.Variant("ippo+warm", "ippo", True)]

    def names(*arguments):
        return [v.name for v in variants.choose(known, *arguments)]

    assert names() == ["mappo", "mappo+warm", "qmix", "ippo+warm"]
    assert names(["mappo", "qmix"], []) == ["mappo", "qmix"]
    assert names(["qmix"], ["ippo"]) == ["qmix", "ippo+warm"]
    assert names(["mappo"]) == ["mappo", "mappo+warm"]
    assert names(None, None, ["qmix"]) == ["qmix"]
    with pytest.raises(ValueError, match=r"warm start of algorithm qmix.*ippo, mappo"):
        names(["qmix"], ["qmix"])


ONE = "{variants: [{name: a, algorithm: mappo}]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("variants: [{name: a, algorithm: mappo, seed: 3}]", "unknown key seed"),
        ("variants: [{name: a, algorithm: mappo}, {name: a, algorithm: ippo}]", "several variants are called a"),
        ("variants: [{name: a/b, algorithm: mappo}]", "expected letters"),
        ("variants: [{name: a, algorithm: mappo, settings: {warm_start.trajectories: x}}]", "warm_start: true"),
        (f"{ONE}, differences: {{of: a, from: [balanced]}}}}", "differences: expected a list of"),
        (f"{ONE}, differences: [{{of: b, from: [a]}}]}}", "entry 1: of is 'b': expected one of a"),
        (f"{ONE}, differences: [{{of: a}}]}}", "entry 1: expected a mapping with 'of' and 'from'"),
        (f"{ONE}, differences: [{{of: a, from: [balanced], to: 3}}]}}", "entry 1: unknown key to"),
        (f"{ONE}, differences: [{{of: a, from: balanced}}]}}", "from is 'balanced': expected a list of names"),
        (f"{ONE}, differences: [{{of: a, from: []}}]}}", "expected a list of names"),
        (f"{ONE}, differences: [{{of: a, from: [a]}}]}}", "expected each name once, and not a itself"),
        (f"{ONE}, differences: [{{of: a, from: [balance]}}]}}", "from has 'balance': expected a rule or one of a"),
        (
            f"{ONE}, differences: [{{of: a, from: [balanced]}}, {{of: a, from: [random]}}]}}",
            "several entries are of a",
        ),
    ],
)
def test_mistakes_in_the_file_of_variants_are_named(tmp_path, text, message):
    (tmp_path / "v.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        variants.read_experiment(tmp_path / "v.yaml")


def test_several_variants_are_compared_with_variants_and_rules_of_all_kinds(tmp_path):
    (tmp_path / "v.yaml").write_text(
        textwrap.dedent("""
            variants: [{name: a, algorithm: mappo}, {name: b+warm, algorithm: ippo}]
            differences:
              - {of: a, from: [b+warm, balanced+reactive, 'linear_feedback(parameters="some/where.json")']}
              - {of: b+warm, from: [some/policy, module:Agent]}
        """)
    )
    first, second = variants.read_experiment(tmp_path / "v.yaml").differences
    assert first.subtrahends == ("b+warm", "balanced+reactive", 'linear_feedback(parameters="some/where.json")')
    assert (second.minuend, second.subtrahends) == ("b+warm", ("some/policy", "module:Agent"))


def test_a_setting_that_an_algorithm_does_not_have_is_told_before_training():
    with pytest.raises(ValueError, match=r"variant wrong: unknown setting 'update.epoch'"):
        variants.check_settings([variants.Variant("wrong", "mappo", False, {"update.epoch": 3})])
    with pytest.raises(ValueError, match=r"variant cloned"):
        variants.check_settings([variants.Variant("cloned", "qmix", True)])


# ---- trainings


def set_state(training, epoch, best=0.5):
    """What `cloudsched train` leaves behind."""
    name = f"epoch_{epoch:06d}"
    checkpoint = training.run / "checkpoints" / name
    (checkpoint / "policy").mkdir(parents=True, exist_ok=True)
    state = {"epoch": epoch, "env_steps": 100 * epoch, "elapsed_s": 6.0, "best_score": best, "best_epoch": epoch}
    (checkpoint / "state.json").write_text(json.dumps(state))
    (training.run / "latest.json").write_text(json.dumps({"last": name, "best": name}))
    (training.folder / "training.json").write_text(json.dumps(training.variant.to_dict()))


# Stands for `cloudsched train`: an epoch takes `pace` seconds, SIGINT ends it after the current one.
STAND_IN = """
    import json, pathlib, signal, sys, time
    arguments, pace, fails = sys.argv[1:-2], float(sys.argv[-2]), sys.argv[-1]
    asked = []
    signal.signal(signal.SIGINT, lambda *_: asked.append(1))
    resumed = "--resume" in arguments
    run = pathlib.Path(arguments[arguments.index("--resume" if resumed else "--out") + 1])
    epochs = int(arguments[arguments.index("--stop-epochs") + 1])
    first = 0
    if resumed:
        last = json.loads((run / "latest.json").read_text())["last"]
        first = json.loads((run / "checkpoints" / last / "state.json").read_text())["epoch"]
    if fails and fails in str(run):
        print("out of luck")
        sys.exit(3)
    for epoch in range(first + 1, epochs + 1):
        time.sleep(pace)
        checkpoint = run / "checkpoints" / f"epoch_{epoch:06d}"
        checkpoint.mkdir(parents=True)
        (checkpoint / "state.json").write_text(json.dumps({"epoch": epoch, "elapsed_s": 1.0}))
        (run / "progress.csv").write_text("epoch\\n" + "".join(f"{e}\\n" for e in range(1, epoch + 1)))
        (run / "latest.json").write_text(json.dumps({"last": checkpoint.name, "best": None}))
        if asked:
            sys.exit(130)
"""


class StandIn:
    """Starts the stand-in for `cloudsched`, and notes what it was asked for."""

    def __init__(self, pace=0.0, fails=""):
        self.pace, self.fails, self.commands = pace, fails, []

    def __call__(self, command, log, lock):
        self.commands.append(list(command))
        line = [sys.executable, "-c", textwrap.dedent(STAND_IN), *command, str(self.pace), self.fails]
        return subprocess.Popen(line, stdout=log, pass_fds=[lock.fileno()], start_new_session=True)


def train_all(plan, wanted, start, jobs=2):
    return trainings.train_all(plan, wanted, jobs, Console(quiet=True), start=start, poll_s=0.02)


def test_every_variant_has_seed_0_before_any_has_seed_1(tmp_path):
    wanted = trainings.order(plan_of(tmp_path), [COLD, WARM], 3)
    assert [(t.variant.name, t.seed) for t in wanted[:4]] == [
        ("mappo", 0),
        ("mappo+warm", 0),
        ("mappo", 1),
        ("mappo+warm", 1),
    ]
    assert len({t.folder for t in wanted}) == 6


def test_a_warm_variant_is_given_the_trajectories_and_its_settings(tmp_path):
    plan = plan_of(tmp_path, trace=tmp_path / "tasks.parquet")
    cold, warm = trainings.order(plan, [COLD, WARM], 1)
    begin = trainings.arguments(plan, warm, trainings.NEW)
    assert begin[:6] == ["train", "mappo", "--scenario", "tiny-v1", "--trace", str(tmp_path / "tasks.parquet")]
    assert "--set=update.epochs=2" in begin
    assert f"--set=warm_start.trajectories={tmp_path / 'trajectories'}" in begin
    assert not [part for part in trainings.arguments(plan, cold, trainings.NEW) if part.startswith("--set")]
    resume = trainings.arguments(plan, warm, trainings.BEGUN)
    assert resume == ["train", "--resume", str(warm.run), "--stop-epochs", "4"]


def test_what_is_finished_is_not_repeated_and_what_had_begun_goes_on(tmp_path):
    plan = plan_of(tmp_path)
    finished, begun, new = trainings.order(plan, [COLD, WARM, variants.Variant("ippo", "ippo")], 1)
    set_state(finished, 4)
    set_state(begun, 2)
    new.run.mkdir(parents=True)
    (new.run / "progress.csv").write_text("epoch\n1\n")  # ended before its first checkpoint
    assert [t.status(4) for t in (finished, begun, new)] == ["finished", "begun", "new"]
    start = StandIn()
    assert train_all(plan, [finished, begun, new], start) == ([], False)
    assert [command[:2] for command in start.commands] == [["train", "--resume"], ["train", "ippo"]]
    assert {t.status(4) for t in (finished, begun, new)} == {"finished"}
    start.commands.clear()
    assert train_all(plan, [finished, begun, new], start) == ([], False)
    assert start.commands == []
    train_all(plan_of(tmp_path, epochs=5), [finished, begun, new], start)
    assert len([command for command in start.commands if command[1] == "--resume"]) == 3  # more epochs go on


def test_trainings_that_do_not_fit_are_refused_before_anything_starts(tmp_path):
    plan = plan_of(tmp_path)
    (training,) = trainings.order(plan, [WARM], 1)
    set_state(training, 6)
    with pytest.raises(ValueError, match=r"has had 6 epochs, wanted are 4"):
        train_all(plan, [training], StandIn())
    changed = trainings.Training(
        variants.Variant("mappo+warm", "mappo", True, {"update.epochs": 3}), 0, training.folder
    )
    with pytest.raises(ValueError, match=r"other settings.*update.epochs is 3 now, but was 2"):
        changed.status(6)
    plan.keep()
    plan.keep()
    with pytest.raises(ValueError, match=r"another plan.*scenario is 'paper-v1' now, but was 'tiny-v1'"):
        plan_of(tmp_path, scenario="paper-v1").keep()


def test_seeds_of_a_row_share_the_defaults_of_the_package_too(tmp_path):
    (training,) = trainings.order(plan_of(tmp_path), [WARM], 1)
    settings = variants.check_settings([WARM])[WARM.name]
    training.check_defaults(settings)  # nothing is there yet
    set_state(training, 2)
    recorded = {**settings, "trace": "tasks.parquet"}
    recorded["warm_start"] = {**settings["warm_start"], "trajectories": "elsewhere"}
    (training.run / "run.json").write_text(json.dumps({"settings": recorded}))
    training.check_defaults(settings)
    other = {**settings, "discount": 0.9}
    with pytest.raises(ValueError, match=r"other defaults: .*discount is 0.9 now, but was 0.9.*remove"):
        training.check_defaults(other)


def test_settings_that_came_to_the_package_since_do_not_count(tmp_path):
    settings = variants.check_settings([WARM])[WARM.name]
    older = {name: value for name, value in settings.items() if name != "centre_rewards"}
    older["warm_start"] = {name: value for name, value in settings["warm_start"].items() if name != "policies"}
    assert trainings.different_default(older, settings, "a") is None
    older["warm_start"]["epochs"] = 99
    assert "a.warm_start.epochs is" in trainings.different_default(older, settings, "a")


def test_what_was_trained_on_another_machine_is_known_by_its_results(tmp_path):
    """Results are committed, runs are not."""
    write_results(tmp_path / "out", {("qmix", "training"): [[0.5, 0.6]]})
    key = {"scenario": "tiny-v1", "split": "test", "episodes": 2}
    plan, qmix = plan_of(tmp_path / "runs", epochs=10), variants.Variant("qmix", "qmix")
    first, second = trainings.order(plan, [qmix], 2)
    assert evaluations.is_reported(first, tmp_path / "out", key, 10, {})
    assert not evaluations.is_reported(second, tmp_path / "out", key, 10, {})
    assert not evaluations.is_reported(first, tmp_path / "out", key, 20, {})
    assert not evaluations.is_reported(first, tmp_path / "out", {**key, "episodes": 3}, 10, {})
    metadata = tmp_path / "out" / "raw" / "qmix" / "seed_0.metadata.json"
    described = json.loads(metadata.read_text())
    described["training"]["settings"] = {"discount": 0.9}
    metadata.write_text(json.dumps(described))
    assert evaluations.is_reported(first, tmp_path / "out", key, 10, {"discount": 0.9, "replay": 3})
    with pytest.raises(ValueError, match=r"qmix, seed 0 has results .*discount is 0\.8 now, but was 0\.9"):
        evaluations.is_reported(first, tmp_path / "out", key, 10, {"discount": 0.8})
    set_state(first, 10)
    assert not evaluations.is_reported(first, tmp_path / "out", key, 10, {})  # its run is here: that counts


def test_a_training_that_fails_is_tried_twice_reported_and_does_not_stop_the_others(tmp_path):
    plan = plan_of(tmp_path)
    wanted = trainings.order(plan, [COLD, WARM], 2)
    start = StandIn(fails="mappo+warm/seed_0")
    failures, interrupted = train_all(plan, wanted, start)
    assert not interrupted
    assert len(failures) == 1
    assert failures[0].startswith("mappo+warm, seed 0: exit status 3")
    assert failures[0].endswith("out of luck")
    assert [t.status(4) for t in wanted] == ["finished", "new", "finished", "finished"]
    assert len(start.commands) == 5


def test_a_request_to_stop_lets_trainings_save_and_begins_no_other(tmp_path):
    plan = plan_of(tmp_path, epochs=500)
    wanted = trainings.order(plan, [COLD, WARM], 1)
    start = StandIn(pace=0.05)

    def ask():
        while not (wanted[0].run / "latest.json").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=ask)
    thread.start()
    failures, interrupted = train_all(plan, wanted, start, jobs=1)
    thread.join()
    assert (failures, interrupted, len(start.commands)) == ([], True, 1)
    assert [t.status(500) for t in wanted] == ["begun", "new"]


def test_a_training_that_a_killed_command_left_running_is_waited_for(tmp_path):
    plan = plan_of(tmp_path)
    (training,) = trainings.order(plan, [COLD], 1)
    training.folder.mkdir(parents=True)
    orphans = (training.folder / "lock").open("a")
    fcntl.flock(orphans, fcntl.LOCK_EX)
    start = StandIn()

    def finish():
        time.sleep(0.3)
        assert start.commands == []
        set_state(training, 4)
        orphans.close()

    thread = threading.Thread(target=finish)
    thread.start()
    assert train_all(plan, [training], start) == ([], False)
    thread.join()
    assert start.commands == []


# ---- tables


def write_results(out, rewards, *, bound=1.0, random=0.0, curves=None):
    """Made-up results: ``{(name, kind): [seeds][windows] of J}``."""
    windows = len(next(iter(rewards.values()))[0])
    key = {"scenario": "tiny-v1", "split": "test", "episodes": windows}
    out.mkdir(parents=True, exist_ok=True)
    reference = {"key": key, "data_tag": "generated", "bound": {"team_reward": [bound] * windows}}
    (out / "bound.json").write_text(json.dumps(reference))
    (out / "validation.json").write_text(json.dumps({"team_reward": {"linear_feedback": 0.5, "balanced": 0.4}}))
    for (name, kind), seeds in {("random", "rule"): [[random] * windows], **rewards}.items():
        for seed, values in enumerate(seeds):
            score = [(value - random) / (bound - random) for value in values]
            metrics = dict.fromkeys(tables.COLUMNS, [0.25] * windows) | {"team_reward": values, "score": score}
            folder = out / "raw" / name
            folder.mkdir(parents=True, exist_ok=True)
            content = {"cloudsched": {"tiny-v1/test": {name: {f"seed_{seed}": {"absolute_metrics": metrics}}}}}
            (folder / f"seed_{seed}.json").write_text(json.dumps(content))
            described = {"name": name, "seed": seed, "kind": kind, "key": key}
            if kind == "training":
                described["training"] = {"env_steps": 1000, "epochs": 10, "wall_clock_s": 90.0, "settings": {}}
                (out / "curves" / name).mkdir(parents=True, exist_ok=True)
                scores = (curves or {}).get(name, {}).get(seed, [0.1] * 10)
                lines = [f"{e},{100 * e},{e},{score}" for e, score in enumerate(scores, 1)]
                header = ",".join(evaluations.CURVE_COLUMNS)
                (out / "curves" / name / f"seed_{seed}.csv").write_text("\n".join([header, *lines]) + "\n")
            (folder / f"seed_{seed}.metadata.json").write_text(json.dumps(described))
    return tables.load_results(out)


def test_rows_have_the_interquartile_mean_with_an_interval_over_trainings_and_rules_come_after(tmp_path):
    values = [[0.1, 0.2, 0.3, 0.8], [0.2, 0.3, 0.4, 0.9]]
    results = write_results(
        tmp_path, {("a", "training"): values, ("weak", "rule"): [[0.1] * 4], ("good", "rule"): [[0.6] * 4]}, bound=2.0
    )
    text = tables.main_table(results, ["a"], "linear_feedback", "the command")
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert [row.split(" |")[0] for row in rows] == ["| **a**", "| `good`", "| `weak`", "| `random`", "| upper bound"]
    # Scores are J / 2. Of eight, two are cut from each end: mean of .1, .15, .15, .2 = .15. Leaving one training out
    # leaves the middle two: .175 and .125; the jackknife's error is half their distance, .025; t = 12.706.
    assert rows[0].startswith("| **a** | 2 | 0.150 [-0.168, 0.468] | 0.400 [-0.235, 1.035] |")
    assert "| `good` |  | 0.300 | 0.600 |" in rows[1]
    assert rows[-1].startswith("| upper bound |  | 1 | 2.000 |")
    assert "the command" in text


def test_convergence_is_the_median_epoch_and_those_that_never_converge_are_censored(tmp_path):
    early, late, never, dips = [0.6] * 10, [0.1] * 3 + [0.6] * 7, [0.1] * 10, [0.6] * 4 + [0.1] + [0.6] * 5
    curves = {"a": {0: early, 1: dips, 2: late}, "b": {0: never, 1: never, 2: late}}
    rewards = {(name, "training"): [[0.5] * 4] * 3 for name in curves}
    results = write_results(tmp_path, rewards, curves=curves)
    # a: epochs 1, 6 and 4; b: 4, and two that are censored at 10.
    assert tables.convergence_cell(results.rows["a"], 0.5) == "4 (3 of 3)"
    assert tables.convergence_cell(results.rows["b"], 0.5) == "> 10 (1 of 3)"
    assert tables.convergence_cell(results.rows["a"], 0.9) == "> 10 (0 of 3)"
    assert "| > 10 (1 of 3) | 1,000 | 1.5 |" in tables.main_table(results, ["a", "b"], "linear_feedback", "")


def test_trainings_that_ended_before_their_first_validation_have_no_epoch_of_convergence(tmp_path):
    results = write_results(tmp_path, {("a", "training"): [[0.5] * 4]}, curves={"a": {0: []}})
    assert results.rows["a"].curves == []
    assert "| not validated | 1,000 | 1.5 |" in tables.main_table(results, ["a"], "linear_feedback", "")


def test_differences_are_paired_by_window_and_have_the_share_of_the_span(tmp_path):
    # Differences to the rule: .1 in all windows of seed 0, .3 of seed 1: mean .2, standard error .1, t = 12.706.
    rule = [0.1, 0.5, 0.2, 0.4]
    first = [[value + 0.1 for value in rule], [value + 0.3 for value in rule]]
    second = [[value - 0.1 for value in rule]]
    results = write_results(
        tmp_path, {("a", "training"): first, ("b", "training"): second, ("r", "rule"): [rule]}, bound=4.0, random=0.0
    )
    text = tables.difference_table(results, "a", ["r", "b", "c"])
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert rows[0].startswith("| r | 2 | +0.2000 [-1.0706, +1.4706] | +5.0 % [-26.8, +36.8] |")
    assert rows[0].endswith("| 100 % |")
    assert rows[1].startswith("| b | 1 | +0.2000 | +5.0 % |")  # seed 0 of both, no interval
    assert ["windows only" in row for row in rows] == [False, True, False]  # one training says nothing of others
    assert rows[2].startswith("| c | 0 | not run")
    assert tables.paired_matrix(results.rows["a"], results.rows["b"]).shape == (1, 4)
    assert tables.difference_table(results, "c", ["a"]).startswith("No differences")


def test_every_minuend_has_a_table_and_pairs_that_began_differently_are_labelled(tmp_path):
    rewards = {(name, "training"): [[0.5, 0.6], [0.5, 0.7]] for name in ("a", "a+warm", "b", "b+warm")}
    results = write_results(tmp_path, {**rewards, ("r", "rule"): [[0.4, 0.4]]})
    for name, row in results.rows.items():
        for described in row.descriptions:
            described.get("training", {})["warm_start"] = name.endswith("+warm")
    wanted = [variants.Difference("a", ("b", "r")), variants.Difference("a+warm", ("b+warm", "b", "r"))]
    text = tables.difference_tables(results, wanted)
    rows = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ")]
    assert rows == [
        "| `a` minus", "| b", "| r", "| `a+warm` minus", "| b+warm", "| b (**from initial networks**)", "| r",
    ]  # fmt: skip
    assert text.count("paired by window") == 1
    assert tables.difference_table(results, "a", ["b+warm"]).splitlines()[-1].startswith("| b+warm (**from a clone**)")
    assert tables.difference_tables(results, ()) == ""


def test_results_of_other_windows_are_left_out_and_seeds_that_were_trained_otherwise_are_told(tmp_path):
    write_results(tmp_path, {("a", "training"): [[0.5] * 4] * 2, ("old", "rule"): [[0.9] * 4]})
    for path, change in (
        (tmp_path / "raw/old/seed_0.metadata.json", {"key": {"scenario": "tiny-v1", "split": "test", "episodes": 9}}),
        (tmp_path / "raw/a/seed_0.metadata.json", {"training": {"settings": {"discount": 0.99}}}),
        (tmp_path / "raw/a/seed_1.metadata.json", {"training": {"settings": {"discount": 0.9, "added_since": 1}}}),
    ):
        described = json.loads(path.read_text())
        training = described.get("training", {}) | change.pop("training", {})
        path.write_text(json.dumps(described | change | ({"training": training} if training else {})))
    text = tables.main_table(tables.load_results(tmp_path), ["a"], "linear_feedback", "")
    assert "`old`" not in text
    assert "Left out, of other windows or constants: old/seed_0" in text
    assert "Seeds 0 and 1 were not trained alike: a.discount" in text
    assert "added_since" not in text


def test_curves_are_averaged_where_all_trainings_were_validated():
    steps, scores = figure.common_curve(
        [Curve(np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.2, 0.3])), Curve(np.array([2.0, 3.0]), np.array([0.4, 0.5]))]
    )
    np.testing.assert_array_equal(steps, [2.0, 3.0])
    np.testing.assert_array_equal(scores, [[0.2, 0.3], [0.4, 0.5]])


def test_the_median_is_of_all_seeds_and_a_seed_that_is_not_the_median_is_not_called_so():
    scores = {0: 0.4, 1: 0.9, 2: 0.7, 3: 0.6}
    choice = publish.choose_seed({seed: scores[seed] for seed in (0, 1, 2)}, {0, 1, 2})
    assert (choice.seed, choice.ranking, choice.in_words()) == (2, (1, 2, 0), "the median of all 3 by validation")
    choice = publish.choose_seed(scores, scores)
    assert (choice.seed, choice.in_words()) == (3, "the lower of the two in the middle of all 4 by validation")
    choice = publish.choose_seed(scores, {0, 1})
    assert choice.seed == 0
    assert choice.in_words().startswith("the fourth of 4 by validation (not the median: the policy of that, seed 3,")
    assert publish.choose_seed({5: None}, {5}).in_words() == "the only one so far"
    assert publish.choose_seed({0: None, 1: 0.5, 2: 0.4}, {0, 1, 2}).seed == 2  # never validated counts as worst


@pytest.mark.parametrize("folder", sorted((ROOT / "baselines").glob("*/seed_0")), ids=lambda folder: folder.parent.name)
def test_published_folders_say_the_rank_of_the_seed_that_they_tell_how_to_repeat(folder):
    best = {}
    for path in folder.parent.glob("seed_*/curve.csv"):
        with path.open(newline="") as file:
            scores = [float(row["validation/team_reward"]) for row in csv.DictReader(file)]
        best[int(path.parent.name.removeprefix("seed_"))] = max(scores)
    choice = publish.choose_seed(best, best)
    readme = (folder.parent / "README.md").read_text()
    assert f"Seed {choice.seed} is {choice.in_words()};" in readme
    assert f"--seed {choice.seed} " in readme
    assert f"| **{choice.seed}** | {best[choice.seed]:.4f} |" in readme
    from cloudsched_env.rllib.config_files import load_experiment

    assert load_experiment(folder.parent / "config.yaml").config.seed == choice.seed


# ---- all of it

SMALL = """
    recorded_episodes: 2
    differences: [{of: mappo+warm, from: [least_allocated, qmix]}]
    variants:
      - name: mappo+warm
        algorithm: mappo
        warm_start: true
        settings: {sampling.clusters: 4, sampling.phases: 2, sampling.rollout_steps: 50, epoch_env_steps: 200,
                   validation.every_epochs: 1, validation.episodes: 2, update.epochs: 1, update.minibatch_steps: 100,
                   warm_start.epochs: 1}
      - name: qmix
        algorithm: qmix
        settings: {sampling.clusters: 4, sampling.phases: 2, sampling.rollout_steps: 50, epoch_env_steps: 200,
                   validation.every_epochs: 1, validation.episodes: 2, replay.minimum_env_steps: 100, update.steps: 1,
                   update.fragments: 2}
"""


@pytest.fixture
def command():
    """The script, which has the name of the folder of its parts."""
    return load_script("comparison.py", "comparison_command")


def run_command(command, arguments):
    import typer
    from typer.testing import CliRunner

    app = typer.Typer()
    app.command()(command.main)
    return CliRunner().invoke(app, arguments)


def test_exit_codes_tell_an_interruption_a_failure_and_a_mistake_apart(command, tmp_path, monkeypatch):
    arguments = ["--scenario", "tiny-v1", "--only", "qmix", "--train", "--runs", str(tmp_path)]
    monkeypatch.setattr(steps, "train_all", lambda *rest, start: ([], True))
    assert run_command(command, arguments).exit_code == 130
    monkeypatch.setattr(steps, "train_all", lambda *rest, start: (["qmix, seed 0: exit status 3"], False))
    assert run_command(command, arguments).exit_code == 1
    monkeypatch.setattr(steps, "train_all", lambda *rest, start: ([], False))
    assert run_command(command, arguments).exit_code == 0
    assert run_command(command, [*arguments, "--only", "unknown"]).exit_code == 2


@pytest.mark.ray
@pytest.mark.slow
def test_trainings_evaluation_and_tables_from_nothing_and_nothing_twice(command, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("RAY_worker_niceness", "0")
    (tmp_path / "v.yaml").write_text(textwrap.dedent(SMALL))
    arguments = ["--scenario", "tiny-v1", "--seeds", "1", "--epochs", "1", "--episodes", "2", "--jobs", "2"]
    arguments += [
        "--variants",
        str(tmp_path / "v.yaml"),
        "--runs",
        str(tmp_path / "runs"),
        "--rival",
        "least_allocated",
    ]
    arguments += ["--out", str(tmp_path / "out")]

    def invoke(*more):
        result = run_command(command, [*arguments, *more])
        assert result.exit_code == 0, (result.output, result.exception)
        return {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*") if f.is_file() and f.name != "lock"}

    before = invoke()
    text = (tmp_path / "out" / "table.md").read_text()
    assert [line.split(" |")[0] for line in text.splitlines() if line.startswith("| **")] == [
        "| **mappo+warm**",
        "| **qmix**",
    ]
    assert "| > 1 (0 of 1) | 200 |" in text
    # The same numbers as `cloudsched evaluate`, rules and policies alike.
    policy = trainings.Training(variants.Variant("qmix", "qmix"), 0, tmp_path / "runs/qmix/seed_0").policy
    found = evaluate([f'{policy}(name="qmix")', "least_allocated"], "tiny-v1", "test", 2)
    for agent in found.agents:
        raw = json.loads((tmp_path / "out" / "raw" / agent.name / "seed_0.json").read_text())
        values = raw["cloudsched"]["tiny-v1/test"][agent.name]["seed_0"]
        assert values["absolute_metrics"]["score"] == pytest.approx(found.score(agent).tolist(), rel=1e-8)
        assert values["step_1"]["team_reward"] == pytest.approx(agent.metrics["team_reward"].tolist(), rel=1e-8)
    described = json.loads((tmp_path / "out/raw/mappo+warm/seed_0.metadata.json").read_text())
    assert described["training"]["env_steps"] == 200
    assert described["training"]["wall_clock_s"] > 0
    assert described["training"]["settings"]["warm_start"]["trajectories"] == "trajectories"
    assert described["data_tag"] == "generated"
    with (tmp_path / "runs/qmix/seed_0/run/progress.csv").open(newline="") as file:
        validated = float(next(csv.DictReader(file))["validation/team_reward"])
    with (tmp_path / "out/curves/qmix/seed_0.csv").open(newline="") as file:
        assert float(next(csv.DictReader(file))["validation/team_reward"]) == pytest.approx(validated)
    assert (tmp_path / "out/curves.svg").read_text().count("linear_feedback")
    after = invoke("--train", "--evaluate", "--publish", "--baselines", str(tmp_path / "baselines"))
    published = {path for path in after if path.is_relative_to(tmp_path / "baselines")}
    assert {path: after[path] for path in after if path not in published} == before  # nothing was done again
    from cloudsched_env.rllib.config_files import load_experiment

    experiment = load_experiment(tmp_path / "baselines/mappo+warm/config.yaml")
    assert experiment.config.settings.sampling.clusters == 4
    assert experiment.stop == {"training_iteration": 1}
    again = evaluate([str(tmp_path / "baselines/qmix/seed_0/policy")], "tiny-v1", "test", 2)
    np.testing.assert_allclose(again.agents[0].metrics["team_reward"], found.agents[0].metrics["team_reward"])
    with (tmp_path / "baselines/qmix/seed_0/curve.csv").open(newline="") as file:
        assert float(next(csv.DictReader(file))["validation/team_reward"]) == pytest.approx(validated)
    # Seeds that were trained elsewhere keep their policies as long as they have results.
    raw = tmp_path / "out/raw/qmix"
    (raw / "seed_1.json").write_text((raw / "seed_0.json").read_text().replace("seed_0", "seed_1"))
    described = json.loads((raw / "seed_0.metadata.json").read_text())
    (raw / "seed_1.metadata.json").write_text(json.dumps({**described, "seed": 1}))
    shutil.copy(tmp_path / "out/curves/qmix/seed_0.csv", tmp_path / "out/curves/qmix/seed_1.csv")
    for seed in (1, 2):
        shutil.copytree(tmp_path / "baselines/qmix/seed_0", tmp_path / f"baselines/qmix/seed_{seed}")
    invoke("--publish", "--baselines", str(tmp_path / "baselines"))
    assert sorted(p.name for p in (tmp_path / "baselines/qmix").glob("seed_*")) == ["seed_0", "seed_1"]
    text = (tmp_path / "baselines/qmix/README.md").read_text()
    assert "the lower of the two in the middle of all 2 by validation" in text
    # Without any run of its own a machine can publish what others have trained: the files stay as they are.
    invoke("--publish", "--baselines", str(tmp_path / "baselines"), "--runs", str(tmp_path / "none"))
    again = (tmp_path / "baselines/qmix/README.md").read_text()
    assert again.split("All of the comparison")[0] == text.split("All of the comparison")[0]
    readme = (tmp_path / "baselines/mappo+warm/README.md").read_text()
    assert "cloudsched record linear_feedback --scenario tiny-v1 --episodes 2 --out trajectories" in readme
    assert "--set=warm_start.trajectories=trajectories" in readme
    assert str(tmp_path) not in readme.split("All of the comparison")[0]
    assert not math.isnan(described["training"]["best_validation_team_reward"])
