"""Following a running gateway in the terminal, by its event feed."""
