"""Short versions of the shows of ``proving/coordination``: the same faults for a few seconds."""
