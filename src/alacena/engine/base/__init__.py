"""What every layer of the engine uses: errors, events, settings, policies, keys, time, and the contract of the remote tier."""
