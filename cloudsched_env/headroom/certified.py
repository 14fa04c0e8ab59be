"""Linear programs whose optimum is bounded by a certificate, not by the word of a solver.

Maximise c'x subject to A x <= b (or = b in some rows) and 0 <= x <= u. For any multipliers y, non-negative in the rows
with <=, weak duality gives

    c'x  <=  b'y + sum_j u_j max(0, c_j - (A'y)_j)    for every feasible x.

The right side is computed here from the multipliers that HiGHS (Huangfu and Hall, 2018) returns: tolerances, scaling or
an early stop of the solver can make the bound looser, never wrong. This needs a finite upper limit of every variable.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LinearProgram", "Solution", "SolverError"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Relative allowance for the rounding of the certificate's own sums (some 10^6 terms in double precision).
_ROUNDING = 1e-9


class SolverError(RuntimeError):
    """HiGHS did not solve a linear program that has a solution."""


@dataclass(frozen=True)
class Solution:
    """Result of one maximisation.

    Attributes:
        bound: no feasible point has a larger objective.
        value: objective of the solver's own point; within its tolerances of ``bound`` when it solved to the end.
        point: the solver's point, ``[variables]``.
        optimal: whether the solver reached its tolerances; false after a time limit.
        seconds: wall time of the solver.
    """

    bound: float
    value: float
    point: Floats
    optimal: bool
    seconds: float


class LinearProgram:
    """A linear program assembled in blocks of variables, rows and coefficients; complete with the first `maximise`."""

    def __init__(self) -> None:
        self._upper: list[Floats] = []
        self._limit: list[Floats] = []
        self._equal: list[NDArray[np.bool_]] = []
        self._entries: list[tuple[Integers, Integers, Floats]] = []
        self.variables = 0
        self.rows = 0
        self._solver: Any = None

    def add_variables(self, upper: Any) -> Integers:
        """Add variables between 0 and ``upper``; returns their numbers, in the shape of ``upper``.

        Raises:
            ValueError: if a limit is negative or not finite, without which there is no certificate.
        """
        upper = np.asarray(upper, dtype=np.float64)
        if not (np.isfinite(upper).all() and (upper >= 0).all()):
            raise ValueError("upper limits of variables: expected finite numbers of at least 0")
        numbers = np.arange(self.variables, self.variables + upper.size, dtype=np.int64).reshape(upper.shape)
        self._require_open()
        self._upper.append(upper.ravel())
        self.variables += upper.size
        return numbers

    def add_rows(self, limit: Any, *, equal: bool = False) -> Integers:
        """Add rows ``A x <= limit`` (or ``= limit``); returns their numbers, in the shape of ``limit``."""
        limit = np.asarray(limit, dtype=np.float64)
        numbers = np.arange(self.rows, self.rows + limit.size, dtype=np.int64).reshape(limit.shape)
        self._require_open()
        self._limit.append(limit.ravel())
        self._equal.append(np.full(limit.size, equal))
        self.rows += limit.size
        return numbers

    def add_terms(self, rows: Any, variables: Any, coefficients: Any) -> None:
        """Add ``coefficient x variable`` to rows; the three are broadcast, repeated pairs are summed."""
        block = np.broadcast_arrays(
            np.asarray(rows, dtype=np.int64),
            np.asarray(variables, dtype=np.int64),
            np.asarray(coefficients, dtype=np.float64),
        )
        row, variable, coefficient = (array.ravel() for array in block)
        self._require_open()
        self._entries.append((row, variable, coefficient))

    def maximise(self, objective: Floats, time_limit_s: float | None = None) -> Solution:
        """Solve for an objective.

        HiGHS' interior-point method runs first, without crossover to a vertex, which the certificate does not need: on
        these programs it takes seconds where the simplex method may take minutes. The simplex method decides where the
        interior-point method does not end with an optimum.

        Args:
            objective: c, ``[variables]``.
            time_limit_s: stop after this long with a looser bound; the result then depends on the machine.

        Raises:
            SolverError: if HiGHS is not installed, refuses the program or finds it infeasible.
        """
        upper = np.concatenate(self._upper)
        limit, equal = np.concatenate(self._limit), np.concatenate(self._equal)
        began = time.perf_counter()
        if self._solver is None:
            self._entries = [self._summed()]
            self._solver = self._load(upper, limit, equal)
        row, variable, coefficient = self._entries[0]
        solver = self._solver
        solver.changeColsCost(self.variables, np.arange(self.variables, dtype=np.int32), -objective)
        highspy = _highspy()
        finished = highspy.HighsModelStatus.kOptimal
        stopped = highspy.HighsModelStatus.kTimeLimit
        for method in ("ipm", "simplex"):
            solver.setOptionValue("solver", method)
            left_s = np.inf if time_limit_s is None else max(0.0, time_limit_s - (time.perf_counter() - began))
            solver.setOptionValue("time_limit", solver.getRunTime() + left_s)
            solver.run()
            status = solver.getModelStatus()
            if status in (finished, stopped):
                break
        if status not in (finished, stopped):
            raise SolverError(
                f"HiGHS ended with {solver.modelStatusToString(status)!r} on {self.variables} variables and "
                f"{self.rows} rows: expected an optimum; try other time bins"
            )
        solution = solver.getSolution()
        dual = np.asarray(solution.row_dual, dtype=np.float64)
        point = np.asarray(solution.col_value, dtype=np.float64)
        seconds = time.perf_counter() - began
        # HiGHS minimises -c'x: its multipliers are those of the maximisation with the sign changed. A stopped solver's
        # may be worse than none.
        multiplier = -dual if len(dual) == self.rows else np.zeros(self.rows)
        multiplier = np.where(equal, multiplier, np.maximum(multiplier, 0.0))
        priced = np.bincount(variable, weights=coefficient * multiplier[row], minlength=self.variables)
        bound = min(
            _certificate(limit * multiplier, upper * np.maximum(0.0, objective - priced)),
            _certificate(np.zeros(1), upper * np.maximum(0.0, objective)),
        )
        return Solution(bound, float(objective @ point), point, status == finished, seconds)

    def _require_open(self) -> None:
        if self._solver is not None:
            raise RuntimeError("the program has been solved: expected no more variables, rows or terms after that")

    def _summed(self) -> tuple[Integers, Integers, Floats]:
        """Coefficients in order of rows, each pair of row and variable once."""
        row, variable, coefficient = (np.concatenate(part) for part in zip(*self._entries, strict=True))
        key, inverse = np.unique(row * self.variables + variable, return_inverse=True)
        total = np.bincount(inverse.ravel(), weights=coefficient, minlength=len(key))
        kept = total != 0.0
        key, total = key[kept], total[kept]
        return key // self.variables, key % self.variables, total

    def _load(self, upper: Floats, limit: Floats, equal: NDArray[np.bool_]) -> Any:
        """A solver with this program in it, without an objective."""
        row, variable, coefficient = self._entries[0]
        highspy = _highspy()
        solver = highspy.Highs()
        solver.setOptionValue("output_flag", False)
        solver.setOptionValue("run_crossover", "off")
        program = highspy.HighsLp()
        program.num_col_, program.num_row_ = self.variables, self.rows
        program.col_cost_ = np.zeros(self.variables)
        program.col_lower_, program.col_upper_ = np.zeros(self.variables), upper
        program.row_lower_ = np.where(equal, limit, -np.inf)
        program.row_upper_ = limit
        program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        program.a_matrix_.start_ = np.searchsorted(row, np.arange(self.rows + 1)).astype(np.int32)
        program.a_matrix_.index_ = variable.astype(np.int32)
        program.a_matrix_.value_ = coefficient
        if solver.passModel(program) == highspy.HighsStatus.kError:
            raise SolverError(f"HiGHS refused a program of {self.variables} variables and {self.rows} rows")
        return solver


def _certificate(of_rows: Floats, of_variables: Floats) -> float:
    """The sum of both, with an allowance for its rounding."""
    size = float(np.abs(of_rows).sum() + of_variables.sum())
    return float(of_rows.sum() + of_variables.sum()) + _ROUNDING * size


def _highspy() -> Any:
    try:
        import highspy
    except ModuleNotFoundError as error:
        raise SolverError(
            'the linear-programming bound needs HiGHS, which is not installed: pip install "cloudsched-env[headroom]"'
        ) from error
    return highspy
