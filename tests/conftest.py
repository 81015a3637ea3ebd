"""What all tests share: real servers, virtual time, and the check that a test cleans up after itself."""

pytest_plugins = ["tests.servers.fixtures", "tests.servers.leaks"]
