"""Short versions of the shows of ``bench/coordination``: the same faults for a few seconds."""
