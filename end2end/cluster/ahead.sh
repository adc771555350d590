#!/bin/bash
# What build.sh does, beside other work, with what that leaves of the processors. Ends with whoever began it, who holds
# its standard input open. Started by `setsid`: the kernel shares the processors among sessions first, and by niceness
# within each.
set -euo pipefail
exec 3<&0 < /dev/null
echo 19 2> /dev/null > /proc/self/autogroup || true
nice -n 19 bash "$(dirname "$0")/build.sh" 3<&- &
build=$!
{ read -r <&3 || kill -KILL -- -$$; } &
reader=$!
wait "$build" || true
kill "$reader"
