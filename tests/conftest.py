"""What all tests share: real servers, virtual time, and the check that a test cleans up after itself."""

import gc
import os
import signal
import sys

import hypothesis
import pytest

pytest_plugins = ["tests.servers.fixtures", "tests.servers.leaks", "tests.servers.waits"]

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


def pytest_configure() -> None:
    # A shell that starts this in the background, or nohup, has these ignored, and so would have what the tests start.
    for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, default)
    # Hundreds of processes are started: what one has compiled, the others find.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    # Frameworks and thousands of tests stay to the end: no collection of garbage has to walk through them.
    gc.collect()
    gc.freeze()
