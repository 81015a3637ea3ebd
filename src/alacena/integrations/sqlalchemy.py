"""SQLAlchemy: commits that invalidate, writes that hold, and cached selects.

The rule is that a cache never sees uncommitted rows: the hooks end entries after the commit, `write` holds them
from before it, and a cached select reads through a connection of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from uuid import UUID

from alacena import (
    MISSING,
    SYSTEM_TENANT,
    UNSET,
    InvalidKeyError,
    MissingTenantError,
    Scope,
    SettingsError,
    generate_resource_id_hash,
    get_current_tenant_id,
)
from alacena.engine.base.arguments import check_part, copy_mapping
from alacena.engine.base.errors import show
from alacena.engine.base.lineage import documents_in
from alacena.integrations.requirement import require_extra
from alacena.integrations.sqlalchemy_statements import documents_changed, tables_below, tables_of, tables_of_session

with require_extra("alacena.integrations.sqlalchemy", "sqlalchemy", ("sqlalchemy", "2.0.30", "3")):
    from sqlalchemy import event, inspect, select
    from sqlalchemy.engine import IteratorResult
    from sqlalchemy.engine.result import SimpleResultMetaData
    from sqlalchemy.exc import MissingGreenlet
    from sqlalchemy.ext.asyncio import async_sessionmaker
    from sqlalchemy.util import await_only

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Collection

    from sqlalchemy import Select
    from sqlalchemy.engine import Result
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
    from sqlalchemy.orm import Mapper, ORMExecuteState, Session, sessionmaker

    from alacena import Cache, LoadContext
    from alacena.engine import TtlOrUnset

Ending: TypeAlias = tuple[str, str | None, str | None, str | None]
"""Tenant, data type, resource and document that a commit ends; ``None``: not named."""
_PLAIN: Final = (bool, int, float, str, bytes, type(None))
_TEXTUAL: Final = (date, time, timedelta, Decimal, UUID)  # a datetime is a date
Sessions: TypeAlias = "async_sessionmaker[Any] | sessionmaker[Any] | type[Session]"

TENANTS: Final = "alacena_tenants"
"""The execution option of a bulk statement that names the tenants whose rows it changes."""
_MOST_ROWS: Final = 64
"""Rows of one type and tenant in a commit; with more of them the type ends as a whole, in one step."""
_PENDING: Final = "alacena.pending"
_PORTION: Final = 200
"""Rows in which documents are looked for at once: a look is bounded."""
_FORMAT: Final = 2
"""A version of what a cached select stores and of how its id is made."""


@dataclass(frozen=True, slots=True)
class Rule:
    """The entries that a changed row of a table ends.

    Attributes:
        data_type: The type of the entries that are made of such rows.
        id: The attribute that is their resource id.
        tenant: The attribute that names the tenant; a row without one belongs to ``"system"``. ``None``: the ambient
            tenant counts.
        document: The attribute that names the document, if entries made from the document end too.
        also: Types that end as a whole, such as lists of the rows.
    """

    data_type: str
    id: str = "id"
    tenant: str | None = "tenant_id"
    document: str | None = None
    also: tuple[str, ...] = ()

    @property
    def attributes(self) -> tuple[str, ...]:
        """The attributes that are read of a row."""
        return tuple(name for name in (self.id, self.tenant, self.document) if name is not None)


class CommitHooks:
    """Ends the entries that are made of rows, when the transaction that changed the rows has committed.

    ::

        hooks = CommitHooks(cache, {Document: Rule("document", document="id")})
        hooks.listen(async_sessionmaker(engine))

    The rows of a flush are collected, with the values before and after; a commit ends it, a rollback forgets it. A
    bulk ``update()``, ``delete()`` or ``insert()`` does not say which rows it meets: the whole type of the ambient tenant
    ends, or of the tenants that the execution option ``alacena_tenants`` lists, and the documents that it changes, which one
    more select finds. If they are not known, or more than 1,000, and if the database deletes rows by a foreign key, all
    of the tenant ends. SQL as text, and the legacy
    ``bulk_save_objects``, are not seen: call `Cache.invalidate`, or put `write` around them.

    A commit that changed more than 64 rows of a type ends the whole type of their tenant.

    Between the commit and the end of the invalidation others may read the old entry; `write` closes that gap. A
    synchronous session in a thread waits for the cache's loop; on the thread of that loop it cannot wait.

    Args:
        cache: An open cache.
        rules: The entries that each mapped class ends: a `Rule`, or a data type for the usual one. Subclasses follow.

    Raises:
        SettingsError: A rule names an attribute that its class does not have.
    """

    def __init__(self, cache: Cache, rules: Mapping[type, Rule | str]) -> None:
        check_part(cache, "cache", "invalidate", "an open Cache")
        self._cache = cache
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._rules: dict[type, Rule] = {}
        self._tables: dict[Any, dict[Rule, Any]] = {}
        for model, given in copy_mapping(rules, "rules", "a Rule or a data type by class").items():
            rule = Rule(given) if isinstance(given, str) else given
            mapper: Mapper[Any] = inspect(model)
            for name in rule.attributes:
                if name not in mapper.attrs:
                    raise SettingsError(
                        f"{model.__name__} has no attribute {name!r}: name its own in Rule({rule.data_type!r}, ...)"
                    )
            self._rules[model] = rule
            document = None if rule.document is None else mapper.attrs[rule.document].columns[0]
            for table in tables_of(model):
                self._tables.setdefault(table, {})[rule] = document

    def listen(self, sessions: Sessions) -> None:
        """Listens to every session that a session maker makes, or of a class of sessions.

        Args:
            sessions: An ``async_sessionmaker``, a ``sessionmaker`` or a subclass of ``Session``.
        """
        target: Any = sessions
        if isinstance(sessions, async_sessionmaker):
            # An AsyncSession has no events of its own: those of the session inside it count, in a class for this maker.
            made = sessions.kw.get("sync_session_class") or sessions.class_.sync_session_class
            target = type(made.__name__, (made,), {})
            sessions.configure(sync_session_class=target)
        event.listen(target, "before_flush", self._look)
        event.listen(target, "after_flush", self._collect)
        event.listen(target, "persistent_to_deleted", self._collect_deleted)  # orphans are nowhere else
        event.listen(target, "do_orm_execute", self._collect_bulk)
        event.listen(target, "after_commit", self._end)
        event.listen(target, "after_rollback", self._forget)

    def _look(self, session: Session, *_: object) -> None:
        """Loads the ids of rows that are about to change: a row that was deleted cannot be asked any more."""
        for row in (*session.dirty, *session.deleted):
            rule = self._rule(type(row))
            if rule is None:
                continue
            replaced = {
                name: _find_replaced(session, row, name) for name in rule.attributes if getattr(row, name) is not None
            }
            if any(replaced.values()):
                _get_pending(session).update(_endings(row, rule, replaced))

    def _collect(self, session: Session, _: object) -> None:
        # SQLAlchemy lists a row as dirty once an attribute was set, even to the value that it had.
        changed = [row for row in session.dirty if session.is_modified(row)]
        for row in (*session.new, *changed):
            self._collect_one(session, row)

    def _collect_one(self, session: Session, row: object) -> None:
        rule = self._rule(type(row))
        if rule is not None:
            _get_pending(session).update(_endings(row, rule, {}))

    def _collect_deleted(self, session: Session, row: object) -> None:
        self._collect_one(session, row)
        mapper: Mapper[Any] = inspect(type(row))
        handled = tables_of_session(row)
        below = {one for table in mapper.tables for one in tables_below(table, handled)}
        for rule in {rule for table in below for rule in self._tables.get(table, {})}:
            # The database changes rows that the session has never seen. They are of the tenant of the row above them.
            tenants = _get_tenants(
                row, rule if rule.tenant is not None and rule.tenant in mapper.attrs else replace(rule, tenant=None), {}
            )
            _get_pending(session).update(one for tenant in tenants for one in _whole(tenant, rule))

    def _collect_bulk(self, state: ORMExecuteState) -> None:
        if not (state.is_update or state.is_delete or state.is_insert):
            return
        table = getattr(state.statement, "table", None)
        rules = self._tables.get(table, {})
        below = tables_below(table) if state.is_delete and table is not None else set()
        cascades = {rule for one in below for rule in self._tables.get(one, {})}
        if not rules and not cascades:
            return
        ambient = get_current_tenant_id()
        tenants = state.execution_options.get(TENANTS) or (() if ambient is None else (ambient,))
        if not tenants:
            names = ", ".join(sorted(repr(rule.data_type) for rule in {*rules, *cascades}))
            raise MissingTenantError(
                f"this statement changes rows of {names} and their tenant is not known: run it in a Context, or with "
                f"execution_options={{{TENANTS!r}: [...]}}"
            )
        pending = _get_pending(state.session)
        for rule, column in rules.items():
            documents = set() if column is None else documents_changed(state, column)
            for tenant in map(str, tenants):
                if documents is None:
                    pending.add((tenant, None, None, None))
                pending.update((tenant, name, None, None) for name in (rule.data_type, *rule.also))
                pending.update((tenant, None, None, document) for document in documents or ())
        for rule in cascades - rules.keys():
            pending.update(one for tenant in tenants for one in _whole(str(tenant), rule))

    def _rule(self, kind: type) -> Rule | None:
        return next((self._rules[base] for base in kind.__mro__ if base in self._rules), None)

    def _end(self, session: Session) -> None:
        if session.in_nested_transaction():  # a savepoint is no commit
            return
        endings: set[Ending] = session.info.pop(_PENDING, set())
        if endings:
            self._wait(endings)

    def _wait(self, endings: set[Ending]) -> None:
        """Waits in a hook, which is synchronous: in an AsyncSession by its greenlet, in a thread by the cache's loop."""
        try:
            # If there is no greenlet, this closes the coroutine: each of the other ways makes its own.
            await_only(self._invalidate(endings))
        except MissingGreenlet:
            # Not get_running_loop(): a thread without a loop is the usual case here, and no error.
            here = asyncio._get_running_loop()
            if here is self._loop:  # nothing can be awaited here: it begins as soon as the loop runs again
                task = here.create_task(self._invalidate(endings))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                asyncio.run_coroutine_threadsafe(self._invalidate(endings), self._loop).result()

    async def _invalidate(self, endings: Collection[Ending]) -> None:
        # One after the other, in the task that has committed: that one knows what it has ended, and may store anew.
        documents: dict[str, list[str]] = {}
        resources: dict[tuple[str, str], list[str | None]] = {}
        whole_tenants = {one[0] for one in endings if one[1:] == (None, None, None)}
        for tenant in whole_tenants:
            await self._cache.invalidate(Scope(tenant))
        endings = [one for one in endings if one[0] not in whole_tenants]
        for tenant, data_type, resource, document in endings:
            if document is not None:
                documents.setdefault(tenant, []).append(document)
            elif data_type is not None:
                resources.setdefault((tenant, data_type), []).append(resource)
        for tenant, ids in documents.items():
            await self._cache.invalidate(Scope(tenant), document_ids=ids)
        for (tenant, data_type), named in resources.items():
            whole = None in named or len(named) > _MOST_ROWS
            for resource in [None] if whole else named:
                await self._cache.invalidate(Scope(tenant), data_type, resource)

    @staticmethod
    def _forget(session: Session) -> None:
        if not session.in_nested_transaction():  # what a savepoint takes back may end all the same
            session.info.pop(_PENDING, None)


