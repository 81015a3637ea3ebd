"""The engine as its users see it: `Cache`, and how its parts are put together."""
