"""What the tests and the benchmark both stand on: real servers, rivals, figures, and the trials of what is promised.

It imports Alacena, and neither `tests` nor `bench`.
"""
