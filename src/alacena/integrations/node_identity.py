"""The identity of a node of LlamaIndex: its id and its relations, taken from one node's outcome and given to another's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from uuid import NAMESPACE_OID, uuid5

from alacena.integrations.requirement import require_extra

with require_extra("alacena.integrations.node_identity", "llama-index", ("llama-index-core", "0.14.25", "0.15")):
    from llama_index.core.schema import BaseNode, NodeRelationship, RelatedNodeInfo
    from llama_index.core.storage.docstore.utils import json_to_doc

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Maker:
    """The node that an outcome was made from.

    Attributes:
        node_id: Its id.
        relations: The ids of the nodes that it was related to, by the relation.
    """

    node_id: str
    relations: dict[str, str]

    @classmethod
    def of(cls, node: BaseNode) -> Self:
        """Returns the identity of a node."""
        return cls(node.node_id, {kind.name: one.node_id for kind, one in _single(node).items()})

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """Returns the identity that `as_json` wrote."""
        return cls(stored["node_id"], stored["relations"])

    def as_json(self) -> dict[str, Any]:
        """Returns it as JSON values."""
        return {"node_id": self.node_id, "relations": self.relations}

    def give(self, written: Sequence[dict[str, Any]], asker: BaseNode) -> list[BaseNode]:
        """Returns the nodes of the outcome as if the asker had been their maker.

        Args:
            written: The nodes, as LlamaIndex writes them.
            asker: The node that asks.
        """
        nodes = [json_to_doc(one) for one in written]
        ids = {node.node_id: self._id(node.node_id, asker) for node in nodes}
        # All new ids are known by now: nodes of one outcome refer to each other, also to later ones.
        for node in nodes:
            node.relationships = self._relations(node, asker, ids)
            node.node_id = ids[node.node_id]
        return nodes

    def _id(self, made: str, asker: BaseNode) -> str:
        """Returns the asker's own id, or for a node of its own an id that is the same each time the asker asks."""
        if self.node_id in made:
            return made.replace(self.node_id, asker.node_id)
        return made if asker.node_id == self.node_id else str(uuid5(NAMESPACE_OID, f"{asker.node_id}/{made}"))

    def _relations(self, node: BaseNode, asker: BaseNode, ids: dict[str, str]) -> dict[NodeRelationship, Any]:
        theirs, related = _single(asker), dict(node.relationships)
        for kind, one in _single(node).items():
            if one.node_id == self.node_id:
                related[kind] = asker.as_related_node_info()
            elif one.node_id in ids:
                related[kind] = one.model_copy(update={"node_id": ids[one.node_id]})
            elif (place := self._place(kind, one.node_id)) in theirs:
                related[kind] = theirs[place]
            else:
                del related[kind]
        return related

    def _place(self, kind: NodeRelationship, node_id: str) -> NodeRelationship:
        """Returns the relation that the maker had to a node: the same one, if it had several."""
        if self.relations.get(kind.name) == node_id:
            return kind
        return next((NodeRelationship[place] for place, one in self.relations.items() if one == node_id), kind)


def _single(node: BaseNode) -> dict[NodeRelationship, RelatedNodeInfo]:
    return {kind: one for kind, one in node.relationships.items() if isinstance(one, RelatedNodeInfo)}
