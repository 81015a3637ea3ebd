"""The console: a page that shows how a cache is, says why, and has the actions of an operator. Needs ``alacena[console]``."""

from __future__ import annotations

from alacena.ops.console.activity_log import ActivityLog
from alacena.ops.console.app import console_app

__all__ = ["ActivityLog", "console_app"]
