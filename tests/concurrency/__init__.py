"""Storms: many callers, seeded schedules, cancellations anywhere."""
