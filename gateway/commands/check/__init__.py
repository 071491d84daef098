"""`claude-gateway check`: sends requests to a backend to find out what it can do.

command   its flags, and the exit code
doctor    the whole check: sets up, runs, reports
runner    runs the probes in order, each with a time limit
probes    connection, answers, tools, thinking, abilities, limits: one function for each row
visit     the backend as the probes see it, and what they have found out so far
asking    requests in Anthropic's format, sent through the gateway's own translation, and the raw answers
wire      plain requests, and the connection errors they can meet
rows      what a probe finds: a mark, what was seen, what to do
flags     server flags to suggest, by kind of server
recommended_settings  the settings to use with the backend
secrets   keeps tokens out of rows
report    rows in the terminal, or as JSON
"""
