"""What the protocol promises, put to the test with real processes, real servers and a fault proxy."""