def _get_pending(session: Session) -> set[Ending]:
    pending: set[Ending] = session.info.setdefault(_PENDING, set())
    return pending


def _find_replaced(session: Session, row: object, name: str) -> set[Any]:
    """Returns the stored value of an attribute that was set before it was ever loaded, so that nothing remembers the old one."""
    state: Any = inspect(row)
    history = state.attrs[name].history
    if not history.added or history.deleted or state.identity is None:
        return set()
    mapper = state.mapper
    keys = zip(mapper.primary_key, state.identity, strict=True)
    stored = select(mapper.attrs[name].columns[0]).where(*(column == value for column, value in keys))
    return set(session.scalars(stored))


def _endings(row: object, rule: Rule, replaced: Mapping[str, set[Any]]) -> Iterable[Ending]:
    """Returns the entries that a changed row ends: by its values now and before: its id or its tenant may have changed."""
    for tenant in _get_tenants(row, rule, replaced):
        for resource in _get_values(row, rule.id, replaced) - {None}:
            yield tenant, rule.data_type, str(resource), None
        for name in rule.also:
            yield tenant, name, None, None
        for document in set() if rule.document is None else _get_values(row, rule.document, replaced) - {None}:
            yield tenant, None, None, str(document)


def _get_values(row: object, name: str, replaced: Mapping[str, set[Any]]) -> set[Any]:
    """Returns the values of an attribute of a changed row, now and before."""
    state: Any = inspect(row)
    return set(state.attrs[name].history.sum()) | replaced.get(name, set())


