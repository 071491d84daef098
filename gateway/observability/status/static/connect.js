
// The settings that point Claude Code here: the keys that `claude-gateway setup` writes
// (gateway/commands/setup/client_settings.py). The token is a placeholder, never a real one.

const MODEL_NAMES = [
  "ANTHROPIC_DEFAULT_OPUS_MODEL",
  "ANTHROPIC_DEFAULT_SONNET_MODEL",
  "ANTHROPIC_DEFAULT_HAIKU_MODEL",
  "ANTHROPIC_DEFAULT_FABLE_MODEL",
  "CLAUDE_CODE_SUBAGENT_MODEL",
];
// the client's default output limit, which the settings override only for a small context window
const CLIENT_OUTPUT = 32000;
// the client raises a smaller compaction window to this value and warns at each start; the model's own window still applies
const LEAST_COMPACT_WINDOW = 100000;

function clientSettings(model, keys) {
  const env = {
    ANTHROPIC_BASE_URL: location.origin,
    ANTHROPIC_AUTH_TOKEN: keys ? "your-key-for-this-gateway" : "your-backend-key",
  };
  for (const name of MODEL_NAMES) env[name] = model.id;
  if (model.context_window) {
    env.CLAUDE_CODE_MAX_CONTEXT_TOKENS = String(model.context_window);
    env.CLAUDE_CODE_AUTO_COMPACT_WINDOW = String(Math.max(model.context_window, LEAST_COMPACT_WINDOW));
    const output = Math.floor(model.context_window / 4);
    if (output < CLIENT_OUTPUT) env.CLAUDE_CODE_MAX_OUTPUT_TOKENS = String(output);
  }
  env.API_TIMEOUT_MS = "6000000";
  env.CLAUDE_CODE_ATTRIBUTION_HEADER = "0";
  env.CLAUDE_CODE_AUTO_MODE_SERVER = "0";
  return { model: model.id, alwaysThinkingEnabled: true, env };
}

function quoted(value) {
  return /^[\w@%+=:,./-]+$/.test(value) ? value : `'${value.replaceAll("'", "'\\''")}'`;
}

function showConnect(state) {
  const models = state.models.length ? state.models : [{ id: "your-model" }];
  const select = byId("model");
  const ids = models.map((model) => model.id);
  if (ids.join("\n") !== [...select.options].map((option) => option.value).join("\n")) {
    const chosen = select.value;
    select.replaceChildren(...ids.map((id) => h("option", { value: id }, id)));
    if (ids.includes(chosen)) select.value = chosen;
  }
  const settings = clientSettings(models.find((model) => model.id === select.value) || models[0], state.gateway.keys);
  setText("settings-code", JSON.stringify(settings, null, 2));
  const lines = Object.entries({ ANTHROPIC_MODEL: settings.model, ...settings.env });
  setText("shell-code", lines.map(([name, value]) => `export ${name}=${quoted(value)}`).join("\n"));
  setText(
    "connect-hint",
    state.gateway.keys
      ? "Replace your-key-for-this-gateway with your own key for this gateway."
      : "Replace your-backend-key with your backend's key; if the backend needs none, any word works.",
  );
}

async function copyText(text, element) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // a page loaded over plain HTTP from another machine has no clipboard
    getSelection().selectAllChildren(element);
    if (!document.execCommand("copy")) return false;
    getSelection().removeAllRanges();
  }
  return true;
}

function listenForCopies() {
  for (const button of document.querySelectorAll("[data-copy]")) {
    const words = button.firstChild;
    button.addEventListener("click", async () => {
      const element = byId(button.dataset.copy);
      const done = await copyText(element.textContent, element);
      words.data = done ? "Copied" : "Press Ctrl+C";
      setText("copied", done ? "Copied to the clipboard" : "Selected: copy it with the keyboard");
      setTimeout(() => {
        words.data = "Copy";
        setText("copied", "");
      }, 2000);
    });
  }
}
