"""The record of a request, and those that are in progress."""
