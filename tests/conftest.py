"""What all tests share: real servers, virtual time, and the check that a test cleans up after itself."""

import hypothesis

pytest_plugins = ["tests.servers.fixtures", "tests.servers.leaks", "tests.servers.waits"]

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")
