"""The status page and its event feed."""
