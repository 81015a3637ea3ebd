"""Coordination: locks, queues, counters, limits, budgets, plain lists, sets and flags, and the token ledger.

Everything here is written once against :class:`alacena.engine.store.Store`, and raises where the store did not confirm.
"""
