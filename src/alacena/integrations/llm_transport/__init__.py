"""One caching transport for the asyncio clients of OpenAI and Anthropic, and for the libraries that stand on them."""

from alacena.integrations.llm_transport.call_rules import Call, Rules
from alacena.integrations.llm_transport.documents import based_on
from alacena.integrations.llm_transport.pending_call import HEADER, is_hit
from alacena.integrations.llm_transport.transport import DOCUMENTS_HEADER, CachingTransport
from alacena.integrations.llm_transport.usage_accounts import CallCounts

__all__ = ["DOCUMENTS_HEADER", "HEADER", "CachingTransport", "Call", "CallCounts", "Rules", "based_on", "is_hit"]
