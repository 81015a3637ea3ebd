"""Tools that prove the cache, for your tests too: a fault proxy, a staleness checker, contracts and doubles."""
