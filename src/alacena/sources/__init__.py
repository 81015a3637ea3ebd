"""Sources of truth: Postgres, Supabase storage, and the relay of changes between them and the cache."""
