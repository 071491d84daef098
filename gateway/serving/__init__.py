"""The serving processes: sockets, signals and workers."""
