"""The ambient tenant of the running code: `Context`, `with_context` and the ids behind them."""

from alacena.common.context.context import Context, run_public_context
from alacena.common.context.decorators import with_context
from alacena.common.context.http_headers import (
    add_context_to_headers,
    extract_context_from_headers,
    setup_context_from_headers,
)
from alacena.common.context.vars import (
    get_context_log_prefix,
    get_current_agent_id,
    get_current_collection_id,
    get_current_conversation_id,
    get_current_tenant_id,
    get_current_user_id,
    get_full_context,
    is_valid_tenant_id,
    reset_context,
    set_current_agent_id,
    set_current_collection_id,
    set_current_conversation_id,
    set_current_tenant_id,
    set_current_user_id,
)

__all__ = [
    "Context",
    "add_context_to_headers",
    "extract_context_from_headers",
    "get_context_log_prefix",
    "get_current_agent_id",
    "get_current_collection_id",
    "get_current_conversation_id",
    "get_current_tenant_id",
    "get_current_user_id",
    "get_full_context",
    "is_valid_tenant_id",
    "reset_context",
    "run_public_context",
    "set_current_agent_id",
    "set_current_collection_id",
    "set_current_conversation_id",
    "set_current_tenant_id",
    "set_current_user_id",
    "setup_context_from_headers",
    "with_context",
]
