"""What the worker processes of one gateway share: sockets and memory."""
