"""One turn of a conversation, from what was read to the call that answers it."""