def _get_tenants(row: object, rule: Rule, replaced: Mapping[str, set[Any]]) -> list[str]:
    """Returns the tenants of a changed row, now and before.

    Raises:
        MissingTenantError: It is not known.
    """
    tenants = {get_current_tenant_id()} if rule.tenant is None else _get_values(row, rule.tenant, replaced)
    if not tenants or (rule.tenant is None and None in tenants):
        raise MissingTenantError(
            f"a row of {rule.data_type!r} changes and its tenant is not known: load its tenant before it is deleted, name the "
            "attribute in Rule(tenant=...), or enter a Context"
        )
    return [SYSTEM_TENANT if value is None else str(value) for value in tenants]


def _whole(tenant: str, rule: Rule) -> Iterable[Ending]:
    """Returns the invalidations if nothing tells which rows of a rule have changed.

    They are those of its types, or of all types if documents are among the rows.
    """
    if rule.document is not None:
        yield tenant, None, None, None
    for name in (rule.data_type, *rule.also):
        yield tenant, name, None, None


@asynccontextmanager
async def write(
    cache: Cache,
    session: AsyncSession,
    tenant_id: str | Scope,
    *resources: tuple[str, str],
    document_ids: Iterable[str] = (),
    hold_s: float | None = None,
) -> AsyncIterator[AsyncSession]:
    """Runs a transaction of a session while the entries that it changes are held: nothing old is read after it.

    ::

        async with write(cache, session, "acme", ("document", "d1")):
            document.title = "New"

    The hold is set before the transaction begins, and ends after the commit or the rollback.

    Args:
        cache: An open cache.
        session: A session without a transaction.
        tenant_id: The tenant, or a scope.
        resources: ``(data_type, resource_id)`` of the entries that the transaction changes.
        document_ids: Documents that it changes.
        hold_s: Seconds; must be above the longest time the transaction may take.

    Raises:
        InvalidRequestError: The session has begun a transaction already (as SQLAlchemy says it).

    Cost: 1 round trip to Redis before the block and 2 after it.
    """
    check_part(cache, "cache", "write", "an open Cache")
    check_part(session, "session", "begin", "an AsyncSession")
    async with (
        cache.write(tenant_id, *resources, document_ids=tuple(document_ids), hold_s=hold_s),
        session.begin(),
    ):
        yield session


