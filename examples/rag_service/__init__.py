"""A small RAG back end on Alacena: ingestion, embedding and query, in one program that can be read in one sitting.

Run it from the root of the repository::

    python -m examples.rag_service [FILES OR FOLDERS ...] [--questions FILE]

Where to read first: ``query.py`` (cache-aside with lineage), ``embedding.py`` (batch cache and token ledger) and
``ingestion.py`` (queue, job lock, standardized metadata): they are what a service of your own would contain. The rest
is scenery: a private database, an offline embedder, the table on the screen, and the tour that checks what it claims.
"""
