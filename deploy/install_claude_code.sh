#!/usr/bin/env bash
# Installs Claude Code and points it at a gateway: Node.js, the client from npm, one of the gateway's models, and the
# client's settings. Linux and macOS; bash 3.2 or newer, curl, tar; no root.
#
# The token is a variable of this shell only: it reaches curl and node through their standard input, never their
# arguments or environment. The settings are edited as text by the program at the end, which keeps all else in them.
[ -n "${BASH_VERSION:-}" ] || { echo "install_claude_code: run this with bash" >&2; exit 2; }
# a trace would show the token
{ set +x; } 2>/dev/null
set -euo pipefail
# what is assigned to a name that came in exported, or under allexport, goes out to every child
set +a
unset -v TOKEN REPLY ambient quoted

readonly PACKAGE=@anthropic-ai/claude-code
readonly OLDEST_NODE=18
readonly DEFAULT_URL=http://127.0.0.1:8080
readonly NO_TOKEN=none
PREFIX=${CLAUDE_GATEWAY_PREFIX:-$HOME/.local}
NODE_DIST_URL=${NODE_DIST_URL:-https://nodejs.org/dist}
NODE_LINE=${NODE_LINE:-latest-v24.x}

ORIGINAL_PATH=$PATH

URL='' MODEL='' TOKEN_FILE='' YES='' DRY_RUN='' UNINSTALL='' # flags
TOKEN='' SAME_URL='' CONTEXT='' OUTPUT='' THINKS='' WORK='' CLAUDE=''

usage() {
    cat <<EOF
usage: install_claude_code.sh [--url URL] [--model NAME] [--token-file FILE] [--yes] [--dry-run] [--uninstall]

Install or update Claude Code (and Node.js, where there is none from $OLDEST_NODE on), and point it at a gateway: asks
for the address, the token and the model, shows what changes, and writes it to ~/.claude/settings.json (or into
CLAUDE_CONFIG_DIR). Everything else in there stays; a backup is kept for --uninstall.

  --url URL          the gateway's base URL [default: the one set up, or $DEFAULT_URL]
  --model NAME       one of the gateway's models, in any case
  --token-file FILE  a file that holds the token
  --yes              ask nothing
  --dry-run          show what would be done, write nothing
  --uninstall        put back the settings that were there before
  -h, --help         this

The token has no flag, since others can read a command line: it comes from --token-file, CLAUDE_GATEWAY_TOKEN or
ANTHROPIC_AUTH_TOKEN, from the settings that are there, or is asked for and not shown.

Variables: CLAUDE_GATEWAY_PREFIX, where programs go if npm's own place is not writable [~/.local]; NODE_DIST_URL, a
mirror of Node.js [https://nodejs.org/dist]; NODE_LINE, the folder of it to install from [latest-v24.x].
EOF
}

say() { printf '%s\n' "$*"; }
fail() {
    printf 'install_claude_code: %s\n' "$*" >&2
    exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }
clean_up() { [ -z "$WORK" ] || rm -rf "$WORK"; }

main() {
    local ambient="${CLAUDE_GATEWAY_TOKEN:-${ANTHROPIC_AUTH_TOKEN:-}}"
    # no child gets it: an environment can be read as a command line can
    unset CLAUDE_GATEWAY_TOKEN ANTHROPIC_AUTH_TOKEN
    parse_flags "$@"
    case $(uname -s) in
    Linux | Darwin) ;;
    *) fail "this is for Linux and macOS; elsewhere install Node.js and $PACKAGE, then run: claude-gateway setup" ;;
    esac
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/install_claude_code.XXXXXX")
    if [ -n "$UNINSTALL" ]; then
        undo
        return
    fi
    has curl || fail "curl is needed: install it with your package manager, then run this again"
    need_terminal_or_flags
    if ! find_node; then
        if [ -n "$DRY_RUN" ]; then
            say "Would install Node.js from $NODE_DIST_URL/$NODE_LINE/ into $PREFIX, then $PACKAGE with npm."
            say "The models and the settings can be shown only with Node.js. Nothing was written: --dry-run."
            return 0
        fi
        provide_node
    fi
    choose_url
    choose_token "$ambient"
    fetch_models
    choose_model
    local pending=1
    changes plan || pending=''
    if [ -z "$pending" ]; then
        say "Claude Code already uses $MODEL through $URL: nothing to change."
    elif [ -z "$DRY_RUN" ] && ! agreed; then
        return 0
    fi
    if [ -n "$DRY_RUN" ]; then
        say "Would install or update $PACKAGE with npm."
        say "Nothing was written: --dry-run."
        return 0
    fi
    ensure_client
    [ -z "$pending" ] || settings write
    advise
}

