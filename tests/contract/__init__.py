"""One contract, kept by both faces of the cache over every remote tier."""
