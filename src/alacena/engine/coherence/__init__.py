"""Which entries are alive, and how memory keeps a value so that nobody changes it for the others."""
