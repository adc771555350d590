#!/bin/bash
# import.sh TAR…: gives images to the cluster's containerd, unless it has these very ones. Beside each TAR lies
# TAR.stamp, which says what is in it.
set -euo pipefail
. "$(dirname "$0")/env.sh"
for tar in "$@"; do
  name=$(basename "$tar" .tar)
  [ "$(cat "$R/imported/$name" 2> /dev/null)" != "$(cat "$tar.stamp")" ] || continue
  [ "$name" = pause ] || [ "$name" = base ] || say "Giving $name to the cluster"
  c images import "$tar" > /dev/null
  cp "$tar.stamp" "$R/imported/$name"
done