class CachedSelect:
    """Selects with cached rows: plain values, never live instances.

    A load reads through a connection of its own, in a transaction of its own, and so never stores rows that a session has not
    committed, and outlives the request that began it. A statement of mapped classes gives their columns.

    ::

        select_rows = CachedSelect(cache, engine)
        result = await select_rows(select(Document.title).where(Document.id == document_id), "title", "acme")
        titles = result.scalars().all()

    Args:
        cache: An open cache.
        engine: Where loads take their connections.
        prepare: Called with the connection and the scope before a load, such as to set the variables of row-level security.
    """

    def __init__(
        self,
        cache: Cache,
        engine: AsyncEngine,
        *,
        prepare: Callable[[AsyncConnection, Scope], Awaitable[object]] | None = None,
    ) -> None:
        self._cache = cache
        self._engine = engine
        self._prepare = prepare

    async def __call__(
        self,
        statement: Select[Any],
        data_type: str,
        scope: str | Scope | None = None,
        *,
        ttl: TtlOrUnset = UNSET,
        tags: Iterable[str] = (),
        document_ids: Iterable[str] = (),
    ) -> Result[Any]:
        """Returns the rows of a statement, from the cache if they are there.

        No rows are an answer too, and are kept.

        Args:
            statement: A ``select()``; its text and its values are the entry's id.
            data_type: The entry's type: ending it ends every statement that was cached under it.
            scope: The tenant, or a scope with the user or permissions that the rows were read with; ``None``: the
                ambient tenant.
            ttl: Seconds; left out: the type's.
            tags: Tags of the rows.
            document_ids: Documents that they depend on.

        Raises:
            MissingTenantError: No tenant is given and none is ambient.
            InvalidKeyError: The statement has no stable form (SQLAlchemy's own cache would refuse it too), or a bound
                value has none.
            EncodeError: A column's values cannot be stored.

        Cost: as for `Cache.load`.
        """
        whose = self._scope(scope)
        resource_id = statement_id(statement, self._engine)

        async def load(context: LoadContext) -> dict[str, Any]:
            async with self._engine.connect() as connection:
                if self._prepare is not None:
                    await self._prepare(connection, whose)
                result = await connection.execute(statement)
                keys, rows = list(result.keys()), result.all()
                # As tuples they no longer say which column is the document's.
                for start in range(0, len(rows), _PORTION):
                    context.depends_on(documents_in(rows[start : start + _PORTION]))
                return {"keys": keys, "rows": [tuple(row) for row in rows]}

        found = await self._cache.load(
            data_type, resource_id, whose, load, ttl=ttl, tags=tags, document_ids=document_ids, search_hierarchy=False
        )
        assert found is not MISSING
        return IteratorResult(SimpleResultMetaData(found["keys"]), iter(found["rows"]))

    @staticmethod
    def _scope(scope: str | Scope | None) -> Scope:
        if isinstance(scope, Scope):
            return scope
        tenant_id = get_current_tenant_id() if scope is None else scope
        if tenant_id is None:
            raise MissingTenantError
        return Scope(tenant_id)


