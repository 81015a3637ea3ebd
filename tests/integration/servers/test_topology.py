"""Clusters and Sentinels come up whole, and do what they are there for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hiredis
import pytest

from tests.servers.fixtures import FLAVOURS

if TYPE_CHECKING:
    from collections.abc import Callable

    from proving.servers.topology import RedisCluster, RedisSentinel


def test_a_cluster_serves_every_slot_on_the_node_it_names(redis_cluster: RedisCluster) -> None:
    for number in range(50):
        key = f"k{number}"
        assert redis_cluster.node_of(key).call("SET", key, number) == "OK"


def test_a_moved_slot_is_redirected(start_cluster: Callable[..., RedisCluster]) -> None:
    cluster = start_cluster("valkey")
    source = cluster.node_of("k")
    target = next(node for node in cluster.primaries if node is not source)
    cluster.move_slot(source.call("CLUSTER", "KEYSLOT", "k"), source, target)
    with pytest.raises(hiredis.ReplyError, match=f"MOVED .*:{target.port}"):
        source.call("GET", "k")
    assert target.call("SET", "k", "v") == "OK"


def test_replicas_of_a_cluster_are_in_step(start_cluster: Callable[..., RedisCluster]) -> None:
    cluster = start_cluster("valkey", replicas=1)
    roles = [node.call("ROLE")[0] for node in cluster.nodes]
    assert roles == ["master"] * 3 + ["slave"] * 3


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_sentinels_promote_the_replica_of_a_dead_primary(
    start_sentinel: Callable[..., RedisSentinel], flavour: str
) -> None:
    sentinel = start_sentinel(flavour)
    dead = sentinel.primary
    dead.call("SET", "k", "v")
    dead.call("WAIT", 1, 1000)
    promoted = sentinel.fail_over()
    assert promoted is not dead
    assert promoted.call("GET", "k") == "v"
    assert promoted.call("SET", "k", "w") == "OK"
