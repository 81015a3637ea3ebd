"""The guide's name for :mod:`alacena.constants`."""

from alacena.constants import *  # noqa: F403 - the same names, every one
