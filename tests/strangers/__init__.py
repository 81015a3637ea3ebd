"""Cases that strangers reported of caches like this one, replayed on it: one file a kind, in memory and on a server."""
