"""The status page, and the event feed behind it."""
