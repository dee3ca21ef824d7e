#!/usr/bin/env bash
# Contract client: curl through fixed scenarios in a fixed order.
#
#   OPENAI_BASE_URL=http://127.0.0.1:PORT/v1 OPENAI_API_KEY=sk-test ./curl_client.sh
#
# For each scenario prints a line with the status, curl's exit code and what arrived (bytes, sha256), then some headers,
# then the body if it is text and not long. No times: the output of a run against the simulated upstream, of one through a recording
# proxy and of one through a replay can be compared for equality.
set -uo pipefail
: "${OPENAI_BASE_URL:?}" "${OPENAI_API_KEY:?}"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# call NAME PATH [curl option...]
call() {
  local name=$1 path=$2 status code
  shift 2
  rm -f "$scratch/head" "$scratch/body"
  status=$(curl --silent --no-buffer --max-time 30 --noproxy '*' --header "Authorization: Bearer $OPENAI_API_KEY" \
    --dump-header "$scratch/head" --output "$scratch/body" --write-out '%{http_code}' "$@" "$OPENAI_BASE_URL$path")
  code=$?
  touch "$scratch/body" # curl makes no file for an empty body
  case " $* " in *" --head "*) : >"$scratch/body" ;; esac # and writes the head into it for HEAD
  echo "== $name status=$status exit=$code bytes=$(wc -c <"$scratch/body" | tr -d ' ')" \
    "sha256=$(openssl dgst -sha256 -r "$scratch/body" | cut -d ' ' -f 1)"
  # The order of different headers may change on the way; the order of the values of one may not.
  tr -d '\r' <"$scratch/head" | grep -iE '^(content-type|openai-version|openai-processing-ms|x-request-id|retry-after):' |
    awk -F : '{ print tolower($1) substr($0, length($1) + 1) }' | LC_ALL=C sort -s -t : -k 1,1
  if grep -qiE '^content-type: (application/json|text/)' "$scratch/head" &&
    [ "$(wc -c <"$scratch/body")" -lt 20000 ]; then
    cat "$scratch/body"
    echo
  fi
}

# post NAME PATH JSON [curl option...]
post() {
  local name=$1 path=$2 json=$3
  shift 3
  call "$name" "$path" --header 'Content-Type: application/json' --data-binary "$json" "$@"
}

asked='"messages": [{"role": "user", "content": "Greet the world. Où est-ce? 🌍"}]'

post chat /chat/completions "{\"model\": \"gpt-4o-mini\", $asked}"
post chat_stream /chat/completions "{\"model\": \"gpt-4o-mini\", \"stream\": true, $asked}"
post responses_stream /responses '{"model": "gpt-5", "input": "Say hello.", "stream": true}'
post embeddings /embeddings '{"model": "text-embedding-3-small", "input": ["first"], "dimensions": 4}'
call models_gzip /models --header 'Accept-Encoding: gzip' --compressed
post speech /audio/speech '{"model": "tts-1", "voice": "alloy", "input": "Hello there"}'
post speech_sse_crlf /audio/speech '{"model": "tts-1", "voice": "alloy", "input": "Hi", "stream_format": "sse"}'

# Over a kilobyte, so that curl asks with `Expect: 100-continue` when it is told to.
printf 'line with a carriage return\r\nand binary \xff\xfe\n%.0s' {1..100} >"$scratch/upload.bin"
call upload_multipart /files --form purpose=user_data --form "file=@$scratch/upload.bin;type=application/octet-stream"
call upload_expect /files --header 'Expect: 100-continue' --form purpose=user_data \
  --form "file=@$scratch/upload.bin;filename=again.bin;type=application/octet-stream"
post chat_chunked_request /chat/completions "{\"model\": \"gpt-4o-mini\", $asked}" --header 'Transfer-Encoding: chunked'
call transcription_stream /audio/transcriptions --form model=gpt-4o-mini-transcribe --form stream=true \
  --form "file=@$scratch/upload.bin;filename=sound.mp3;type=audio/mpeg"
call head_models /models --head

post error_401 /chat/completions "{\"model\": \"error-401\", $asked}"
post error_429 /chat/completions "{\"model\": \"error-429\", $asked}"
post error_429_again /chat/completions "{\"model\": \"error-429\", $asked}"
post error_empty /chat/completions "{\"model\": \"error-empty\", $asked}"
call not_found '/no/such/path?why=not'
post stream_error /chat/completions "{\"model\": \"stream-error\", \"stream\": true, $asked}"
post stream_cut /chat/completions "{\"model\": \"stream-cut\", \"stream\": true, $asked}"
post stream_reset /chat/completions "{\"model\": \"stream-reset\", \"stream\": true, $asked}"
post utf8 /chat/completions "{\"model\": \"utf8\", \"stream\": true, $asked}"
post same_1 /chat/completions "{\"model\": \"gpt-4o\", $asked}"
post same_2 /chat/completions "{\"model\": \"gpt-4o\", $asked}"
