"""OpenTelemetry's traces."""
