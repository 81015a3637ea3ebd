"""Celery's tasks are synchronous: they wait for the cache on a loop that stays, and work for the tenant that sent them."""

import os

from celery import Celery

# --8<-- [start:task]
from alacena import CacheManager
from alacena.integrations.celery import install, run

app = Celery("service", broker="memory://")
install(redis_url=os.environ.get("REDIS_URL") or None)


@app.task
def ingest(document_id):
    run(CacheManager.set("document", document_id, "ingested"))
    return run(CacheManager.get("document", document_id))


# --8<-- [end:task]
from alacena import Context, get_current_tenant_id  # noqa: E402

app.conf.task_always_eager = True  # sender and worker are one process here
with Context("acme"):
    assert ingest.delay("d1").get() == "ingested"
assert get_current_tenant_id() is None
assert run(CacheManager.get("document", "d1", "globex")) is None
run(CacheManager.close())
