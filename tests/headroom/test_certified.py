from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from cloudsched_env.headroom.certified import LinearProgram, SolverError


def two_products() -> tuple[LinearProgram, np.ndarray]:
    """Maximise 3 a + 2 b, a + b <= 4, a + 3 b <= 6, a <= 3: optimum 11 at (3, 1)."""
    program = LinearProgram()
    x = program.add_variables([3.0, 10.0])
    rows = program.add_rows([4.0, 6.0])
    program.add_terms(rows[:, None], x[None, :], [[1.0, 1.0], [1.0, 3.0]])
    return program, x


def test_an_optimum_by_hand():
    program, x = two_products()
    solution = program.maximise(np.array([3.0, 2.0]))
    assert solution.optimal
    assert solution.bound == pytest.approx(11.0)
    assert solution.point[x] == pytest.approx([3.0, 1.0])
    # Another objective on the same program.
    assert program.maximise(np.array([0.0, 1.0])).bound == pytest.approx(2.0)


def test_repeated_terms_add_up_and_equalities_hold():
    program = LinearProgram()
    x = program.add_variables([10.0, 10.0])
    row = program.add_rows([6.0], equal=True)
    program.add_terms(row[[0, 0, 0]], x[[0, 0, 1]], [1.0, 1.0, 1.0])
    assert program.maximise(np.array([1.0, 0.0])).bound == pytest.approx(3.0)
    assert program.maximise(np.array([-1.0, -1.0])).bound == pytest.approx(-3.0)


@settings(max_examples=100)
@given(seed=st.integers(0, 2**31), columns=st.integers(1, 6), rows=st.integers(1, 6))
def test_the_certificate_is_the_optimum_of_another_solver(seed, columns, rows):
    rng = np.random.default_rng(seed)
    matrix = rng.integers(-3, 6, (rows, columns)).astype(float)
    limit, upper = rng.integers(0, 10, rows).astype(float), rng.integers(0, 8, columns).astype(float)
    gain = rng.integers(-3, 8, columns).astype(float)
    program = LinearProgram()
    x = program.add_variables(upper)
    program.add_terms(program.add_rows(limit)[:, None], x[None, :], matrix)
    solution = program.maximise(gain)
    other = linprog(-gain, A_ub=matrix, b_ub=limit, bounds=list(zip(np.zeros(columns), upper, strict=True)))
    assert solution.bound == pytest.approx(-other.fun, rel=1e-6, abs=1e-6)  # the relative gap of interior point
    assert solution.bound >= -other.fun - 1e-9
    assert solution.value == pytest.approx(-other.fun, rel=1e-6, abs=1e-6)  # the relative gap of interior point


def test_a_solver_that_is_stopped_leaves_a_valid_bound():
    rng = np.random.default_rng(0)
    upper, matrix = rng.uniform(1, 2, 400), rng.random((200, 400))

    def program() -> LinearProgram:
        fresh = LinearProgram()
        x = fresh.add_variables(upper)
        fresh.add_terms(fresh.add_rows(np.full(200, 5.0))[:, None], x[None, :], matrix)
        return fresh

    stopped = program().maximise(np.ones(400), time_limit_s=1e-3)
    finished = program().maximise(np.ones(400))
    assert not stopped.optimal
    assert finished.optimal
    assert stopped.bound > finished.bound >= finished.value
    assert stopped.bound <= upper.sum() * (1 + 1e-6), "worse than without the solver"


def test_an_infeasible_program_is_an_error():
    program = LinearProgram()
    x = program.add_variables([1.0])
    program.add_terms(program.add_rows([-2.0]), x, -1.0)
    with pytest.raises(SolverError, match="Infeasible"):
        program.maximise(np.ones(1))


def test_what_has_no_certificate_is_refused():
    with pytest.raises(ValueError, match="finite"):
        LinearProgram().add_variables([1.0, np.inf])
    program, _ = two_products()
    program.maximise(np.ones(2))
    with pytest.raises(RuntimeError, match="has been solved"):
        program.add_rows([1.0])


def test_a_missing_solver_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "highspy", None)
    program, _ = two_products()
    with pytest.raises(SolverError, match=r"cloudsched-env\[headroom\]"):
        program.maximise(np.ones(2))
