"""What proves the cache, for your tests too: a simulator, a fault proxy, a staleness checker, contracts and doubles."""
