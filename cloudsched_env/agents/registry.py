"""Agents by name: the heuristics that come with the package, one's own classes, trained policies, plug-ins."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import inspect
import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from cloudsched_env.agents.check import AgentError, check_agent
from cloudsched_env.agents.heuristics import (
    Balanced,
    BestFit,
    BoundedLoadHash,
    DelayScheduling,
    DominantResourceFairness,
    HeuristicAgent,
    Knobs,
    LeastAllocated,
    Locality,
    MostAllocated,
    Placement,
    PowerOfTwo,
    RandomKnobs,
    RandomPlacement,
    ReactiveKnobs,
    RoundRobin,
    StaticKnobs,
    Tetris,
)
from cloudsched_env.agents.linear import LinearKnobs, LinearParameters, linear_agent
from cloudsched_env.agents.mixed import MixedAgent
from cloudsched_env.agents.onnx_policy import FORMAT as ONNX_FORMAT
from cloudsched_env.agents.onnx_policy import OnnxPolicy, read_description
from cloudsched_env.agents.per_agent import PerAgentPolicies, is_policy_function
from cloudsched_env.agents.protocol import Agent

__all__ = ["ENTRY_POINT_GROUP", "KNOBS", "PLACEMENTS", "AgentEntry", "list_agents", "load_agent"]

ENTRY_POINT_GROUP = "cloudsched.agents"
POLICY_MODULE = "cloudsched_env.rllib.networks.agent"

PLACEMENTS: dict[str, type[Placement]] = {
    "random": RandomPlacement,
    "round_robin": RoundRobin,
    "power_of_two": PowerOfTwo,
    "least_allocated": LeastAllocated,
    "most_allocated": MostAllocated,
    "balanced": Balanced,
    "best_fit": BestFit,
    "tetris": Tetris,
    "drf": DominantResourceFairness,
    "locality": Locality,
    "bounded_load_hash": BoundedLoadHash,
    "delay_scheduling": DelayScheduling,
}
KNOBS: dict[str, type[Knobs]] = {"static": StaticKnobs, "reactive": ReactiveKnobs, "random": RandomKnobs}
LINEAR = {"linear_static": "static", "linear_feedback": "feedback"}
MIXED = "mixed"

_NAMED = re.compile(r"^(?P<name>[A-Za-z_]\w*)(?P<arguments>\(.*\))?$", re.DOTALL)


@dataclass(frozen=True)
class AgentEntry:
    """One known agent: its name, one line on it, and where it comes from."""

    name: str
    summary: str
    origin: str


def list_agents() -> list[AgentEntry]:
    """All agents known by name: placements, linear policies and installed plug-ins."""
    entries = [AgentEntry(name, placement.summary, "placement") for name, placement in PLACEMENTS.items()]
    entries += [AgentEntry(f"…+{name}", knobs.summary, "node knobs") for name, knobs in KNOBS.items()]
    for name, kind in LINEAR.items():
        parameters = LinearParameters.packaged(kind)  # type: ignore[arg-type]
        entries.append(AgentEntry(name, f"linear placement, {kind} knobs; {parameters.origin}", "linear"))
    entries.append(AgentEntry('mixed(scheduler="…", …)', "another agent for each of the three roles", "mixed"))
    for point in entry_points(group=ENTRY_POINT_GROUP):
        entries.append(AgentEntry(point.name, point.value, "plug-in"))
    return entries


def load_agent(spec: str) -> Agent:
    """Build an agent from a string.

    Args:
        spec: one of

            * a placement, ``least_allocated``, with parameters, ``delay_scheduling(delay_s=1.0)``, and with a rule
              for the node knobs, ``balanced+reactive`` or ``tetris+static(background_level=3,admission_level=2)``;
              without one, knobs are ``static`` (``random`` for ``random``);
            * ``linear_static`` or ``linear_feedback``, with ``(parameters="file.json")`` for parameters of one's own,
              and with ``+static`` or ``+reactive`` to replace the knobs;
            * ``mixed(compute="random", storage="balanced+reactive", scheduler="locality")``: an agent for each role;
            * the name of a plug-in of the entry-point group ``cloudsched.agents``;
            * ``package.module:Class`` or ``path/to/file.py:Class``, with arguments as above;
            * in the same way a function ``policy(observation, agent)``, or a dict of such functions by role or agent
              (`PerAgentPolicies`);
            * the folder of a trained policy (safetensors or ONNX, and JSON), with ``(deterministic=True)`` or
              ``(name="hrac seed 3")`` if wanted.

    Raises:
        AgentError: saying what was expected, with the known names.
    """
    head, *rest = _split_outside_brackets(spec.strip(), "+")
    match = _NAMED.match(head)
    if match:
        name, arguments = match["name"], match["arguments"]
        if name in PLACEMENTS or name in LINEAR:
            return _heuristic(spec, name, arguments, rest)
        if name == MIXED and not rest:
            return _mixed(spec, arguments)
        for point in entry_points(group=ENTRY_POINT_GROUP):
            if point.name == name and not rest:
                return _instantiate(point.load(), arguments, spec)
    folder, brackets, rest_of_spec = spec.partition("(")
    if Path(folder).is_dir():
        return _trained_policy(Path(folder), brackets + rest_of_spec, spec)
    location, colon, target = spec.rpartition(":")
    if colon and (match := _NAMED.match(target)):
        module = _load_file(Path(location)) if location.endswith(".py") else _load_module(location, spec)
        factory = getattr(module, match["name"], None)
        if factory is None:
            classes = [n for n, c in vars(module).items() if inspect.isclass(c) and c.__module__ == module.__name__]
            raise AgentError(f"{spec!r}: {location} has no {match['name']!r}, its classes are {classes}")
        return _instantiate(factory, match["arguments"], spec)
    known = [*PLACEMENTS, *LINEAR, MIXED, *(point.name for point in entry_points(group=ENTRY_POINT_GROUP))]
    raise AgentError(
        f"unknown agent {spec!r}: expected one of {', '.join(known)} (with +{' or +'.join(KNOBS)}), module:Class, "
        "file.py:Class, or the folder of a trained policy"
    )


def _heuristic(spec: str, name: str, arguments: str | None, rest: list[str]) -> HeuristicAgent:
    if len(rest) > 1:
        raise AgentError(f"{spec!r}: expected at most one '+', as in {name}+reactive")
    knobs: Knobs | None = None
    if rest:
        match = _NAMED.match(rest[0])
        if not match or match["name"] not in KNOBS:
            raise AgentError(f"{spec!r}: unknown rule for node knobs {rest[0]!r}, expected one of {', '.join(KNOBS)}")
        knobs = _configured(KNOBS[match["name"]], match["arguments"], spec)
    if name in LINEAR:
        keywords = _keywords(arguments, spec)
        path = keywords.pop("parameters", None)
        if keywords:
            raise AgentError(f'{spec!r}: unknown argument {sorted(keywords)}, expected {name}(parameters="file.json")')
        kind: Any = LINEAR[name]
        try:
            parameters = LinearParameters.load(path) if path else LinearParameters.packaged(kind)
        except (OSError, ValueError) as error:
            raise AgentError(f"{spec!r}: {error}") from error
        if parameters.kind != kind:
            raise AgentError(f"{spec!r}: {path} holds {parameters.kind!r} parameters, expected {kind!r}")
        agent = linear_agent(spec, parameters)
        return HeuristicAgent(spec, agent.placement, knobs or LinearKnobs(parameters))
    default = RandomKnobs() if name == "random" else StaticKnobs()
    return HeuristicAgent(spec, _configured(PLACEMENTS[name], arguments, spec), knobs or default)


def _mixed(spec: str, arguments: str | None) -> MixedAgent:
    """An agent for each role; roles with the same text share one."""
    keywords = _keywords(arguments, spec)
    wrong = [name for name, text in keywords.items() if not isinstance(text, str)]
    if wrong:
        raise AgentError(f'{spec!r}: expected agents as text, as in {wrong[0]}="least_allocated"')
    agents = {text: load_agent(text) for text in keywords.values()}
    try:
        return MixedAgent(spec, {role: agents[text] for role, text in keywords.items()})
    except ValueError as error:
        raise AgentError(f"{spec!r}: {error}") from error


def _configured(kind: Callable[..., Any], arguments: str | None, spec: str) -> Any:
    """A frozen dataclass with fields set by ``(name=value, ...)``, checked against its ranges."""
    keywords = _keywords(arguments, spec)
    fields = {f.name: f for f in dataclasses.fields(kind) if f.init}  # type: ignore[arg-type]
    for name, value in keywords.items():
        if name not in fields:
            expected = ", ".join(fields) or "none"
            raise AgentError(f"{spec!r}: unknown parameter {name!r}, expected one of: {expected}")
        low, high = fields[name].metadata.get("low"), fields[name].metadata.get("high")
        integer = isinstance(fields[name].default, int) or low is None
        if isinstance(value, bool) or not isinstance(value, int if integer else (int, float)):
            raise AgentError(f"{spec!r}: {name} is {value!r}, expected {'an integer' if integer else 'a number'}")
        if low is not None and high is not None and not low <= value <= high:
            raise AgentError(f"{spec!r}: {name} is {value}, expected {low} to {high} ({fields[name].metadata['doc']})")
    return kind(**keywords)


def _keywords(arguments: str | None, spec: str) -> dict[str, Any]:
    """Parse ``(a=1, b="x")`` as Python literals."""
    if not arguments:
        return {}
    try:
        call = ast.parse(f"f{arguments}", mode="eval").body
        if not isinstance(call, ast.Call) or call.args or any(k.arg is None for k in call.keywords):
            raise ValueError
        return {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg}
    except (SyntaxError, ValueError) as error:
        raise AgentError(f"{spec!r}: expected parameters as name=value, got {arguments}") from error


def _split_outside_brackets(text: str, separator: str) -> list[str]:
    """Split at the separator, but not within parentheses."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _load_file(path: Path) -> Any:
    if not path.is_file():
        raise AgentError(f"no file {path}: expected file.py:Class")
    name = f"cloudsched_user_{path.stem}"
    module_spec = importlib.util.spec_from_file_location(name, path)
    assert module_spec is not None
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module  # dataclasses and pickle look the module up by name
    module_spec.loader.exec_module(module)
    return module


