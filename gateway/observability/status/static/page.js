
const SECONDS_SHOWN = 120;
const STREAMS_SHOWN = 50;
const OUTCOMES = {
  ok: ["", "done"],
  client_gone: ["warn", "client left"],
  refused: ["bad", "refused"],
  backend_fault: ["bad", "failed"],
};
const SIDES = { backend_fault: "backend", refused: "gateway", client_gone: "client" };
const STOPS = { max_tokens: "token limit", tool_use: "tool call", stop_sequence: "stop sequence", refusal: "refusal", model_context_window_exceeded: "context full" };
const CONNECTIONS = { live: ["live", "Live"], lost: ["bad", "Connection lost, trying again"], refused: ["wait", "Key needed"], connecting: ["wait", "Connecting"] };

function now() {
  return (Date.now() - feed.skew) / 1000;
}

function showTiles({ in_flight, totals, breaker, rates, gateway }) {
  const failed = totals.failed ? `${number(totals.failed)} failed` : "none failed";
  const breakerMore = breaker.state === "disabled" ? "ENABLE_CIRCUIT_BREAKER is off" : `${plural(breaker.failures, "failure")} in a row`;
  const tiles = [
    ["In progress", number(in_flight), gateway.workers > 1 ? `${gateway.workers} workers` : "answers"],
    ["Tokens/s", rate(rates.at(-1) ?? 0), "estimated"],
    ["Requests", short(totals.requests), failed],
    ["Tokens out", short(totals.output_tokens), [`${short(totals.input_tokens + totals.cached_tokens)} in`, totals.cached_tokens ? `${short(totals.cached_tokens)} cached` : ""].filter(Boolean).join(", ")],
    ["Circuit breaker", breaker.state, breakerMore],
  ];
  fill("tiles", ...tiles.map(([name, value, more], index) => {
    const tone = index === 4 && value === "open" ? ".bad" : index === 4 && value === "half-open" ? ".warn" : "";
    return h("div", null, h("dt", null, name), h(`dd.value${tone}`, null, value), h("dd.more", null, more));
  }));
}

function showRunning({ requests, in_flight }) {
  setText("running-count", in_flight > requests.length ? `${requests.length} of ${number(in_flight)}` : "");
  if (!requests.length) {
    fill("running", h("li.empty", null, "Nothing is being answered right now."));
    return;
  }
  fill("running", ...requests.map((one) => {
    const details = [one.client, seconds(one.age_seconds ?? 0)];
    if (one.first_event_ms !== undefined) details.push(`first token after ${milliseconds(one.first_event_ms)}`);
    if (one.stream === false) details.push("not streamed");
    if (one.retries) details.push(one.retries === 1 ? "1 retry" : `${one.retries} retries`);
    const state = one.state ?? "waiting";
    const tag = h(`span.tag${state === "waiting" ? "" : ".on.pulse"}`, null, state);
    return h("li", { "data-id": one.id },
      h("span.name", null, one.model || "reading the request"),
      h("span.speed", null, tag),
      h("span.more", null, details.filter(Boolean).join(" · ")),
      h("span.speed.more", null, one.tokens ? `≈ ${short(one.tokens)} tokens · ${rate(one.tokens_per_second ?? 0)}/s` : ""));
  }));
}

function showCharts({ rates, finished }) {
  const width = byId("rate-chart").clientWidth;
  fill("rate-chart", rateChart(rates, SECONDS_SHOWN, width));
  setText("rate-now", rates.length ? `peak ${rate(Math.max(...rates))}` : "");
  const streams = finished.filter((ended) => ended.stream && ended.first_event_ms !== undefined);
  const { root, middle } = firstChart(streams, STREAMS_SHOWN, width);
  fill("first-chart", root);
  setText("first-now", streams.length ? `median ${milliseconds(middle)}` : "");
}

function showFinished({ finished }) {
  setText("finished-count", finished.length ? `last ${number(finished.length)}` : "");
  if (!finished.length) {
    fill("finished", h("p.empty", null, "No request has finished yet. Connect Claude Code and ask something."));
    return;
  }
  const heads = [["Model", ""], ["Outcome", ""], ["First token", ".number.wide"], ["Duration", ".number"], ["Tokens in", ".number.wide"], ["out", ".number"], ["per second", ".number.wide"]];
  const rows = finished.map((ended) => {
    const [tone, word] = OUTCOMES[ended.outcome] ?? ["bad", ended.outcome];
    const status = ended.status && ended.status !== 200 ? ` ${ended.status}` : "";
    const input = ended.input_tokens === undefined ? "–" : short(ended.input_tokens + (ended.cached_tokens ?? 0));
    return h("tr", { "data-id": ended.id },
      h("td.what", null, ended.model || "–", h("span.more", null, [ended.client, ago(now() - ended.ended_at)].filter(Boolean).join(" · "))),
      h("td", null, h(`span.tag${tone ? `.${tone}` : ""}`, null, (ended.outcome === "ok" && STOPS[ended.stop_reason]) || word + status)),
      h("td.number.wide", null, ended.first_event_ms === undefined ? "–" : milliseconds(ended.first_event_ms)),
      h("td.number", null, milliseconds(ended.duration_ms ?? 0)),
      h("td.number.wide", null, input),
      h("td.number", null, ended.output_tokens === undefined ? "–" : short(ended.output_tokens)),
      h("td.number.wide", null, ended.tokens_per_second === undefined ? "–" : rate(ended.tokens_per_second)));
  });
  const head = h("thead", null, h("tr", null, heads.map(([name, kind]) => h(`th${kind}`, { scope: "col" }, name))));
  const table = h("table", null, head, h("tbody", null, rows));
  fill("finished", h("div.scroll", { tabindex: "0", role: "group", "aria-labelledby": "finished-title" }, table));
}

