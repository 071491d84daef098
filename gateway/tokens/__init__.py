"""Estimated token counts of requests, made without asking a backend."""
