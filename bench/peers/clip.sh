#!/bin/sh
# One clip: sh clip.sh NUMBER PROMPT. With KEEP_ID set the provider's id is kept before the wait.
set -eu
number=$(printf '%02d' "${1#0}")
api=$API_BASE/v1/videos/text2video
clip=out/$number.mp4
id=ids/$number

api() { curl -sS --fail --retry 3 --max-time 60 -H "Authorization: Bearer $API_KEY" "$@"; }
value() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p"; }

[ ! -s "$clip" ] || exit 0
if [ -z "${KEEP_ID:-}" ] || [ ! -s "$id" ]; then
  body="{\"model_name\": \"kling-v1-6\", \"prompt\": \"$2\"}"
  api --json "$body" "$api" | value task_id >"$id.new"
  [ -s "$id.new" ]
  mv "$id.new" "$id"
fi
while :; do
  sleep "${SLEEP_S:-1}"
  reply=$(api "$api/$(cat "$id")")
  case $(echo "$reply" | value task_status) in
    failed) exit 1 ;;
    succeed) break ;;
  esac
done
curl -sS --fail --retry 3 -o "$clip.new" "$(echo "$reply" | value url)"
mv "$clip.new" "$clip"
