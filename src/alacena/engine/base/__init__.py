"""The base of every layer: errors, events, settings, policies, keys, time, and the contract of the remote tier."""
