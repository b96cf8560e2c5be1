#!/usr/bin/env bash
# A worker for ganger in bash: worker.sh HOST PORT NAME
# It does `upper` and `words` with texts, one task at a time.
export LC_ALL=C # lengths are in bytes

work() { # serves one connection, on descriptor 3
  echo "HELLO 1 worker name=$1 kinds=upper,words" >&3
  while IFS=' ' read -r -u 3 -a words; do
    case ${words[*]} in
    TASK*) # TASK id attempt kind … #length, then the payload and a line feed
      length=${words[-1]#\#}
      [ "${words[3]}" = upper ] && run=(tr a-z A-Z) || run=(wc -w)
      result=$(head -c "$length" <&3 | "${run[@]}")
      read -r -u 3
      printf 'DONE %s %s #%d\n%s\n' "${words[1]}" "${words[2]}" "${#result}" "$result" >&3 ;;
    PING) echo PONG >&3 ;;
    'DRAIN reason=restart') ;; # the connection ends now; another one follows
    DRAIN*) echo BYE >&3; exit ;;
    'ERR denied'* | 'ERR bad-hello'* | 'ERR version'*) echo "${words[*]}" >&2; exit 1 ;;
    esac
  done
}

while :; do work "$3" 3<>"/dev/tcp/$1/$2"; sleep 1; done
