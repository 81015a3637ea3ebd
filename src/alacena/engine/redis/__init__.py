"""The second shelf: the only part that knows Redis, its client library and its parser."""
