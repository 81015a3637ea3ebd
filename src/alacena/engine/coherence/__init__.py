"""Coherence: the generations that keep entries alive, and private copies of the values in memory."""
