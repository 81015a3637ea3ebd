"""One load: its context, its callers, and how often its source may be asked."""
