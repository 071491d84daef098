"""Prometheus' metrics."""
