"""The operator's view: one read model, and the command line that shows it."""
