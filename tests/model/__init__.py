"""A small-scope model checker of the coherence protocol as it is built."""
