"""Results on disk: one folder a suite and data, in it one folder an agent.

    OUT/standard-v1/run.json                                  suite, its digest, data
    OUT/standard-v1/agents/balanced/agent.json                declaration
    OUT/standard-v1/agents/balanced/journal.jsonl             episodes of runs that are not complete yet
    OUT/standard-v1/agents/balanced/raw/paper-v1/seed_0.json  complete: marl-eval's layout; `pack` makes it .json.gz
    OUT/standard-v1/agents/balanced/metadata.json             command, versions, machine of every raw file
    OUT/standard-v1/agents/balanced/failure.json              why it has no more results

Every finished batch is appended to the journal and forced to disk, so an interruption costs at most the batches that
were being played. Whole files are written aside and renamed. One process writes, any number may read.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import platform
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import cloudsched_env
from cloudsched_env.evaluation.metrics import METRICS
from cloudsched_env.leaderboard.convergence import SCORE as CURVE_SCORE
from cloudsched_env.leaderboard.convergence import STEPS as CURVE_STEPS
from cloudsched_env.leaderboard.convergence import read_curve
from cloudsched_env.leaderboard.declaration import Declaration
from cloudsched_env.leaderboard.episodes import SPLIT, Data
from cloudsched_env.leaderboard.suites import Suite, load_suite
from cloudsched_env.leaderboard.units import DECISION_TIME, UnitResult
from cloudsched_env.whole_file import write_whole

__all__ = ["ENVIRONMENT", "AgentFolder", "Results", "boards", "provenance"]

ENVIRONMENT = "cloudsched"
_PACKED = ".gz"
_DIGITS = 9  # significant digits of raw numbers: a billionth is far below any interval
_NAMES = [*(entry.name for entry in METRICS), DECISION_TIME]

Floats = NDArray[np.float64]
Key = tuple[str, int]
"""(scenario, run)."""


def provenance(command: str) -> dict[str, Any]:
    """Versions, machine and command, for `metadata.json`."""
    found: dict[str, str | None] = {"cloudsched-env": cloudsched_env.__version__, "python": platform.python_version()}
    for package in ("numpy", "numba", "torch", "onnxruntime"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    machine = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    return {"command": command, "versions": found, "machine": machine}


class AgentFolder:
    """One agent's results on one suite.

    Args:
        path: the folder.
        suite: what it plays.
    """

    def __init__(self, path: Path, suite: Suite) -> None:
        self.path = path
        self.suite = suite

    @property
    def declaration(self) -> Declaration:
        """What its authors say."""
        return Declaration.from_dict(_read(self.path / "agent.json"), str(self.path))

    def declare(self, declaration: Declaration) -> None:
        """Write the declaration.

        Raises:
            ValueError: if there are results of another agent under this name.
        """
        file = self.path / "agent.json"
        if file.exists() and _read(file)["spec"] != declaration.spec:
            raise ValueError(
                f"{self.path} holds results of {_read(file)['spec']!r} under the name {declaration.name!r}, now it is "
                f"{declaration.spec!r}: use another name, or remove the folder"
            )
        write_whole(file, json.dumps(declaration.to_dict(), indent=1) + "\n")
        if declaration.curves and declaration.folder:
            self._keep_curves(sorted(Path(declaration.folder).glob(declaration.curves)), declaration)

    def _keep_curves(self, files: list[Path], declaration: Declaration) -> None:
        """Copy the two columns of training curves that are shown."""
        if not files:
            raise ValueError(f"declaration of {declaration.name!r}: no curves {declaration.curves} beside it")
        for number, file in enumerate(files):
            curve = read_curve(file)
            lines = [f"{steps:.0f},{score:.6g}" for steps, score in zip(curve.env_steps, curve.score, strict=True)]
            header = f"{CURVE_STEPS},{CURVE_SCORE}"
            write_whole(self.path / "curves" / f"seed_{number}.csv", "\n".join([header, *lines]) + "\n")

    def complete(self, scenario: str, run: int) -> bool:
        """Whether a raw file is there."""
        return self._stored(scenario, run).exists()

    def journal(self) -> dict[Key, dict[int, dict[str, Any]]]:
        """Episodes of incomplete runs, ``{(scenario, run): {place: line}}``; a torn last line is left out."""
        found: dict[Key, dict[int, dict[str, Any]]] = {}
        file = self.path / "journal.jsonl"
        if file.exists():
            for line in file.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(json.JSONDecodeError):
                    entry = json.loads(line)
                    found.setdefault((entry["scenario"], entry["run"]), {})[entry["place"]] = entry
        return found

    def add(self, result: UnitResult) -> None:
        """Append one batch to the journal, one line an episode, and force it to disk."""
        self.path.mkdir(parents=True, exist_ok=True)
        lines = []
        for index in range(result.batch.windows):
            entry = {
                "scenario": result.batch.scenario,
                "run": result.batch.run,
                "place": result.batch.first + index,
                "execution": result.execution,
                "seconds": round(result.seconds / result.batch.windows, 4),
                "metrics": {name: _rounded(values[index]) for name, values in result.metrics.items()},
            }
            lines.append(json.dumps(entry, separators=(",", ":")))
        file = self.path / "journal.jsonl"
        # A line that an interruption left without its end must not swallow the next one.
        torn = file.exists() and file.stat().st_size > 0 and not file.read_bytes().endswith(b"\n")
        with file.open("a", encoding="utf-8") as journal:
            journal.write(("\n" if torn else "") + "\n".join(lines) + "\n")
            journal.flush()
            os.fsync(journal.fileno())

    def settle(self, scenario: str, run: int, where_from: dict[str, Any]) -> bool:
        """Turn a run whose episodes are all in the journal into a raw file.

        Args:
            scenario: scenario id.
            run: which run.
            where_from: for `metadata.json`.

        Returns:
            Whether it is complete.
        """
        episodes = self.journal().get((scenario, run), {})
        count = len(self.suite.scenario(scenario).windows)
        if len(episodes) < count:
            return False
        lines = [episodes[place] for place in range(count)]
        values = {name: [line["metrics"][name] for line in lines] for name in _NAMES}
        name = self.declaration.name
        content = {
            ENVIRONMENT: {
                f"{scenario}/{SPLIT}": {
                    name: {f"seed_{run}": {"step_1": {"step_count": 0, **values}, "absolute_metrics": values}}
                }
            }
        }
        write_whole(self._raw(scenario, run), json.dumps(content, separators=(",", ":"), allow_nan=False) + "\n")
        metadata = self.metadata()
        metadata.setdefault(scenario, {})[str(run)] = {
            **where_from,
            "execution": lines[0]["execution"],
            "seconds": round(sum(line["seconds"] for line in lines), 2),
        }
        write_whole(self.path / "metadata.json", json.dumps(metadata, indent=1) + "\n")
        return True

    def tidy(self) -> None:
        """Remove from the journal what is in raw files."""
        open_runs = {key: lines for key, lines in self.journal().items() if not self.complete(*key)}
        file = self.path / "journal.jsonl"
        if open_runs:
            lines = [json.dumps(e, separators=(",", ":")) for run in open_runs.values() for e in run.values()]
            write_whole(file, "\n".join(lines) + "\n")
        elif file.exists():
            file.unlink()

    def fail(self, result: UnitResult) -> None:
        """Write down why the agent has no more results."""
        content = {
            "kind": result.failure,
            "message": result.message,
            "scenario": result.batch.scenario,
            "run": result.batch.run,
        }
        write_whole(self.path / "failure.json", json.dumps(content, indent=1) + "\n")

    def forget_failure(self) -> None:
        """It is about to be tried again."""
        (self.path / "failure.json").unlink(missing_ok=True)

    @property
    def failure(self) -> dict[str, Any] | None:
        """Kind, message, scenario and run of what went wrong; None if nothing did."""
        file = self.path / "failure.json"
        return _read(file) if file.exists() else None

    def metadata(self) -> dict[str, Any]:
        """``{scenario: {run: command, versions, machine, data, execution, seconds}}``."""
        file = self.path / "metadata.json"
        return _read(file) if file.exists() else {}

    def runs(self, scenario: str) -> list[int]:
        """Complete runs of a scenario, ascending."""
        return [run for run in range(self.suite.runs) if self.complete(scenario, run)]

    def values(self, scenario: str, run: int) -> dict[str, Floats]:
        """A raw file as ``{metric: [windows]}``; NaN where a number does not exist.

        Raises:
            ValueError: naming the file, if it does not hold this run of this scenario with a number for each window.
        """
        file = self._stored(scenario, run)
        found = _raw_values(file, file.stat().st_mtime_ns, scenario, run)
        count = len(self.suite.scenario(scenario).windows)
        wrong = [name for name, values in found.items() if values.shape != (count,)]
        if wrong:
            raise ValueError(f"{file.name} of {self.path.name}: expected {count} numbers of {wrong[0]}, one a window")
        return found

    def matrix(self, scenario: str, metric: str) -> Floats:
        """One metric of all complete runs, ``[runs, windows]``."""
        return np.array([self.values(scenario, run)[metric] for run in self.runs(scenario)])

    def raw_files(self) -> Iterator[tuple[str, bytes]]:
        """Path below the agent's folder and content of every raw file, unpacked, by path."""
        files = {str(file.relative_to(self.path)).removesuffix(_PACKED): file for file in self._raw_paths()}
        for name, file in sorted(files.items()):
            yield name, gzip.decompress(file.read_bytes()) if file.suffix == _PACKED else file.read_bytes()

    def pack(self) -> tuple[int, int]:
        """Compress raw files for a repository; what is packed already stays as it is.

        The same content gives the same bytes: no time, no file name.

        Returns:
            Bytes of all raw files before and after.
        """
        before = sum(file.stat().st_size for file in self._raw_paths())
        for file in self._raw_paths():
            if file.suffix != _PACKED:
                write_whole(file.with_name(file.name + _PACKED), gzip.compress(file.read_bytes(), 9, mtime=0))
                file.unlink()
        return before, sum(file.stat().st_size for file in self._raw_paths())

    def _raw(self, scenario: str, run: int) -> Path:
        return self.path / "raw" / scenario / f"seed_{run}.json"

    def _stored(self, scenario: str, run: int) -> Path:
        """Where a raw file is: packed or, if there is none such, as it was written."""
        plain = self._raw(scenario, run)
        packed = plain.with_name(plain.name + _PACKED)
        return packed if packed.exists() and not plain.exists() else plain

    def _raw_paths(self) -> list[Path]:
        return [file for ending in ("", _PACKED) for file in sorted(self.path.glob(f"raw/*/seed_*.json{ending}"))]


