#!/usr/bin/env bash
# Submits a task to ganger through Redis, waits for its result and prints it: inbox.sh KIND [PAYLOAD]
# It needs nothing but redis-cli, which takes the address from its options in REDIS_CLI, as in
# REDIS_CLI='-h 10.0.0.7 -p 6380'. Exit code: 0 done, 1 the task has failed, 2 refused.
redis() { redis-cli ${REDIS_CLI-} --raw "$@"; }

reply=$(hostname)-$$-$RANDOM # a list of our own, where we are told
printf 'SUBMIT %s reply=%s\n%s' "$1" "$reply" "${2-}" | redis -x LPUSH '{ganger:0}:inbox' >/dev/null

while :; do
  told=$(redis BRPOP "{ganger:0}:reply:$reply" 0) # the list's name, then the frame: header, payload
  told=${told#*$'\n'}
  header=${told%%$'\n'*} payload=${told#"$header"} # an LF before it, if there is one
  case $header in
  OK*) echo "submitted: ${header#OK }" >&2 ;;
  RESULT*' done '*) printf '%s\n' "${payload#$'\n'}"; exit ;;
  RESULT*) echo "$header" >&2; exit 1 ;;
  ERR*) echo "$header" >&2; exit 2 ;;
  esac
done
