"""Follows a running gateway in the terminal through its event feed."""
