"""`claude-gateway setup`: points Claude Code at a gateway.

    prompts ──► model_list (what there is) ──► client_settings (which keys, pure) ──► files (backup, atomic write)
                                                        └─ json_text (edits that leave all other bytes alone)

`deploy/install_claude_code.sh` does the same in JavaScript; a test holds both to the same bytes.
"""
