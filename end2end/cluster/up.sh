#!/bin/bash
# Starts the cluster in a network namespace of its own, and returns when its node is ready and open to pods, names are
# found, and there is a default StorageClass. Starts nothing where all of it runs already; what a crash left is
# cleaned up first.
#
# Nothing of it reaches the machine's network, or is reached from there.
set -euo pipefail
. "$(dirname "$0")/env.sh"
mkdir -p "$D"
exec 9> "$D/lock"
flock 9

all_run() { local part; for part in $PARTS; do runs "$part" || return 1; done; }
ready() { k wait --for=condition=Ready node/node0 --timeout=1s; }
# A benchmark with nodes that pretend runs (end2end/bench/kwok.ts).
pretends() {
  local pid
  for pid in $(ip netns pids "$NS" 2> /dev/null); do
    case "$(tr '\0' ' ' < "/proc/$pid/cmdline")" in kwok\ * | "$B/kwok "*) return 0 ;; esac
  done
  return 1
}
# What is in the cluster outlives the one who put it there: a benchmark that was killed half way left its nodes, the
# sandboxes on them, and the only real node closed, so that no pod of anybody's would start again.
open_to_pods() {
  local bench=fullstackagent.io/bench=fsa-kwok claimed
  if pretends; then return 0; fi
  if [ -n "$(k get nodes,storageclasses,persistentvolumes -l "$bench" -o name)" ]; then
    say "Removing what a benchmark left that was ended half way"
    claimed=$(k get persistentvolumeclaims -A -o jsonpath='{range .items[?(@.spec.storageClassName=="fsa-kwok")]}{.metadata.namespace}{"\n"}{end}' | sort -u)
    # A namespace that ends takes no more pods: first it, then the nodes, then the place where they would be made anew.
    # shellcheck disable=SC2086
    [ -z "$claimed" ] || k delete namespace $claimed --wait=false > /dev/null
    k delete nodes,storageclasses,persistentvolumes -l "$bench" --wait=false > /dev/null
    # Nobody answers for pods on a node that is gone.
    for namespace in $claimed; do
      k -n "$namespace" delete pods --all --wait=false --grace-period=0 --force > /dev/null 2>&1 || true
      k wait --for=delete "namespace/$namespace" --timeout=300s > /dev/null || die "the namespace $namespace does not end; cargo xtask cluster down --purge forgets all that is in the cluster"
    done
  fi
  if [ "$(k get node node0 -o 'jsonpath={.spec.unschedulable}')" = true ]; then
    say "Opening the node to pods (it was cordoned)"
    k uncordon node0 > /dev/null
  fi
}

if all_run && ready > /dev/null 2>&1; then
  open_to_pods
  say "The cluster runs already"
  exit 0
fi
FSA_LOCKED=1 "$HERE/down.sh"
# Certificates are for a year. A new authority means a new cluster: what the old one signed is void.
if [ -f "$P/ca.crt" ] && ! openssl x509 -in "$P/ca.crt" -noout -checkend $((30 * 86400)) > /dev/null; then
  FSA_LOCKED=1 "$HERE/down.sh" --purge
fi
say "Starting the cluster"
mkdir -p "$P" "$R"/{pids,log,cni,etcd,kubelet,containerd,provisioner,volumes,pod-logs,imported}

ip netns add "$NS"
n ip link set lo up
# Pods' devices come and go, each with an address of IPv6 that nobody uses. A browser in this network takes each
# for another network, and ends all that it is asking (net::ERR_NETWORK_CHANGED).
n sysctl -qw net.ipv6.conf.default.disable_ipv6=1 2> /dev/null || true
# A bridge, since not every kernel has dummy devices. The route leads nowhere: Services need one to be looked up.
n ip link add node0 type bridge
n ip addr add $IP/24 dev node0
n ip link set node0 up
n ip route add default via 198.51.100.1 dev node0
n sysctl -qw net.ipv4.ip_forward=1
n sysctl -qw net.bridge.bridge-nf-call-iptables=1 2> /dev/null || true

# Pods go below a cgroup of this cluster's own: two kubelets with one would end each other's pods.
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
  for controller in cpu cpuset memory pids; do
    echo +$controller > /sys/fs/cgroup/cgroup.subtree_control 2> /dev/null || true
  done
  mkdir -p "/sys/fs/cgroup/$NS"
