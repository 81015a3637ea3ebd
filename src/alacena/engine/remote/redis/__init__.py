"""The remote tier: the only part that knows Redis, its client library and its parser."""
