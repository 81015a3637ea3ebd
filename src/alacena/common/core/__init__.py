"""The constants, which every service shares and which depend on nothing."""