class Results:
    """All agents' results of one suite on one set of data.

    Args:
        path: the folder of the suite.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            header = _read(path / "run.json")
            self.suite = load_suite(header["suite"])
            self.data = Data(**header["data"])
        except (OSError, KeyError, TypeError) as error:
            raise ValueError(f"{path} holds no results of a suite (run.json): {error}") from error
        if header["digest"] != self.suite.digest:
            raise ValueError(
                f"{path} was played with another list {header['suite']} (digest {header['digest']}, now "
                f"{self.suite.digest}): results of different lists cannot be put together"
            )

    @classmethod
    def open(cls, out: Path, suite: Suite, suite_name: str, data: Data) -> Results:
        """The folder of a suite and data under ``out``, made if it is not there.

        Raises:
            ValueError: if it holds results of another list or of other data.
        """
        path = out / cls.label_of(suite, data)
        header = path / "run.json"
        if not header.exists():
            # The version that was played, not "the newest"; a file of one's own keeps its path.
            content = {
                "suite": suite_name if suite_name.endswith(".json") else suite.id,
                "digest": suite.digest,
                "data": data.__dict__,
            }
            write_whole(header, json.dumps(content, indent=1) + "\n")
        found = cls(path)
        if found.data != data:
            raise ValueError(f"{path} holds results on {found.data}, these would be on {data}: use another --out")
        return found

    @staticmethod
    def label_of(suite: Suite, data: Data) -> str:
        """What folders and anchors are called: the suite, and for a trace also its operator and digest."""
        return suite.id if suite.workload.kind == "generated" else f"{suite.id}@{data.operator}-{data.digest}"

    @property
    def label(self) -> str:
        """Name of the folder, unique among boards."""
        return self.path.name

    def folder(self, slug: str) -> AgentFolder:
        """One agent's folder, which need not exist."""
        return AgentFolder(self.path / "agents" / slug, self.suite)

    def agents(self) -> list[AgentFolder]:
        """All agents, by name of their folder."""
        return [AgentFolder(file.parent, self.suite) for file in sorted((self.path / "agents").glob("*/agent.json"))]


