"""Structured logs, one line each."""
