"""For whom a message to a worker is: ids and permissions, and nobody if that cannot be read."""

from __future__ import annotations

from typing import Any

import pytest

from alacena import Context, Scope, TenantMismatchError
from alacena.integrations.caller import Caller, Serving, ambient_ids, current_scope, labels_of, whom

ANA = Caller(tenant_id="acme", user_id="ana", permissions=frozenset({"read", "write"}))


def labels(given: dict[str, Any] | None = None) -> dict[str, str]:
    return labels_of(ambient_ids(), given or {})


def test_job_has_the_scope_of_the_request_that_sent_it() -> None:
    with Serving(ANA):
        sent = labels()
    with Serving(whom(sent)):
        assert current_scope() == ANA.scope()
        assert labels() == sent  # and so has the job that the job sends


def test_permissions_of_one_user_do_not_go_along_with_another() -> None:
    with Serving(ANA):
        sent = labels({"alacena_user_id": "eva"})
        with Context(tenant_id="acme", user_id="eva"):
            inside = labels()
        with pytest.raises(TenantMismatchError):
            labels({"alacena_tenant_id": "globex"})
    assert "alacena_permissions" not in {**sent, **inside}


def test_job_that_was_sent_without_permissions_has_none() -> None:
    with Context(tenant_id="acme", user_id="ana"):
        sent = labels()
    with Serving(whom(sent)):
        assert current_scope() == Scope("acme", user_id="ana")


@pytest.mark.parametrize("permissions", ["no JSON", "7", '[""]', None])
def test_label_that_cannot_be_read_is_nobodys(permissions: Any) -> None:
    assert whom({"alacena_tenant_id": "acme", "alacena_permissions": permissions}) == {}