else
  for hierarchy in /sys/fs/cgroup/*/; do
    mkdir -p "$hierarchy$NS" 2> /dev/null || true
  done
  for file in cpuset.cpus cpuset.mems; do
    cat "/sys/fs/cgroup/cpuset/$file" > "/sys/fs/cgroup/cpuset/$NS/$file"
  done
fi

if [ ! -f "$P/ca.crt" ]; then
  cd "$P"
  quiet() { "$@" 2> openssl.log || { cat openssl.log >&2; return 1; }; }
  quiet openssl genrsa -out sa.key 2048
  quiet openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out new-ca.crt -subj "/CN=$NS" -days 365
  # certificate NAME SUBJECT [ADDRESSES]. Without an extension it would be of X.509's version 1, which rustls refuses.
  certificate() {
    quiet openssl req -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.csr" -subj "$2"
    quiet openssl x509 -req -in "$1.csr" -CA new-ca.crt -CAkey ca.key -CAcreateserial -days 365 -out "$1.crt" \
      -extfile <(echo "basicConstraints=CA:FALSE"; echo "extendedKeyUsage=clientAuth,serverAuth"; echo "${3:+subjectAltName=$3}")
  }
  certificate apiserver /CN=kube-apiserver "IP:$IP,IP:10.43.0.1,IP:127.0.0.1,DNS:kubernetes.default.svc"
  certificate apiserver-to-kubelet /O=system:masters/CN=apiserver-to-kubelet
  certificate admin /O=system:masters/CN=admin
  certificate controller-manager /CN=system:kube-controller-manager
  certificate scheduler /CN=system:kube-scheduler
  certificate proxy /CN=system:kube-proxy
  certificate kubelet /O=system:nodes/CN=system:node:node0 "IP:$IP,DNS:node0"
  for user in admin controller-manager scheduler proxy kubelet; do
    cat > "$user.kubeconfig" <<K
apiVersion: v1
kind: Config
clusters: [{name: $NS, cluster: {server: "https://$IP:6443", certificate-authority-data: $(base64 -w0 new-ca.crt)}}]
users: [{name: $user, user: {client-certificate-data: $(base64 -w0 $user.crt), client-key-data: $(base64 -w0 $user.key)}}]
contexts: [{name: $NS, context: {cluster: $NS, user: $user, namespace: default}}]
current-context: $NS
K
  done
  mv new-ca.crt ca.crt # last: with it, all of this is there
  cd "$D"
fi

cat > "$R/containerd.toml" <<T
version = 2
root = "$R/containerd/root"
state = "$R/containerd/state"
[grpc]
address = "$R/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "$R/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "fsa.local/pause:dev"
# Below our folder, and not among the machine's: found again after a crash.
netns_mounts_under_state_dir = true
# Root of a container or a small machine may not raise a process' priority for being spared.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "$R/runc"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "$R/cni"
T
cat > "$R/cni/10-pods.conflist" <<T
{"cniVersion": "1.0.0", "name": "$NS", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true, "ipam":
    {"type": "host-local", "dataDir": "$R/ipam", "ranges": [[{"subnet": "10.42.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
T
cat > "$R/kubelet.yaml" <<T
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failSwapOn: false
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /$NS
podLogsDir: $R/pod-logs
enforceNodeAllocatable: []
oomScoreAdj: 0
containerRuntimeEndpoint: unix://$R/containerd.sock
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $P/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $P/kubelet.crt
tlsPrivateKeyFile: $P/kubelet.key
clusterDNS: [$IP]
clusterDomain: cluster.local
# There is nowhere to pull them from again.
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
# /dev/kmsg and sysctls that it may not write are then not fatal.
featureGates: {KubeletInUserNamespace: true}
T
cat > "$R/proxy.yaml" <<T
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clusterCIDR: 10.42.0.0/16
hostnameOverride: node0
clientConnection: {kubeconfig: $P/proxy.kubeconfig}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
T
cat > "$R/Corefile" <<T
.:53 {
  errors
  cache 5
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $P/admin.kubeconfig
  }
}
T

# What is started below must not hold the lock.
begin() { start "$@" 9>&-; }
begin etcd etcd --data-dir "$R/etcd" --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
  --listen-peer-urls http://127.0.0.1:2380 --unsafe-no-fsync
begin containerd containerd --config "$R/containerd.toml"
begin apiserver "$B/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 --secure-port=6443 --advertise-address=$IP --bind-address=0.0.0.0 \
  --tls-cert-file="$P/apiserver.crt" --tls-private-key-file="$P/apiserver.key" --client-ca-file="$P/ca.crt" \
  --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$P/sa.key" --service-account-signing-key-file="$P/sa.key" \
  --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --service-cluster-ip-range=10.43.0.0/16 \
  --kubelet-client-certificate="$P/apiserver-to-kubelet.crt" --kubelet-client-key="$P/apiserver-to-kubelet.key" \
  --kubelet-preferred-address-types=InternalIP

until_true 20 c version || die "containerd does not answer; see $R/log/containerd.log"
"$HERE/import.sh" "$I"/{pause,base}.tar
until_true 60 k get --raw /readyz || die "the apiserver is not ready; see $R/log/apiserver.log and etcd.log"

# Their usual 20 requests a second are what every test with many pods would measure.
begin controller-manager "$B/kube-controller-manager" --kubeconfig="$P/controller-manager.kubeconfig" \
  --service-account-private-key-file="$P/sa.key" --root-ca-file="$P/ca.crt" --use-service-account-credentials=true \
  --leader-elect=false --cluster-cidr=10.42.0.0/16 --kube-api-qps=300 --kube-api-burst=500
begin scheduler "$B/kube-scheduler" --kubeconfig="$P/scheduler.kubeconfig" --leader-elect=false --kube-api-qps=300 --kube-api-burst=500
begin kubelet "$B/kubelet" --config="$R/kubelet.yaml" --kubeconfig="$P/kubelet.kubeconfig" --root-dir="$R/kubelet" \
  --hostname-override=node0 --node-ip=$IP
begin proxy "$B/kube-proxy" --config="$R/proxy.yaml"
begin coredns "$B/coredns" -conf "$R/Corefile"

# A default StorageClass with a real provisioner.
printf '{"nodePathMap":[{"node":"DEFAULT_PATH_FOR_NON_LISTED_NODES","paths":["%s"]}]}' "$R/volumes" > "$R/provisioner/config.json"
printf '#!/bin/sh\nset -eu\nmkdir -m 0777 -p "$VOL_DIR"\n' > "$R/provisioner/setup"
printf '#!/bin/sh\nset -eu\nrm -rf "$VOL_DIR"\n' > "$R/provisioner/teardown"
cat > "$R/provisioner/helperPod.yaml" <<'T'
apiVersion: v1
kind: Pod
metadata: {name: helper-pod}
spec:
  containers:
  - {name: helper-pod, image: "fsa.local/base:dev", imagePullPolicy: IfNotPresent}
T
k apply -f - > /dev/null <<'T'
apiVersion: v1
kind: Namespace
metadata: {name: local-path-storage}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: local-path-provisioner-service-account, namespace: local-path-storage}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: local-path, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}
provisioner: rancher.io/local-path
volumeBindingMode: WaitForFirstConsumer
T
k -n local-path-storage create configmap local-path-config --from-file="$R/provisioner" --dry-run=client -o yaml | k apply -f - > /dev/null
POD_NAMESPACE=local-path-storage begin provisioner "$B/local-path-provisioner" start --config "$R/provisioner/config.json" \
  --kubeconfig "$P/admin.kubeconfig" --helper-image fsa.local/base:dev --helper-pod-file "$R/provisioner/helperPod.yaml" \
  --namespace local-path-storage --configmap-name local-path-config

until_true 60 k get node node0 || die "the kubelet has not said that it is there; see $R/log/kubelet.log"
k wait --for=condition=Ready node/node0 --timeout=60s > /dev/null || die "the node is not ready; see $R/log/kubelet.log"
open_to_pods
until_true 30 dns_answers || die "names are not found; see $R/log/coredns.log"
until_true 30 k -n default get serviceaccount default || die "there is no account for pods; see $R/log/controller-manager.log"
for part in $PARTS; do
  runs "$part" || die "$part has ended; see $R/log/$part.log"
done
say "The cluster runs: $P/admin.kubeconfig, in the network namespace $NS"