function showFailures({ failures }) {
  setText("failures-count", "");
  if (!failures.length) {
    fill("failures", h("p.empty", null, "None."));
    return;
  }
  fill("failures", h("ul.failures", null, failures.map((failure) => h("li", null,
    h("p.line", null,
      h(`span.tag${failure.outcome === "client_gone" ? ".warn" : ".bad"}`, null, failure.status && failure.status !== 200 ? String(failure.status) : "broke off"),
      [SIDES[failure.outcome] ?? failure.outcome, ago(now() - failure.last_at), failure.count > 1 ? `${failure.count} times` : ""].filter(Boolean).join(" · ")),
    h("p", null, failure.text),
    h("p.remedy", null, failure.advice)))));
}

function showModels({ models, backend }) {
  setText("models-count", backend.models ? number(backend.models) : "");
  if (!models.length) {
    const why = !backend.reached ? "The backend has not been reached." : backend.models === 0 ? "The backend has no models." : "The backend gives its list only to clients with a key; it appears after the first request.";
    fill("models", h("p.empty", null, why));
    return;
  }
  const rows = models.map((model) => h("li", null,
    h("span", null, model.id),
    h("span.marks", null,
      model.thinking ? h("span.tag.on", { title: model.thinking === "seen" ? "an answer contained thinking" : "according to the backend's list" }, "thinks") : null,
      model.images ? h("span.tag", null, "images") : null,
      model.context_window ? h("span.tag", { title: `${number(model.context_window)} tokens` }, `${context(model.context_window)} context`) : null)));
  const scrolls = models.length > 8 ? { tabindex: "0", role: "group", "aria-labelledby": "models-title" } : null;
  fill("models", h("div.scroll", scrolls, h("ul.models", null, rows)));
}

function showNotes({ gateway, backend, breaker }) {
  const notes = [];
  if (gateway.stopping) notes.push(["", "The gateway is shutting down: answers in progress are being finished."]);
  if (!backend.reached) notes.push(["bad", `The backend has not been reached yet: check that it is running at ${backend.url}, and check BACKEND_URL.`]);
  if (breaker.state === "open") notes.push(["bad", "The circuit breaker is open: the backend failed several times in a row; the gateway sends it no requests for a moment."]);
  if (gateway.workers_seen < gateway.workers) notes.push(["", `${gateway.workers_seen} of ${gateway.workers} workers are shown; the others have not reported yet.`]);
  fill("notes", ...notes.map(([tone, text]) => h(`p.note${tone ? `.${tone}` : ""}`, { role: "status" }, text)));
}

function showState(state) {
  byId("gate").hidden = true;
  byId("board").hidden = false;
  setText("where", `in front of ${state.backend.url}`);
  setText("foot", `Version ${state.gateway.version} · up ${seconds(now() - state.gateway.started_at)} · the same in a terminal: claude-gateway watch`);
  document.title = state.in_flight ? `(${state.in_flight}) claude-gateway` : "claude-gateway";
  for (const show of [showNotes, showTiles, showRunning, showCharts, showFinished, showFailures, showModels, showConnect]) show(state);
}

function showConnection(name) {
  const [kind, words] = CONNECTIONS[name];
  byId("connection").dataset.kind = kind;
  setText("connection", words);
}

// Resolves when the user has entered a key to try.
function askForKey({ status, message }) {
  const wrong = sessionStorage.getItem(KEY) !== null;
  sessionStorage.removeItem(KEY);
  byId("board").hidden = true;
  byId("gate").hidden = false;
  const takesKey = status === 401;
  byId("gate-form").hidden = !takesKey;
  setText("gate-text", takesKey ? (wrong ? "That is not the key. Try again." : "From another machine or through a proxy, the status requires the status key.") : message);
  if (!takesKey) {
    showConnection("refused");
    setText("connection", "No access");
  } else byId("key").focus();
  return new Promise((resume) => {
    byId("gate-form").onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEY, byId("key").value.trim());
      byId("key").value = "";
      resume();
    };
  });
}

listenForCopies();
byId("model").addEventListener("change", () => showConnect(feed.state));
// "5 s ago" must grow older even while no event arrives
setInterval(() => {
  if (feed.state && byId("gate").hidden && !document.hidden) showState(feed.state);
}, 5000);
followForGood({ onState: showState, onConnection: showConnection, onRefusal: askForKey });
