"""Where the truth lies: Postgres, Supabase storage, and what relays changes between them and the cache."""
