"""The decision of a write: store, remove, invalidate, and write blocks around a transaction."""
