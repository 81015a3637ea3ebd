"""The decision of a read: memory tier, remote tier, source; for one entry and for many."""
