#!/bin/bash
# Says in plain lines what is built, what runs, and what is missing. Exit code 0 when all of it runs.
set -uo pipefail
. "$(dirname "$0")/env.sh"
good=yes
line() { printf '%-20s %s\n' "$1" "$2"; }
bad() { good=; line "$1" "$2"; }

missing=
for program in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl local-path-provisioner coredns kwok; do
  [ -x "$B/$program" ] || missing+=" $program"
done
for program in etcd containerd runc ctr ip nsenter iptables conntrack openssl; do
  command -v "$program" > /dev/null || missing+=" $program"
done
if [ -z "$missing" ]; then line programs "Kubernetes $K8S, in $B"; else bad programs "missing:$missing; cargo xtask cluster up builds or installs them"; fi
for part in $PARTS; do
  if runs "$part"; then line "$part" "runs, process $(cut -d' ' -f1 "$R/pids/$part")"; else bad "$part" "does not run"; fi
done
if runs apiserver; then
  if k wait --for=condition=Ready node/node0 --timeout=2s > /dev/null 2>&1; then
    if [ "$(k get node node0 -o 'jsonpath={.spec.unschedulable}')" = true ]; then bad node "closed to pods (cordoned); cargo xtask cluster up opens it"; else line node ready; fi
  else bad node "not ready; see $R/log/kubelet.log"; fi
  if dns_answers; then line names "are found"; else bad names "are not found; see $R/log/coredns.log"; fi
  class=$(k get storageclass -o jsonpath='{range .items[?(@.metadata.annotations.storageclass\.kubernetes\.io/is-default-class=="true")]}{.metadata.name}{end}' 2> /dev/null)
  if [ -n "$class" ]; then line storage "$class by default"; else bad storage "no default StorageClass"; fi
  line images "$(c images ls -q 2> /dev/null | grep '^fsa.local/' | tr '\n' ' ')"
  line kubeconfig "$P/admin.kubeconfig, in the network namespace $NS"
fi
[ -n "$good" ]
