"""The answer on its way to the client. This is the hot path: the way of one event, from socket to socket.

    backend's socket
      │ backend/connection/stream_protocol   takes the bytes before aiohttp does
      │ backend/connection/chunked_body      undoes HTTP's chunks
      ├─ alone ──► fast_path ───────────────────────────────────────────────────────────────────────┐
      ├─ a run ──► call.relay ─► stream_answer.take ─┐                                              │
      └─ odd ────► call.read ──► stream_answer loop ─┴► StreamTranslator ─► StreamWriter ─► event_stream ─► client's
                                                                                            event_response  socket

- **Alone**: a read gives one chunk with one event of the kind that `delta_copier` has learnt. `FastPath` copies its
  text between the bytes around it. It may assume that the response is open, that the client keeps up, that the writer
  holds nothing, and that the copier is in a run of such events. It passes everything else on.
- **A run**: a read gives several events, or pieces of them. `take` is called from the protocol, without a task switch.
  `StreamTranslator` lets `DeltaCopier` copy whole runs of known events and decodes what lies between them.
- **Odd**: the first content, a slow client, the end, any answer in another framing. The task that reads is woken;
  `openai/sse`, `openai/chunk` and `Reducer` read the event in full, and `StreamWriter` checks it against its table.

The third case defines what is right; the other two must give the same bytes. `tests/relay/test_fast_path.py` holds the
first to it, `tests/translate/from_backend/test_delta_copier.py` the second, both with cuts at any byte and with damaged
events. `tests/backend/connection/` holds the connection to aiohttp's own parser.

`StreamProtocol`, `ChunkedBody`, `Post`, `EventResponse` and `FastPath` stand where aiohttp's own classes would. The
first lines of each say which public interface it rests on, and what would have to be true to delete it.
"""
