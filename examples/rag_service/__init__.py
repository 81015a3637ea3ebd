"""A small RAG back end on Alacena: ingestion, embedding and query, in one program that can be read in one sitting.

Run it from the root of the repository::

    python -m examples.rag_service [FILES OR FOLDERS ...] [--questions FILE]

Your next three files: ``query.py`` (cache-aside with lineage), ``embedding.py`` (the provider's client with a caching
transport) and ``ingestion.py`` (a queue that loses nothing, standardized metadata): they are what a service of your own
would contain. ``stage/`` is scenery: a private database, a model of its own, the table on the screen, and the tour that
checks what it claims.
"""
