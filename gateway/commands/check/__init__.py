"""`claude-gateway check`: sends requests to a backend to find out what it can do.

rows      what a probe finds: a mark, what was seen, what to do
secrets   keeps tokens out of rows
wire      plain requests, and the connection errors they can meet
asking    requests in Anthropic's format, sent through the gateway's own translation, and the raw answers
probes    connection, answers, tools, thinking, abilities, limits: one function for each row
advice    the settings to use with the backend
runner    runs the probes in order, each with a time limit
report    rows in the terminal, or as JSON
"""
