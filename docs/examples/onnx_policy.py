"""A policy of any framework as a folder: ONNX models and a JSON file.

    python docs/examples/onnx_policy.py runs/onnx
    cloudsched check runs/onnx
    cloudsched leaderboard run --suite quick --agents runs/onnx --out results

Here the models are written by hand: for each role of nodes one linear layer from the observation to the logits of all
levels. ``torch.onnx.export`` writes such a file from a network. Observations of compute and storage nodes have the same
size on all clusters, so one model serves all scenarios; schedulers are played by a rule.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cloudsched_env import CloudSchedVectorEnv

SHARPNESS = 4.0


def linear_rules(layout, levels, rules):
    """Weights whose logits prefer the level nearest to a linear rule: -(l - t)^2 is 2 l t - l^2 but for a constant.

    Args:
        layout: of the role's observation.
        levels: of each sub-action.
        rules: for each sub-action its level with all fields at 0, and the slope of some fields.
    """
    fields = [field.name for field in layout.block("node").fields]
    weights, bias = np.zeros((layout.size, sum(levels)), np.float32), np.zeros(sum(levels), np.float32)
    first = 0
    for count, (level, slopes) in zip(levels, rules, strict=True):
        for place in range(count):
            bias[first + place] = SHARPNESS * (2 * place * level - place**2)
            for name, slope in slopes.items():
                weights[fields.index(name), first + place] = SHARPNESS * 2 * place * slope
        first += count
    return weights, bias


def write_model(path, weights, bias):
    """One linear layer as ONNX: input ``observation`` [rows, size], output ``logits`` [rows, levels]."""
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["observation", "weights", "bias"], ["logits"])],
        "linear",
        [helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["rows", weights.shape[0]])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", weights.shape[1]])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def main(folder: Path) -> None:
    """Write the policy."""
    env = CloudSchedVectorEnv("paper-v1", 1)
    folder.mkdir(parents=True, exist_ok=True)
    rules = {
        # Cache, admission, purging: purge garbage, and less so under load.
        "compute": [(2.0, {}), (2.0, {}), (1.0, {"garbage": 2.0, "running_cores_load": -1.0})],
        # Compaction with its debt; the serve weight in the middle.
        "storage": [(1.5, {"debt": 2.0}), (1.0, {})],
    }
    for role, of_role in rules.items():
        levels = env.action_levels[role].tolist()
        write_model(folder / f"{role}.onnx", *linear_rules(env.layouts[role], levels, of_role))
    description = {
        "format": "cloudsched-onnx/1",
        "name": "onnx_example",
        "deterministic": True,
        "roles": {
            "compute": {"model": "compute.onnx"},
            "storage": {"model": "storage.onnx"},
            "scheduler": {"agent": "balanced"},
        },
    }
    (folder / "policy.json").write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
