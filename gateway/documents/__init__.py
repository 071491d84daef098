"""The text of PDF documents."""