parse_flags() {
    while [ $# -gt 0 ]; do
        case $1 in
        --url=* | --model=* | --token-file=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" && continue ;;
        --url | --model | --token-file)
            [ $# -ge 2 ] || wrong_use "$1 needs a value"
            case $1 in
            --url) URL=$2 ;;
            --model) MODEL=$2 ;;
            --token-file) TOKEN_FILE=$2 ;;
            esac
            shift
            ;;
        --yes) YES=1 ;;
        --dry-run) DRY_RUN=1 ;;
        --uninstall) UNINSTALL=1 ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) wrong_use "unknown flag: $1" ;;
        esac
        shift
    done
}

wrong_use() {
    printf 'install_claude_code: %s\n' "$1" >&2
    usage >&2
    exit 2
}

# --- the terminal: even where this script itself comes in through a pipe

has_terminal() { (exec </dev/tty) 2>/dev/null; }
asks() { [ -z "$YES" ] && has_terminal; }

need_terminal_or_flags() {
    [ -n "$YES$DRY_RUN" ] || has_terminal || fail "no terminal to ask on: give --yes, with --model and --token-file"
}

# ask QUESTION [hidden]: the answer in REPLY
ask() {
    printf '%s ' "$1" >/dev/tty
    if [ -n "${2:-}" ]; then
        IFS= read -r -s REPLY </dev/tty || exit 130
        printf '\n' >/dev/tty
    else
        IFS= read -r REPLY </dev/tty || exit 130
    fi
}

agreed() {
    [ -z "$YES" ] || return 0
    ask "Write this? [Y/n]"
    case $REPLY in
    '' | [yY] | [yY][eE][sS]) return 0 ;;
    esac
    say "Nothing was written."
    return 1
}

# --- Node.js

node_fits() {
    has node && has npm || return 1
    local version
    version=$(node --version 2>/dev/null) || return 1
    version=${version#v}
    [ "${version%%.*}" -ge "$OLDEST_NODE" ] 2>/dev/null
}

# puts the one that an earlier run installed on the PATH, if there is none that fits
find_node() {
    node_fits && return 0
    PATH=$PREFIX/bin:$PATH
    node_fits
}

provide_node() {
    ! has node || say "Node.js $(node --version 2>/dev/null) is older than $OLDEST_NODE, or has no npm: another is installed."
    install_node || node_from_packages
    node_fits || fail "Node.js was installed, but does not run: see https://nodejs.org/en/download"
}

install_node() {
    local system machine archive folder
    [ ! -e /etc/alpine-release ] || return 1 # nodejs.org has no build for musl
    case $(uname -s) in Darwin) system=darwin ;; *) system=linux ;; esac
    case $(uname -m) in
    x86_64 | amd64) machine=x64 ;;
    arm64 | aarch64) machine=arm64 ;;
    *) return 1 ;;
    esac
    download "$NODE_LINE/SHASUMS256.txt" || return 1
    archive=$(awk -v end="-$system-$machine.tar.gz" \
        'substr($2, length($2) - length(end) + 1) == end { print $2; exit }' "$WORK/SHASUMS256.txt")
    [ -n "$archive" ] || return 1
    say "Installing ${archive%.tar.gz} into $PREFIX"
    download "$NODE_LINE/$archive" || return 1
    [ "$(sha256 "$WORK/$archive")" = "$(awk -v name="$archive" '$2 == name { print $1 }' "$WORK/SHASUMS256.txt")" ] ||
        fail "$NODE_DIST_URL/$NODE_LINE/$archive: its checksum is wrong: nothing of it was installed; try again later"
    folder=$PREFIX/share/claude-gateway/${archive%.tar.gz}
    unpack "$archive" "$folder" || fail "$PREFIX: Node.js cannot be put there: set CLAUDE_GATEWAY_PREFIX to another folder"
    hash -r
}

unpack() {
    local program
    mkdir -p "$PREFIX/bin" "${2%/*}" && tar -xzf "$WORK/$1" -C "$WORK" && rm -rf "$2" &&
        mv "$WORK/${1%.tar.gz}" "$2" || return 1
    for program in node npm npx; do ln -sfn "$2/bin/$program" "$PREFIX/bin/$program" || return 1; done
}

download() {
    curl -qfsSL --connect-timeout 10 --retry 2 -o "$WORK/${1##*/}" "$NODE_DIST_URL/$1" 2>"$WORK/curl.err" || {
        say "$NODE_DIST_URL/$1: $(head -n 1 "$WORK/curl.err")"
        return 1
    }
}

sha256() {
    if has sha256sum; then sha256sum "$1"; else shasum -a 256 "$1"; fi | awk '{ print $1 }'
}

