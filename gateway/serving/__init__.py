"""Processes that serve: sockets, signals, workers."""
