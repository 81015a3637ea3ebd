"""All verbs of a cache, as its tenants' handles use them."""

from __future__ import annotations

from alacena.engine.api.block_verbs import BlockVerbs
from alacena.engine.api.coordination_verbs import CoordinationVerbs
from alacena.engine.api.entry_verbs import EntryVerbs
from alacena.engine.api.inspection_verbs import InspectionVerbs
from alacena.engine.api.many_verbs import ManyVerbs


class Verbs(EntryVerbs, ManyVerbs, BlockVerbs, CoordinationVerbs, InspectionVerbs):
    """The verbs of a cache. Another module builds, opens and closes it."""
