import os

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """New weights and draws without a generator do not depend on which tests ran before, nor on which worker."""
    import torch

    torch.manual_seed(0)


@pytest.fixture(scope="session")
def ray_local():
    """One Ray on this machine for all tests that need it."""
    pytest.importorskip("ray")
    os.environ.setdefault("RAY_worker_niceness", "0")
    import torch

    from cloudsched_env.rllib.ray_session import ray_session

    torch.set_num_threads(1)
    with ray_session(workers=4):
        yield
