
// The event feed, read with fetch: an EventSource cannot send a key.

const KEY = "claude-gateway-status-key";
const feed = { state: null, lastId: "", skew: 0, abort: null };

function pause(milliseconds) {
  return new Promise((resume) => setTimeout(resume, milliseconds));
}

// Reads one connection to its end. Returns the refusal's status and message, or null if the gateway accepted it.
async function follow(onState) {
  const headers = { Accept: "text/event-stream" };
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  if (feed.lastId) headers["Last-Event-ID"] = feed.lastId;
  feed.abort = new AbortController();
  const response = await fetch("events", { headers, cache: "no-store", signal: feed.abort.signal });
  if (!response.ok) {
    const body = await response.json().catch(() => null);
    return { status: response.status, message: body?.error?.message ?? `The gateway answered ${response.status}.` };
  }
  const date = Date.parse(response.headers.get("Date") ?? "");
  // the header has only whole seconds, so ignore small differences
  feed.skew = Math.abs(Date.now() - date) > 2000 ? Date.now() - date : 0;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return null;
    const frames = (text + value).split("\n\n");
    text = frames.pop();
    if (frames.map(take).some(Boolean)) onState(feed.state);
  }
}

function take(frame) {
  const fields = {};
  for (const line of frame.split("\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 1).trimStart();
  }
  if (!fields.data) return false;
  const data = JSON.parse(fields.data);
  feed.lastId = fields.id ?? feed.lastId;
  feed.state = fields.event === "snapshot" ? data : { ...feed.state, ...data };
  return true;
}

// Follows the feed for as long as the page is open; waits longer after each failure.
async function followForGood({ onState, onConnection, onRefusal }) {
  let wait = 500;
  for (;;) {
    let refusal = null;
    try {
      refusal = await follow((state) => {
        wait = 500;
        onConnection("live");
        onState(state);
      });
    } catch {
      // the connection broke, or there was none
    }
    if (refusal && (refusal.status === 401 || refusal.status === 403)) {
      onConnection("refused");
      await onRefusal(refusal);
      onConnection("connecting");
      continue;
    }
    onConnection("lost");
    await pause(wait);
    wait = Math.min(wait * 2, 10000);
  }
}
