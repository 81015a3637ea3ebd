"""What an operator looks at: one read model, and the command line that shows it."""
