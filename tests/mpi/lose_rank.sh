#!/usr/bin/env bash
# lose_rank.sh MPIRUN PROGRAM ARGUMENTS...: four ranks, of which rank 2 is lost. The run must fail within seconds, in words
# that name rank 2 and what was waited for.
set -uo pipefail
mpirun=$1; shift
begin=$(date +%s)
words=$(timeout -k 5 40 "$mpirun" -n 4 "$@" 2>&1 </dev/null)
status=$?
seconds=$(( $(date +%s) - begin ))
printf '%s\n-- status %s after %s s\n' "$words" "$status" "$seconds"
[[ $status != 0 && $status != 124 ]] || { echo "it did not fail by itself"; exit 1; }
(( seconds <= 15 )) || { echo "it took too long"; exit 1; }
grep -qE 'rank 2( |:)' <<<"$words" || { echo "nobody named rank 2"; exit 1; }
if [[ " $* " == *" throw "* ]]; then
  grep -q 'rank 2 failed: out of memory' <<<"$words" || { echo "nobody said why"; exit 1; }
elif [[ " $* " == *" exit "* || " $* " == *" kill "* ]]; then
  grep -qE 'waited for rank [12]: the word' <<<"$words" || { echo "nobody said what was waited for"; exit 1; }
elif [[ $# == 2 ]]; then
  grep -q 'rank 2 did not answer within 2 s.*rank 1 waits for rank 2: the word' <<<"$words" ||
    { echo "nobody said what was waited for"; exit 1; }
fi
