"""The remote tier: Redis or Valkey, and its exact model in this process."""
