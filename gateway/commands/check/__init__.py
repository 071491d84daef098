"""`claude-gateway check`: what a backend can do, found out by asking it.

rows      what a probe finds: a mark, what was seen, what to do
secrets   no token gets into a row
wire      plain requests, and what can go wrong on the way
asking    requests in Anthropic's shape, through this gateway's own translation, and what came back raw
probes    connection, answers, tools, abilities, limits: one function for each row
advice    the settings that follow
runner    one probe after the other, each with its time
report    rows in the terminal, or as JSON
"""
