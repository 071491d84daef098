"""The record of a request, and the requests in progress."""
