"""The figures: Alacena beside other caches and beside the floors, both sides in one run."""
