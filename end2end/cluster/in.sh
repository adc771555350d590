#!/bin/bash
# in.sh COMMAND…: runs it in the cluster's network, with kubectl on the PATH and KUBECONFIG set.
set -euo pipefail
. "$(dirname "$0")/env.sh"
runs apiserver || die "it does not run; start it by: cargo xtask cluster up"
export KUBECONFIG="$P/admin.kubeconfig" FSA_TEST_KUBECONFIG="$P/admin.kubeconfig" PATH="$B:$PATH"
exec nsenter --net=/var/run/netns/"$NS" "$@"
