"""What the source must look like; all of it is read from the text."""
