"""The scope of what the one who is served may see, in a request and in a job."""

from __future__ import annotations

import pytest

from alacena import Context, InvalidKeyError, Scope, get_current_tenant_id
from alacena.integrations.caller import Caller, Serving, ambient_ids, current_scope, ids_in, labels_of, scope_for

ANA = Caller(tenant_id="acme", user_id="ana", permissions=frozenset({"read", "write"}))


def test_permissions_hold_for_the_one_who_is_served_and_its_tenant_alone() -> None:
    with Serving(ANA):
        assert current_scope() == scope_for("acme") == ANA.scope()
        assert scope_for("globex") == Scope("globex", user_id="ana")
        with Context(tenant_id="acme", user_id="eva"):
            assert current_scope() == Scope("acme", user_id="eva")


def test_job_is_its_users_and_asks_again_what_the_user_may_do() -> None:
    with Serving(ANA):
        sent = labels_of(ambient_ids(), {})
    with Serving(ids_in(sent)):
        assert current_scope() == Scope("acme", user_id="ana")
        with Serving(Caller(**ids_in(sent), permissions=frozenset({"read"}))):
            assert current_scope() == Scope("acme", user_id="ana", permissions={"read"})


def test_ids_that_are_refused_leave_none_of_the_others_ambient() -> None:
    with Context(tenant_id="acme"):
        with pytest.raises(InvalidKeyError, match="user_id"), Serving({"tenant_id": "globex", "user_id": " "}):
            pass
        assert get_current_tenant_id() == "acme"
