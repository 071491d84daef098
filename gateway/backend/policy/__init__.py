"""Whether the backend is asked, and whether it is asked again."""
