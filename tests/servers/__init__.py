"""What every test may use of the servers in `proving.servers`: fixtures, and the watch over leaks and real sleeps."""
