#!/bin/bash
# Stops the cluster, and cleans up after one that crashed: processes, containers, mounts, namespaces, cgroups.
# What is in it stays for the next `up`; with --purge it is forgotten. What was built stays in any case.
set -uo pipefail
. "$(dirname "$0")/env.sh"
[ -d "$R" ] || exit 0
if [ -z "${FSA_LOCKED:-}" ]; then
  exec 9> "$D/lock"
  flock 9
fi
was=
for part in $PARTS; do runs "$part" && was=yes; done
[ -z "$was" ] || say "Stopping the cluster"

gone() { local part; for part in "$@"; do ! runs "$part" || return 1; done; }
# end SECONDS PART…: asks, and after a while makes it so.
end() {
  local seconds=$1 part; shift
  for part in "$@"; do runs "$part" && kill "$(cut -d' ' -f1 "$R/pids/$part")"; done
  until_true "$seconds" gone "$@"
  for part in "$@"; do runs "$part" && kill -KILL "$(cut -d' ' -f1 "$R/pids/$part")"; done
  until_true 5 gone "$@"
  for part in "$@"; do rm -f "$R/pids/$part"; done
}
# Containers outlive containerd. All of them are below our cgroup, and nothing else is.
containers() { cat /sys/fs/cgroup/"$NS"/{,**/}cgroup.procs /sys/fs/cgroup/*/"$NS"/{,**/}cgroup.procs 2> /dev/null | sort -u; }
no_container() {
  local pids; pids=$(containers)
  [ -z "$pids" ] && return 0
  # shellcheck disable=SC2086
  kill -KILL $pids
  return 1
}
# Its shims are named by what they were started with.
shims() {
  local line
  for line in /proc/[0-9]*/cmdline; do
    [[ $(tr '\0' ' ' < "$line" 2> /dev/null) == *"containerd-shim"*" -address $R/containerd.sock "* ]] && basename "$(dirname "$line")"
  done
}
no_shim() {
  local pids; pids=$(shims)
  [ -z "$pids" ] && return 0
  # shellcheck disable=SC2086
  kill -KILL $pids
  return 1
}
# Ours in the namespace that nobody noted: an `up` that was killed in between, or kwok.
strays() {
  local pid
  for pid in $(ip netns pids "$NS" 2> /dev/null); do
    case "$(tr '\0' ' ' < "/proc/$pid/cmdline")" in
      "etcd --data-dir $R/"* | "containerd --config $R/"* | "$B/kube-"* | "$B/kubelet "* | "$B/coredns "* | "$B/local-path-provisioner "* | "$B/kwok "* | "kwok "*)
        grep -q "^$pid " "$R"/pids/* 2> /dev/null || echo "$pid" ;;
    esac
  done
}
no_stray() {
  local pids; pids=$(strays)
  [ -z "$pids" ] && return 0
  # shellcheck disable=SC2086
  kill -KILL $pids
  return 1
}
shopt -s globstar nullglob

# First what would start again what ends.
until_true 5 no_stray || say "processes of the cluster do not end"
end 3 provisioner kubelet controller-manager scheduler
until_true 10 no_container || say "containers of the cluster do not end"
end 2 proxy coredns
end 5 apiserver
end 5 etcd containerd
until_true 5 no_shim || say "shims of containerd do not end"
# Twice and more: a mount may lie on another.
for _ in 1 2 3; do
  awk -v under="$R/" 'index($2, under) == 1 {print $2}' /proc/mounts | sort -r | while read -r mount; do umount -l "$mount" 2> /dev/null; done
done
ip netns del "$NS" 2> /dev/null
for group in /sys/fs/cgroup/"$NS" /sys/fs/cgroup/*/"$NS"; do find "$group" -depth -type d -exec rmdir {} \; 2> /dev/null; done
# Where shims listened, which are in a folder of the machine's.
for address in "$R"/containerd/state/io.containerd.runtime.v2.task/*/*/address; do
  socket=$(< "$address")
  rm -f "${socket#unix://}"
done
# What lies in memory on other machines, and is gone when they start.
rm -rf "$R/containerd/state" "$R/runc" "$R/ipam" "$R"/containerd.sock*
if [ "${1:-}" = --purge ]; then
  if grep -q " $R/" /proc/mounts; then die "something below $R is still mounted; nothing was removed"; fi
  rm -rf "$R"
  find /var/log/containers -lname "$R/*" -delete 2> /dev/null
fi
exit 0
