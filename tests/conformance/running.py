"""Runs a block of the guide as it stands, statement by statement, over stub services."""

from __future__ import annotations

import ast
import hashlib
import importlib
import logging
import os
import textwrap
import time
from typing import TYPE_CHECKING, Any

from alacena import install_as_common

if TYPE_CHECKING:
    from tests.conformance.blocks import Block

_HOMES = ("common.cache", "common.context", "common.core.constants", "common.tracking")


class SupabaseStub:
    """A stand-in for the asynchronous client: one table of documents, filtered as asked."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows
        self.queries = 0
        self.data: list[dict[str, Any]] = []

    def table(self, name: str) -> SupabaseStub:
        assert name == "documents"
        self.data = list(self._rows)
        return self

    def select(self, columns: str) -> SupabaseStub:
        assert columns == "*"
        return self

    def eq(self, column: str, value: object) -> SupabaseStub:
        self.data = [row for row in self.data if row[column] == value]
        return self

    async def execute(self) -> SupabaseStub:
        self.queries += 1
        return self


class Services:
    """What the guide's code calls and does not define; counts its calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.documents = [{"document_id": "d1", "tenant_id": "acme", "title": "Alacena"}]
        self.supabase = SupabaseStub(self.documents)
        self.path = "/nowhere"

    async def fetch_document_from_supabase(self, resource_id: str, tenant_id: str, ctx: object) -> Any:
        self.calls.append(f"fetch {resource_id}")
        rows = [r for r in self.documents if (r["document_id"], r["tenant_id"]) == (resource_id, tenant_id)]
        return rows[0] if rows else None

    async def fetch_from_db(self, resource_id: str) -> Any:
        self.calls.append(f"fetch {resource_id}")
        return {"id": resource_id}

    async def download_file_logic(self, file_key: str, tenant_id: str) -> str:
        self.calls.append(f"download {file_key}")
        return self.path

    async def process_job(self, job_id: str, tenant_id: str) -> None:
        self.calls.append(f"job {job_id}")

    async def call_embedding_service(self, texts: list[str], model: str, tenant_id: str) -> dict[str, Any]:
        self.calls.append(f"embed {len(texts)}")
        return {"embeddings": [[float(len(text))] for text in texts], "token_usage": 7 * len(texts)}

    async def perform_vector_search(self, query: str, collection_id: str, tenant_id: str, top_k: int) -> Any:
        self.calls.append(f"search {query}")
        return [{"document_id": "d1", "score": 0.5}][:top_k]


def namespace(services: Services, **more: Any) -> dict[str, Any]:
    """The names that a service of the guide has at hand: the package ``common``, its services, its variables."""
    install_as_common()
    names: dict[str, Any] = {}
    for home in _HOMES:
        module = importlib.import_module(home)
        exported = getattr(module, "__all__", None) or [name for name in vars(module) if name.isupper()]
        names |= {name: getattr(module, name) for name in exported}
    names |= {"os": os, "time": time, "hashlib": hashlib, "logger": logging.getLogger("guide")}
    names |= {name: getattr(services, name) for name in dir(services) if not name.startswith("_")}
    names |= {"get_supabase_client": lambda: services.supabase, "tenant_id": "acme", "document_id": "d1"}
    return names | more


async def run(block: Block, names: dict[str, Any]) -> list[Any]:
    """Run a block in ``names``, which it changes; return the values of its bare expressions in their order."""
    values = []
    for statement in ast.parse(block.code).body:
        if isinstance(statement, ast.Expr):
            code: Any = ast.Expression(statement.value)
            values.append(await _evaluated(compile(code, block.name, "eval", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names))
        else:
            code = ast.Module([statement], [])
            await _evaluated(compile(code, block.name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    return values


async def run_as_body(block: Block, names: dict[str, Any]) -> Any:
    """Run a block that returns, as the body of a coroutine function."""
    exec(compile("async def body():\n" + textwrap.indent(block.code, "    "), block.name, "exec"), names)
    return await names["body"]()


async def _evaluated(code: Any, names: dict[str, Any]) -> Any:
    result = eval(code, names)
    return await result if code.co_flags & 0x80 else result
