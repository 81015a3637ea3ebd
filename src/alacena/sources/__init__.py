"""Sources of truth: Postgres, Supabase storage, and the table in which token usage is kept for good."""
