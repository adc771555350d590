#!/bin/bash
# Builds Kubernetes, CoreDNS, local-path-provisioner, kwok, Helm and cyclonus from Go modules, and the image of the pause
# container's program. Some ten minutes on two cores from nothing; then nothing, until a version here changes.
#
# go.mod and go.sum of each lie in go/: what is built is what was tried. To change a version, edit go.mod
# there and run `go mod tidy`.
set -euo pipefail
. "$(dirname "$0")/env.sh"
mkdir -p "$B" "$D/stamps"
export CGO_ENABLED=0
unset GOFLAGS

# part NAME PROGRAM…: whether NAME is yet to be built from its folder, in go/ or beside it.
stamp() { (cd "$HERE" && find "$1" -type f -print0 | sort -z | xargs -0 sha256sum; echo "$K8S") | sha256sum | cut -d' ' -f1; }
stale() {
  local name=$1 program; shift
  for program in "$@"; do [ -e "$program" ] || return 0; done
  [ "$(cat "$D/stamps/$name" 2>/dev/null)" != "$(stamp "$name")" ]
}
done_with() { stamp "$1" > "$D/stamps/$1"; }
# In a copy, since `go` writes into the folder that it builds in.
inside() { rm -rf "$D/src/$1"; mkdir -p "$D/src"; cp -r "$HERE/$1" "$D/src/$1"; cd "$D/src/$1"; }

commands="kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl"
# shellcheck disable=SC2046,SC2086
if stale go/kubernetes $(printf "$B/%s " $commands); then
  say "Building Kubernetes $K8S (five minutes and more, once)"
  mkdir -p "$D/src/go" "$D/stamps/go"
  inside go/kubernetes
  version=k8s.io/component-base/version
  go build -o "$B/" -ldflags="-s -w -X $version.gitVersion=v$K8S -X $version.gitMajor=1 -X $version.gitMinor=34" $(printf 'k8s.io/kubernetes/cmd/%s ' $commands)
  done_with go/kubernetes
fi

tool() { # NAME PACKAGE
  stale "go/$1" "$B/$1" || return 0
  say "Building $1 (a minute, once)"
  mkdir -p "$D/src/go" "$D/stamps/go"
  inside "go/$1"
  go build -ldflags='-s -w' -o "$B/$1" "$2"
  done_with "go/$1"
}
tool local-path-provisioner github.com/rancher/local-path-provisioner
tool coredns .
tool kwok sigs.k8s.io/kwok/cmd/kwok
tool cyclonus github.com/mattfenwick/cyclonus/cmd/cyclonus
if [ -d "$HERE/go/helm" ]; then tool helm helm.sh/helm/v4/cmd/helm; fi