# where nodejs.org has no build, or cannot be reached
node_from_packages() {
    PATH=$ORIGINAL_PATH
    if has brew; then
        brew install node
    elif [ "$(id -u)" -ne 0 ]; then
        fail "Node.js could not be installed: install $OLDEST_NODE or newer with your package manager, then run this again"
    elif has apt-get; then
        apt-get install -y nodejs npm
    elif has dnf; then
        dnf install -y nodejs npm
    elif has apk; then
        apk add nodejs npm
    else
        fail "Node.js could not be installed: install $OLDEST_NODE or newer yourself, then run this again"
    fi
    hash -r
}

# --- Claude Code

ensure_client() {
    local global where bin
    global=$(npm prefix -g)
    where=$PREFIX
    case $global in
    "$PREFIX"/share/claude-gateway/*) ;; # beside our own node it would be on no PATH
    *) ! writable "$global/lib/node_modules" || ! writable "$global/bin" || where=$global ;;
    esac
    bin=$where/bin/claude
    if has claude && [ ! -e "$bin" ] && ! is_npms "$(command -v claude)"; then
        CLAUDE=$(command -v claude)
        say "Claude Code is there, installed by other means: $CLAUDE is kept (it updates itself)."
        return 0
    fi
    if [ -e "$bin" ] && npm outdated -g --prefix "$where" "$PACKAGE" >/dev/null 2>&1; then
        say "Claude Code $("$bin" --version 2>/dev/null || true) is up to date."
    else
        say "Installing $PACKAGE into $where"
        npm install -g --prefix "$where" --no-fund --no-audit --loglevel=error "$PACKAGE" >"$WORK/npm.log" 2>&1 || {
            tail -n 15 "$WORK/npm.log" >&2
            fail "npm could not install $PACKAGE: its words are above; no settings were written"
        }
        [ -e "$bin" ] || fail "npm installed no $bin: see $PACKAGE on npmjs.com; no settings were written"
    fi
    CLAUDE=$bin
}

is_npms() { case $(node -e 'console.log(fs.realpathSync(process.argv[1]))' -- "$1") in */node_modules/*) ;; *) return 1 ;; esac }

# whether a folder, or the nearest one above it that exists, can be written
writable() {
    local folder=$1
    while [ ! -e "$folder" ] && [ "$folder" != / ]; do folder=$(dirname "$folder"); done
    [ -d "$folder" ] && [ -w "$folder" ]
}

# --- what the user gives

choose_url() {
    local current
    current=$(settings current url) || exit 1
    if [ -z "$URL" ] && asks; then
        ask "Gateway [${current:-$DEFAULT_URL}]:"
        URL=$REPLY
    fi
    URL=${URL:-${current:-$DEFAULT_URL}}
    local LC_ALL=C form='^https?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?(/[A-Za-z0-9._~/%-]*)?$'
    [[ $URL =~ $form ]] ||
        fail "'$URL' is not a base URL: give one like $DEFAULT_URL or https://gateway.example"
    while [ "${URL%/}" != "$URL" ]; do URL=${URL%/}; done
    SAME_URL=''
    [ "$URL" != "$current" ] || SAME_URL=1
}

choose_token() {
    if [ -n "$TOKEN_FILE" ]; then
        [ -f "$TOKEN_FILE" ] || [ -p "$TOKEN_FILE" ] || fail "--token-file $TOKEN_FILE: there is no such file"
        [ -r "$TOKEN_FILE" ] || fail "--token-file $TOKEN_FILE: it cannot be read"
        TOKEN=$(tr -d '\0' <"$TOKEN_FILE")
        check_token
    elif [ -n "$1" ]; then
        TOKEN=$1
        check_token
    fi
    # a token goes to no other address than the one it was given for
    if [ -z "$TOKEN" ] && [ -n "$SAME_URL" ]; then TOKEN=$(settings current token) || exit 1; fi
    if [ -z "$TOKEN" ] && asks; then
        ask "Your backend's key (hidden; just Enter if it needs none):" hidden
        TOKEN=${REPLY:-$NO_TOKEN}
        REPLY=''
    fi
    [ -n "$TOKEN" ] ||
        fail "no token: give --token-file FILE, or set CLAUDE_GATEWAY_TOKEN (\`$NO_TOKEN\` if none is needed)"
    check_token
}

check_token() {
    local LC_ALL=C form='^[!-~]+$' blank=$' \t\r\n'
    TOKEN=${TOKEN#"${TOKEN%%[!"$blank"]*}"}
    TOKEN=${TOKEN%"${TOKEN##*[!"$blank"]}"}
    case $TOKEN in
    '') fail "the token is empty: give your backend's key, or \`$NO_TOKEN\` if it needs none" ;;
    sk-ant-*) fail "this is a token for Anthropic (sk-ant-…), and a gateway talks to another backend: give that" \
        "backend's key; the token was sent nowhere" ;;
    esac
    [[ $TOKEN =~ $form ]] ||
        fail "the token contains a blank or an invalid character: copy it again, on one line"
}

# --- the models

fetch_models() {
    local status quoted proxy=()
    quoted=${TOKEN//\\/\\\\}
    quoted=${quoted//\"/\\\"}
    # proxies of the environment are for hosts elsewhere
    ! is_local || proxy=(--noproxy '*')
    status=$(printf 'header = "Authorization: Bearer %s"\n' "$quoted" |
        curl -q -sS -K - ${proxy[@]+"${proxy[@]}"} --connect-timeout 10 --max-time 30 -H 'anthropic-version: 2023-06-01' \
            -o "$WORK/models.json" -w '%{http_code}' "$URL/v1/models?limit=1000" 2>"$WORK/curl.err") ||
        fail "$URL does not answer ($(head -n 1 "$WORK/curl.err")): is the gateway running there? Start it with" \
            "\`claude-gateway\`, or give its address with --url"
    settings models "$status"
}

is_local() {
    case $URL in
    *://localhost | *://localhost[:/]* | *://127.0.0.1 | *://127.0.0.1[:/]* | *://\[::1\]*) return 0 ;;
    esac
    return 1
}

choose_model() {
    local current row=''
    current=$(settings current model) || exit 1
    if [ -n "$MODEL" ]; then
        row=$(settings pick exact "$MODEL") || exit 1
    elif ! asks; then
        row=$(settings pick only "$current") || exit 1
    else
        row=$(settings pick soft "$current") || current=''
        say "Models (context, thinking, \$ for a million tokens in / out):"
        settings list ''
        while :; do
            ask "Model: a number, or part of a name to search${current:+ [$current]}:"
            if [ -z "$REPLY" ]; then
                [ -z "$current" ] || break
            elif row=$(settings pick soft "$REPLY"); then
                break
            else
                settings list "$REPLY"
            fi
        done
    fi
    # a tab would be a blank to `read`: two in a row count as one
    IFS=$'\037' read -r MODEL CONTEXT OUTPUT THINKS <<<"$row"
}

advise() {
    say "Claude Code now uses $MODEL through $URL. Start it: ${CLAUDE##*/}"
    [ "$(first_on_path claude)" = "$CLAUDE" ] ||
        say "Put it first on your PATH: export PATH=\"$(dirname "$CLAUDE"):\$PATH\""
    [ -z "${ANTHROPIC_API_KEY:-}" ] ||
        say "Note: ANTHROPIC_API_KEY is set in this shell: unset it, or Claude Code sends it to the gateway too."
    say "To undo the settings: install_claude_code.sh --uninstall"
}

