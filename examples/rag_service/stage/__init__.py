"""The scenery of the demo: private servers, the table on the screen, and the tour that checks what it claims."""
