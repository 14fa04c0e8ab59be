"""Parts of ``benchmarks/comparison.py``: variants, trainings, evaluations, tables, figure, published baselines."""