# where the user's own shell finds a program
# shellcheck disable=SC2016 # the inner shell expands it
first_on_path() { PATH=$ORIGINAL_PATH "$BASH" -c 'command -v "$1" || true' "$0" "$1"; }

undo() {
    node_fits || PATH=$PREFIX/bin:$PATH
    has node || fail "Node.js is needed to edit the settings; \`claude-gateway setup --uninstall\` does the same without"
    if ! changes undo plan; then
        say "There is no backup of a set-up: nothing to undo."
        return 0
    fi
    if [ -n "$DRY_RUN" ]; then
        say "Nothing was written: --dry-run."
        return 0
    fi
    [ -n "$YES" ] || has_terminal || fail "no terminal to ask on: give --yes"
    agreed || return 0
    settings undo write
    say "Claude Code's settings are as they were before. The programs stay; to remove the client:"
    say "  npm uninstall -g $PACKAGE"
}

# --- the settings: `settings COMMAND …` runs the program below, which gets the token on its standard input

settings() {
    case $1 in
    plan | write) printf '%s' "$TOKEN" | run_program "$@" ;;
    *) run_program "$@" </dev/null ;;
    esac
}

run_program() { node -e "$PROGRAM" -- "$WORK/models.json" "$URL" "$MODEL" "$CONTEXT" "$OUTPUT" "$THINKS" "$@"; }

# the same, where it is an answer that there is nothing to do
changes() {
    local code=0
    settings "$@" || code=$?
    [ "$code" -ne 10 ] || return 1
    [ "$code" -eq 0 ] || exit "$code"
}

