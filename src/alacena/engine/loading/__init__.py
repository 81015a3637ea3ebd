"""One load: what it may say about its value, who waits for it, how often its source may be asked."""