def boards(folder: Path) -> Iterator[Results]:
    """Results of all suites under a folder (or the folder itself), by name.

    Raises:
        ValueError: if there are none.
    """
    files = [folder / "run.json"] if (folder / "run.json").exists() else sorted(folder.glob("*/run.json"))
    if not files:
        raise ValueError(f"{folder} holds no results: make some with cloudsched leaderboard run --out {folder}")
    for file in files:
        yield Results(file.parent)


@cache
def _raw_values(file: Path, _modified_ns: int, scenario: str, run: int) -> dict[str, Floats]:
    """A raw file, read once as long as it does not change."""
    try:
        ((_, seeds),) = _read(file)[ENVIRONMENT][f"{scenario}/{SPLIT}"].items()
        absolute = seeds[f"seed_{run}"]["absolute_metrics"]
        return {name: np.array(absolute[name], dtype=np.float64) for name in _NAMES}
    except (KeyError, ValueError, TypeError, AttributeError, EOFError, gzip.BadGzipFile) as error:
        raise ValueError(
            f"{file}: expected marl-eval's layout with every metric of docs/metrics.md: {error!r}"
        ) from error


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_DIGITS}g}")


def _read(path: Path) -> Any:
    content = path.read_bytes()
    return json.loads(gzip.decompress(content) if path.suffix == _PACKED else content)


def _processor() -> str:
    """The processor's name, where the system tells it."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