program() {
    cat <<'JAVASCRIPT'
'use strict'
const fs = require('fs'), os = require('os'), path = require('path')
const [list, url, model, context, output, thinks, command, ...words] = process.argv.slice(1)
class Refusal extends Error {}

// JSON as text: what is not edited keeps its bytes. A path is a list of one or two keys, a value JSON text.
const SPACE = /[ \t\r\n]*/y
const STRING = /"(?:[^"\\\x00-\x1f]|\\(?:["\\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y
const SCALAR = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null/y
const DEEPEST = 200
const bare = text => text.replace(/^\ufeff/, '').trim()

function parse(text) {
  let at = text.startsWith('\ufeff') ? 1 : 0, depth = 0
  const eat = form => { form.lastIndex = at; const m = form.exec(text); if (m) at = form.lastIndex; return m ? m[0] : null }
  const fail = wanted => {
    const before = text.slice(0, at)
    throw new Refusal(`line ${before.split('\n').length}, column ${at - before.lastIndexOf('\n')}: ${wanted} expected`)
  }
  const sequence = (close, take) => {
    at++; eat(SPACE)
    if (text[at] === close) { at++; return }
    for (;;) {
      take(); eat(SPACE)
      const mark = text[at]
      if (mark !== ',' && mark !== close) fail(`a comma or ${close}`)
      at++
      if (mark === close) return
      eat(SPACE)
    }
  }
  const member = () => {
    const start = at, key = eat(STRING)
    if (key === null) fail('a key in double quotes, "…"')
    eat(SPACE)
    if (text[at] !== ':') fail('a colon')
    at++; eat(SPACE)
    return {key: JSON.parse(key), start, value: value()}
  }
  const value = () => {
    const found = {start: at, members: null, items: []}
    if (depth === DEEPEST) fail('less nesting')
    depth++
    if (text[at] === '{') { found.members = []; sequence('}', () => found.members.push(member())) }
    else if (text[at] === '[') sequence(']', () => found.items.push(value()))
    else if (eat(STRING) === null && eat(SCALAR) === null) fail('a value')
    depth--
    found.end = at
    return found
  }
  eat(SPACE)
  if (text[at] !== '{') fail('an object, {…}')
  const root = value()
  eat(SPACE)
  if (at < text.length) fail('the end')
  return root
}

const last = items => items[items.length - 1]
const find = (object, key) => { const m = last(((object && object.members) || []).filter(m => m.key === key)); return m && m.value }
const get = (text, keys) => { const v = keys.reduce(find, parse(text)); return v ? text.slice(v.start, v.end) : null }
const splice = (text, start, end, middle) => text.slice(0, start) + middle + text.slice(end)

function put(text, keys, value) {
  const root = parse(text), nested = keys.length > 1, outer = find(root, keys[0])
  if (nested && !outer) return put(put(text, keys.slice(0, 1), '{}'), keys, value)
  const place = nested ? find(outer, keys[1]) : outer
  if (place) return splice(text, place.start, place.end, value)
  const target = nested ? outer : root, members = target.members
  if (!members) throw new Refusal(`\`${keys[0]}\` is not an object, {…}`)
  const member = `${JSON.stringify(last(keys))}: ${value}`
  if (members.length) {
    const end = last(members).value.end
    return splice(text, end, end, `,${text.slice(target.start + 1, members[0].start)}${member}`)
  }
  let before = '\n  ', after = '\n'
  if (nested) {
    const gap = /^(\r?\n)([ \t]*)$/.exec(text.slice(root.start + 1, root.members[0].start))
    before = gap ? gap[1] + gap[2] + gap[2] : ''
    after = gap ? gap[1] + gap[2] : ''
  }
  return splice(text, target.start, target.end, `{${before}${member}${after}}`)
}

function remove(text, keys) {
  while (get(text, keys) !== null) {
    const root = parse(text), target = keys.length > 1 ? find(root, keys[0]) : root
    const members = target.members, index = members.map(m => m.key).lastIndexOf(last(keys))
    if (members.length === 1) text = splice(text, target.start, target.end, '{}')
    else if (index) text = splice(text, members[index - 1].value.end, members[index].value.end, '')
    else text = splice(text, members[0].start, members[1].start, '')
  }
  return text
}

function canonical(text) {
  const body = `{"":${bare(text)}}`
  const plain = v => {
    if (v.members) {
      const said = new Map(v.members.map(m => [m.key, plain(m.value)]))
      return `{${[...said.keys()].sort().map(k => `${JSON.stringify(k)}:${said.get(k)}`).join(',')}}`
    }
    if (v.items.length) return `[${v.items.map(plain).join(',')}]`
    const raw = body.slice(v.start, v.end)
    return raw[0] === '"' ? JSON.stringify(JSON.parse(raw)) : raw[0] === '[' ? '[]' : raw
  }
  return plain(parse(body).members[0].value)
}

// which settings point the client at a gateway, in the order in which they are written; null removes one
const CLIENT_OUTPUT = 32000, OUTPUT_PART = 4, TOO_SMALL = 32768
const SECRETS = ['ANTHROPIC_AUTH_TOKEN', 'ANTHROPIC_API_KEY', 'apiKeyHelper']
const BASE_URL = ['env', 'ANTHROPIC_BASE_URL'], THINKING = ['alwaysThinkingEnabled'], ONBOARDING = ['hasCompletedOnboarding']
const longest = () => {
  const limits = [CLIENT_OUTPUT, +output, Math.floor(context / OUTPUT_PART)].filter(Boolean)
  return Math.min(...limits) < CLIENT_OUTPUT ? String(Math.min(...limits)) : null
}
const env = token => ({
  ANTHROPIC_BASE_URL: url,
  ANTHROPIC_AUTH_TOKEN: token,
  // every family of models, and sub-agents: without these they ask for Anthropic's models
  ANTHROPIC_DEFAULT_OPUS_MODEL: model,
  ANTHROPIC_DEFAULT_SONNET_MODEL: model,
  ANTHROPIC_DEFAULT_HAIKU_MODEL: model,
  ANTHROPIC_DEFAULT_FABLE_MODEL: model,
  CLAUDE_CODE_SUBAGENT_MODEL: model,
  // the window of a model that the client does not know; without the second, older clients never compact
  CLAUDE_CODE_MAX_CONTEXT_TOKENS: context || null,
  // the client takes a smaller one for this, and warns at each start; its own window still counts
  CLAUDE_CODE_AUTO_COMPACT_WINDOW: context ? String(Math.max(context, 100000)) : null,
  CLAUDE_CODE_MAX_OUTPUT_TOKENS: longest(),
  API_TIMEOUT_MS: '6000000',
  // a line in the prompt that changes with every request, and spoils the backend's prefix cache
  CLAUDE_CODE_ATTRIBUTION_HEADER: '0',
  CLAUDE_CODE_AUTO_MODE_SERVER: '0',
  // these would win over the token, the model or the URL
  ANTHROPIC_API_KEY: null,
  ANTHROPIC_MODEL: null,
  ANTHROPIC_SMALL_FAST_MODEL: null,
  CLAUDE_CODE_USE_BEDROCK: null,
  CLAUDE_CODE_USE_VERTEX: null,
  CLAUDE_CODE_USE_FOUNDRY: null,
})
const OWNED = [['model'], THINKING, ...Object.keys(env('')).map(name => ['env', name]), ['apiKeyHelper']]
const full = text => (bare(text) ? text : '{}\n')

function apply(text, wanted) {
  let edited = full(text)
  const changes = []
  for (const [keys, value] of wanted) {
    const present = get(edited, keys), name = keys.join('.')
    if (value === null) {
      if (present !== null) { edited = remove(edited, keys); changes.push(`- ${name}`) }
    } else if (present === null || canonical(present) !== canonical(value)) {
      edited = put(edited, keys, value)
      changes.push(`${present === null ? '+' : '~'} ${name} = ${SECRETS.includes(last(keys)) ? '(hidden)' : value}`)
    }
  }
  return [changes.length ? edited : text, changes]
}

function edit(text, token) {
  const said = value => (value === null ? null : JSON.stringify(value))
  const wanted = [[['model'], said(model)]]
  // a choice of the user's stays; a model that cannot think is not asked to
  if (get(full(text), THINKING) === null && thinks !== 'false') wanted.push([THINKING, 'true'])
  for (const [name, value] of Object.entries(env(token))) wanted.push([['env', name], said(value)])
  return apply(text, [...wanted, [['apiKeyHelper'], null]])
}

function restore(text, backup, owned) {
  const before = full(backup)
  let [edited, changes] = apply(text, owned.map(keys => [keys, get(before, keys)]))
  if (get(edited, ['env']) === '{}' && get(before, ['env']) === null) edited = remove(edited, ['env'])
  return [canonical(edited) === canonical(before) ? backup : edited, changes]
}

// the client's two files; a backup stands beside the link, the file is replaced where the link leads
const folder = process.env.CLAUDE_CONFIG_DIR || path.join(os.homedir(), '.claude')
const settingsPath = () => path.join(folder, 'settings.json')
const statePath = () => {
  const old = path.join(folder, '.config.json')
  return fs.existsSync(old) ? old : path.join(process.env.CLAUDE_CONFIG_DIR || os.homedir(), '.claude.json')
}

function textOf(file) {
  let bytes
  try { bytes = fs.readFileSync(file) } catch (error) {
    if (error.code === 'ENOENT') return null
    throw new Refusal(`${file}: cannot be read: ${error.code}`)
  }
  const text = bytes.toString('utf8')
  if (!Buffer.from(text).equals(bytes)) throw new Refusal(`${file}: not UTF-8: save it as UTF-8, then run this again`)
  try { if (bare(text)) parse(text) } catch (error) {
    throw new Refusal(`${file}: not valid JSON: ${error.message}: correct it, or move it away; nothing was changed`)
  }
  return text
}

function read(file) {
  const text = textOf(file), backupPath = `${file}.before-claude-gateway`
  return {path: file, text: text || '', backupPath, backup: textOf(backupPath), open: text !== null && (fs.statSync(file).mode & 0o077) !== 0}
}

function target(file, left = 40) {
  // a link may lead to what is not there yet
  let link
  try { link = fs.readlinkSync(file) } catch { return file }
  if (!left) throw new Refusal(`${file}: its links lead in a circle`)
  return target(path.resolve(path.dirname(file), link), left - 1)
}

function replace(file, text) {
  const temporary = `${file}.${process.pid}.tmp`
  try {
    fs.mkdirSync(path.dirname(file), {recursive: true, mode: 0o700})
    const handle = fs.openSync(temporary, 'wx', 0o600)
    try { fs.writeFileSync(handle, text); fs.fsyncSync(handle) } finally { fs.closeSync(handle) }
    fs.renameSync(temporary, file)
  } catch (error) {
    try { fs.unlinkSync(temporary) } catch {}
    throw new Refusal(`${file}: cannot be written: ${error.code}: nothing was changed in it`)
  }
}

function show(file, changes, pending) {
  if (changes.length) console.log(`${file.path}:\n${changes.map(change => `  ${change}`).join('\n')}`)
  else if (pending) console.log(`${file.path}: readable by others: made private`)
}

// the models, of a gateway (Anthropic's shape) or a backend (OpenAI's)
const number = value => (Number.isInteger(value) && value > 0 ? value : null)
const THINKS = ['reasoning', 'include_reasoning', 'thinking']

function offer(entry) {
  const told = [entry.supported_parameters, entry.supported_features].filter(Array.isArray)
  const price = entry.type === 'model' && entry.pricing
  return {
    id: entry.id,
    context: number(entry.max_input_tokens) || number(entry.max_model_len) || number((entry.meta || {}).n_ctx) || number(entry.context_length),
    output: number(entry.max_tokens) || number((entry.top_provider || {}).max_completion_tokens),
    thinks: typeof entry.thinking === 'boolean' ? entry.thinking : told.length ? told.some(w => w.some(t => THINKS.includes(t))) : null,
    dollars: price && price.input >= 0 && price.output >= 0 ? [price.input, price.output] : null,
  }
}

function offers() {
  let entries
  try { const body = JSON.parse(fs.readFileSync(list, 'utf8')); entries = body.data || body } catch {}
  if (!Array.isArray(entries)) throw new Refusal(`${url}/v1/models: no model list came back: is this the gateway's address?`)
  entries = entries.filter(e => e && typeof e.id === 'string' && /^[^\p{C}\p{Zl}\p{Zp}]+$/u.test(e.id))
  const ids = new Set(entries.map(e => e.id))
  // without the second names that a gateway has for the client's picker
  entries = entries.filter(e => !e.id.startsWith('claude-') || !ids.has(e.id.slice('claude-'.length)))
  if (!entries.length) throw new Refusal(`${url} serves no model: load one in the backend, then run this again`)
  return entries.map(offer)
}

const search = (all, text) => {
  const wanted = text.toLowerCase().split(/\s+/).filter(Boolean)
  return all.filter(o => wanted.every(word => o.id.toLowerCase().includes(word)))
}
const names = some => some.slice(0, 10).map(o => o.id).join(', ') + (some.length > 10 ? ` and ${some.length - 10} more` : '')
const thousands = n => String(n).replace(/\B(?=(\d{3})+$)/g, ',')

function describe(o) {
  const size = o.context ? thousands(o.context) + (o.context < TOO_SMALL ? '!' : ' ') : '? '
  const price = !o.dollars ? '' : Math.max(...o.dollars) === 0 ? 'free' : o.dollars.map(d => `$${d.toFixed(2)}`).join(' / ')
  return `${size.padStart(10)} ${(o.thinks ? 'thinks' : '').padEnd(6)}  ${price.padEnd(15)}  ${o.id}`
}

function printList(text) {
  const all = offers(), found = search(all, text), shown = found.slice(0, 40)
  for (const o of shown) console.log(`${String(all.indexOf(o) + 1).padStart(4)} ${describe(o)}`)
  if (!found.length) console.log(`No model has ${JSON.stringify(text)} in its name.`)
  if (found.length > shown.length) console.log(`     and ${found.length - shown.length} more`)
}

// how: exact (a name), only (the current one, or the only one there is), soft (a number, a name, or the only one found)
function pick(how, text) {
  const all = offers()
  const exact = all.find(o => o.id === text) || all.find(o => o.id.toLowerCase() === text.toLowerCase())
  let found = exact
  if (how === 'only' && !found) {
    if (all.length > 1) throw new Refusal(`which model? Give --model NAME; available: ${names(all)}`)
    found = all[0]
  }
  if (how === 'soft' && !found && text) {
    const hits = search(all, text)
    found = /^\d+$/.test(text) ? all[text - 1] : hits.length === 1 ? hits[0] : undefined
  }
  if (!found && how === 'soft') process.exit(4)
  if (!found) throw new Refusal(`no model '${text}'; available: ${names(search(all, last(text.split('/'))).length ? search(all, last(text.split('/'))) : all)}`)
  console.log([found.id, found.context || '', found.output || '', found.thinks === null ? '' : found.thinks].join('\x1f'))
}

function checkAnswer(status) {
  if (status === '200') { offers(); return }
  const body = fs.existsSync(list) ? fs.readFileSync(list, 'utf8') : ''
  let said = body || 'no text'
  try { const {error} = JSON.parse(body); said = String(error.message || error) } catch {}
  said = said.replace(/[\p{C}\s]+/gu, ' ').trim().slice(0, 300)
  if (status === '401' || status === '403') throw new Refusal(`${url} refuses the token (${status}): ${said}`)
  throw new Refusal(`${url}/v1/models answers ${status}: ${said}: is this the gateway's address?`)
}

function notes() {
  const local = /^https?:\/\/(localhost|127\.0\.0\.1|\[::1\])([:\/]|$)/.test(url), file = settingsPath()
  if (!context) console.log("Note: The backend does not state this model's context window: set CLAUDE_CODE_MAX_CONTEXT_TOKENS yourself.")
  else if (context < TOO_SMALL) console.log(`Note: A window of ${thousands(context)} tokens is small: Claude Code's own prompt takes about 20,000. Start the backend with a window of ${thousands(TOO_SMALL)} or more.`)
  if (url.startsWith('http:') && !local) console.log(`Note: ${url} is not encrypted: others on the network can read your token and prompts.`)
  if (target(file) !== file) console.log(`Note: ${file} is a link: your token is written to ${target(file)}.`)
}

function settle(mode) {
  const token = fs.readFileSync(0, 'utf8'), files = [read(settingsPath()), read(statePath())]
  let edits
  try { edits = [edit(files[0].text, token), apply(files[1].text, [[ONBOARDING, 'true']])] } catch (error) {
    throw new Refusal(`${files[0].path}: ${error.message}: correct it; nothing was changed`)
  }
  const pending = files.map((file, i) => edits[i][0] !== file.text || file.open)
  if (mode === 'plan') { files.forEach((file, i) => show(file, edits[i][1], pending[i])); notes() }
  files.forEach((file, i) => {
    if (mode !== 'write' || !pending[i]) return
    // a backup of settings that name a gateway now is of settings before it
    const stale = i === 0 && get(full(file.text), BASE_URL) === null
    if (edits[i][1].length && (file.backup === null || stale)) replace(file.backupPath, file.text)
    replace(target(file.path), edits[i][0])
  })
  if (!pending.includes(true)) process.exit(10)
}

function undo(mode) {
  const files = [[read(settingsPath()), OWNED], [read(statePath()), [ONBOARDING]]].filter(([file]) => file.backup !== null)
  if (!files.length) process.exit(10)
  const edits = files.map(([file, owned]) => restore(file.text, file.backup, owned))
  files.forEach(([file], i) => {
    if (mode === 'plan') return show(file, edits[i][1], false)
    if (edits[i][0]) replace(target(file.path), edits[i][0])
    else fs.rmSync(target(file.path), {force: true})
    fs.rmSync(file.backupPath, {force: true})
  })
}

function current(what) {
  const keys = {url: BASE_URL, model: ['model'], token: ['env', 'ANTHROPIC_AUTH_TOKEN']}[what]
  read(statePath())
  const raw = get(full(read(settingsPath()).text), keys), value = raw === null ? '' : JSON.parse(raw)
  if (typeof value === 'string') process.stdout.write(value)
}

try {
  ({list: printList, pick, models: checkAnswer, plan: () => settle('plan'), write: () => settle('write'), undo, current})[command](...words)
} catch (error) {
  if (!(error instanceof Refusal)) throw error
  process.stderr.write(`install_claude_code: ${error.message}\n`)
  process.exit(1)
}
JAVASCRIPT
}

PROGRAM=$(program)
main "$@"