def _load_module(name: str, spec: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise AgentError(
            f"{spec!r}: no module {error.name!r}: expected package.module:Class or file.py:Class"
        ) from error


def _instantiate(factory: Any, arguments: str | None, spec: str) -> Agent:
    if is_policy_function(factory) or isinstance(factory, Mapping):
        name = _keywords(arguments, spec).get("name") or spec.rpartition(":")[2].partition("(")[0]
        return PerAgentPolicies(str(name), factory)
    try:
        agent = factory(**_keywords(arguments, spec))
    except TypeError as error:
        raise AgentError(f"{spec!r}: cannot create the agent: {error}") from error
    check_agent(agent, repr(spec))
    return agent


def _trained_policy(folder: Path, arguments: str, spec: str) -> Agent:
    """Load a trained policy; networks of this package need torch, which only the ``rllib`` extra brings."""
    keywords = _keywords(arguments, spec)
    if _policy_format(folder) == ONNX_FORMAT:
        others = {role: entry["agent"] for role, entry in read_description(folder)["roles"].items() if "agent" in entry}
        played_by = {text: load_agent(text) for text in dict.fromkeys(others.values())}
        try:
            return OnnxPolicy(folder, {role: played_by[text] for role, text in others.items()}, **keywords)
        except TypeError as error:
            raise AgentError(f"{spec!r}: cannot create the agent: {error}") from error
    try:
        module = importlib.import_module(POLICY_MODULE)
    except ModuleNotFoundError as error:
        raise AgentError(
            f"{str(folder)!r}: a trained policy needs {error.name}, which is not installed: "
            'pip install "cloudsched-env[rllib]"'
        ) from error
    try:
        agent = module.TrainedAgent(folder, **keywords)
    except (OSError, TypeError, ValueError) as error:
        raise AgentError(f"{spec!r}: not the folder of a trained policy: {error}") from error
    check_agent(agent, repr(spec))
    return agent


def _policy_format(folder: Path) -> str:
    """What ``policy.json`` says that the folder is; empty if it says nothing."""
    try:
        return str(json.loads((folder / "policy.json").read_text(encoding="utf-8"))["format"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
