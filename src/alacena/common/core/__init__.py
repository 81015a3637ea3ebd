"""What every service shares and nothing depends on the other way: the constants."""