def statement_id(statement: Select[Any], engine: AsyncEngine) -> str:
    """Returns the resource id of a statement: equal for equal statements with equal values, in every process.

    It is made of the SQL, the values with their types, the types of the columns, the address of the database (server,
    user, name and options) and the translation of schemas.

    Args:
        statement: A ``select()``.
        engine: Its dialect, address and execution options count.

    Raises:
        InvalidKeyError: The statement, a column's type or a bound value has no stable form.
    """
    check_part(statement, "statement", "_generate_cache_key", "a statement, such as select(...)")
    if statement._generate_cache_key() is None:
        raise InvalidKeyError(
            "this statement cannot be told from others: a type or a construct in it says cache_ok=False or nothing"
        )
    # render_postcompile writes a list of IN out, so that its length and its values are in what is hashed.
    compiled = statement.compile(dialect=engine.dialect, compile_kwargs={"render_postcompile": True})
    options = {**engine.get_execution_options(), **statement.get_execution_options()}
    schemas, url = options.get("schema_translate_map"), engine.url
    parts: tuple[Hashable, ...] = (
        _FORMAT,
        engine.dialect.name,
        # The same name may be another database on another server, and show other rows to another user.
        (url.host, url.port, url.username, url.database, tuple(sorted(url.query.items()))),
        str(compiled),
        tuple((name, _stable(value)) for name, value in sorted(compiled.params.items())),
        # The same SQL has other results if the types of its columns read them otherwise.
        tuple((str(column.key), _type_form(column.type)) for column in statement.selected_columns),
        None if not schemas else tuple(sorted((str(of), str(to)) for of, to in schemas.items())),
    )
    return generate_resource_id_hash(repr(parts))


def _stable(value: Any) -> Hashable:
    """Returns a bound value in a form with a ``repr`` that is the same in every process, and another for another type."""
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, Enum):
        return kind, value.name
    if isinstance(value, _PLAIN) and kind.startswith("builtins."):
        return kind, value
    if isinstance(value, _TEXTUAL):
        return kind, str(value)
    if isinstance(value, list | tuple):
        return kind, tuple(_stable(item) for item in value)
    if isinstance(value, Mapping):
        return kind, tuple(sorted((repr(_stable(key)), _stable(item)) for key, item in value.items()))
    if hasattr(value, "tobytes"):  # an array of numpy's
        return kind, str(value.dtype), value.shape, value.tobytes()
    if hasattr(value, "to_numpy"):  # a vector of pgvector's
        return kind, _stable(value.to_numpy())
    raise InvalidKeyError(
        f"the bound value {show(value)} of type {kind} has no stable form: bind text, numbers or dates"
    )


def _type_form(kind: Any) -> str:
    form = f"{type(kind).__module__}.{type(kind).__qualname__} {kind!r}"
    if " at 0x" in form:
        raise InvalidKeyError(f"the column type {form:.120} has no stable form: give it a __repr__")
    return form
