"""`claude-gateway setup`: points Claude Code at a gateway.

    prompts ──► model_list (the choices) ──► client_settings (which keys, pure) ──► files (backup, atomic write)
                                                        └─ json_text (edits that leave all other bytes unchanged)

`deploy/install_claude_code.sh` does the same in JavaScript; a test checks that both write the same bytes.
"""
