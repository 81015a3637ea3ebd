"""Alacena inside other libraries: each module needs the extra of its library, and nothing else imports it."""
