#!/bin/sh
# Asks the session's model, and writes its answer. The prompt is the last argument.
set -eu
for prompt; do :; done
request=$(python3 -c 'import json, sys
print(json.dumps({"model": sys.argv[1], "messages": [{"role": "user", "content": sys.argv[2]}]}))' "$MODEL" "$prompt")
curl --silent --show-error --fail http://127.0.0.1:11434/v1/chat/completions \
    --header "Authorization: Bearer $TREEFORT_TOKEN" --header 'Content-Type: application/json' --data "$request" |
    python3 -c 'import json, sys
print(json.load(sys.stdin)["choices"][0]["message"]["content"])'
