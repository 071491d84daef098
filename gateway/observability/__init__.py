"""What operators see: the status page, metrics, traces and logs."""
