"""Real servers for the tests: Valkey, Redis, Sentinel, Cluster, Postgres, PostgREST and a Supabase-shaped gateway.

Every server is a small class with ``start()`` and ``stop()``; it lives in a private directory, listens on a unix socket
(or loopback), and dies with the process that started it. The fixtures are in :mod:`tests.servers.fixtures`.
"""
