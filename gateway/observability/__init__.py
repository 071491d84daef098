"""What operators see: status, metrics, traces, logs."""
