# Where the cluster lies and what it is called; the other scripts source this.
#
# FSA_CLUSTER_DIR   its folder: bin/ and stamps/ are built once, run/ is the state of the one that runs
# FSA_CLUSTER_NETNS its network namespace, and its cgroup

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
D=${FSA_CLUSTER_DIR:-$HOME/.cache/fullstack-agent/cluster}
NS=${FSA_CLUSTER_NETNS:-fsa-test}
# Where `cargo xtask image` puts images.
I=${FSA_IMAGES_DIR:-$D/../images}
R=$D/run B=$D/bin P=$D/run/pki
# A documentation address: it means nothing outside the namespace.
IP=198.51.100.10
K8S=1.34.4
# Everything that `up` starts, in the order of starting.
PARTS="etcd containerd apiserver controller-manager scheduler kubelet proxy coredns provisioner"

say() { printf '▸ %s\n' "$*" >&2; }
die() { printf 'cluster: %s\n' "$*" >&2; exit 1; }
n() { nsenter --net=/var/run/netns/"$NS" "$@"; }
k() { n "$B/kubectl" --kubeconfig "$P/admin.kubeconfig" "$@"; }
# containerd's own client. Half of what it says is progress.
c() { ctr --address "$R/containerd.sock" --namespace k8s.io "$@"; }

# When a process was started, in ticks since the machine's boot: with its number, a name that no other
# process ever has.
born() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

# Whether a part runs: the very process that we started, not one that has its number now.
runs() {
  local pid start
  read -r pid start 2>/dev/null < "$R/pids/$1" || return 1
  [ -n "$start" ] && [ "$(born "$pid")" = "$start" ]
}

# Starts a part in the namespace, in a session of its own: Ctrl-C at a terminal is not for it.
start() {
  local name=$1 pid; shift
  setsid nsenter --net=/var/run/netns/"$NS" "$@" > "$R/log/$name.log" 2>&1 < /dev/null &
  pid=$!
  echo "$pid $(born "$pid")" > "$R/pids/$name"
}

# until_true SECONDS COMMAND…: tries again five times a second.
until_true() {
  local until=$((${EPOCHREALTIME/./} + $1 * 1000000)); shift
  until "$@" > /dev/null 2>&1; do
    [ "${EPOCHREALTIME/./}" -lt "$until" ] || return 1
    sleep 0.2
  done
}

# Whether names of the cluster are found. A query over TCP by hand, since the machine may have no program for it:
# kubernetes.default.svc.cluster.local, and the last four bits of the flags in the answer are 0 for "found".
dns_answers() {
  # shellcheck disable=SC2016
  n timeout 2 bash -c 'exec 3<>/dev/tcp/'"$IP"'/53 &&
    printf "\x00\x36\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x0akubernetes\x07default\x03svc\x07cluster\x05local\x00\x00\x01\x00\x01" >&3 &&
    answer=$(head -c 6 <&3 | od -An -tx1 | tr -d " \n") && [ "${#answer}" = 12 ] && [ "${answer: -1}" = 0 ]' 2> /dev/null
}
