#!/bin/bash
# Records how failures look on a real cluster, for tests/causes.rs: makes each of them in namespaces of its own
# (fsa-causes, fsa-causes-*), waits until the cluster says so, and writes its objects to tests/recorded/NAME.json.
#
#   record.sh [NAME…]      all, or those that are named
#
# Needs kubectl with rights of an administrator (KUBECONFIG), jq, curl and python3, and must run where the node is:
# a registry that fails on demand is served on its loopback. IMAGE is an image with a shell and apt-get whose user
# is root, and which the node has.
set -uo pipefail
HERE=$(cd "$(dirname "$0")" && pwd); OUT=$HERE/recorded; TMP=$(mktemp -d)
IMAGE=${IMAGE:-fsa.local/base:dev}; NS=fsa-causes; PORT=${REGISTRY_PORT:-5999}
VERSION=$(kubectl version -o json 2>/dev/null | jq -r .serverVersion.gitVersion)
only=" $* "; failed=(); started=()
mkdir -p "$OUT"
finish() {
  for pid in "${started[@]}"; do kill "$pid" 2>/dev/null; done
  kubectl delete namespace -l fsa-causes=yes --wait=false >/dev/null 2>&1
  kubectl delete storageclass,pv,validatingwebhookconfiguration,validatingadmissionpolicy,validatingadmissionpolicybinding -l fsa-causes=yes --wait=false >/dev/null 2>&1
  kubectl delete node fsa-causes-pretended --wait=false >/dev/null 2>&1
  rm -rf "$TMP"
}
trap finish EXIT
wanted() { [ "$only" = "  " ] || [[ "$only" == *" $1 "* ]]; }
namespace() { # NAME [LABEL…]
  kubectl get namespace "$1" >/dev/null 2>&1 || kubectl create namespace "$1" >/dev/null
  kubectl label namespace "$1" --overwrite fsa-causes=yes "${@:2}" >/dev/null
}
apply() { jq -c . | kubectl apply -f - >/dev/null; }
# Whatever is of this machine or of this run alone goes.
strip='walk(if type == "object" then del(.managedFields, .selfLink, .hostIP, .hostIPs, .podIP, .podIPs)
  | (if has("annotations") and (.annotations | type) == "object" then .annotations |= with_entries(select(.key | startswith("kubectl.kubernetes.io/") | not)) else . end)
  elif type == "string" then gsub("lookup (?<host>[^ ]+) on [0-9.]+:53: read udp [0-9.]+:[0-9]+->[0-9.]+:53"; "lookup \(.host) on 10.0.0.10:53: read udp 10.0.0.11:40000->10.0.0.10:53")
  else . end)'

# A Deployment as a sandbox has it, changed by a jq filter.
deployment() { # NAME FILTER
  jq -n --arg name "$1" --arg image "$IMAGE" '{apiVersion: "apps/v1", kind: "Deployment", metadata: {name: $name, labels: {app: $name}},
    spec: {replicas: 1, strategy: {type: "Recreate"}, selector: {matchLabels: {app: $name}}, template: {metadata: {labels: {app: $name}},
    spec: {terminationGracePeriodSeconds: 1, automountServiceAccountToken: false, containers: [{name: "sandbox", image: $image, imagePullPolicy: "IfNotPresent",
    command: ["sleep", "3600"], resources: {requests: {cpu: "10m", memory: "32Mi"}, limits: {cpu: "500m", memory: "256Mi"}}}]}}}}' \
    | jq "def pod: .spec.template.spec; def box: .spec.template.spec.containers[0]; $2"
}
claim() { # NAME CLASS
  jq -n --arg name "$1" --arg class "$2" '{apiVersion: "v1", kind: "PersistentVolumeClaim", metadata: {name: $name},
    spec: {accessModes: ["ReadWriteOnce"], storageClassName: $class, resources: {requests: {storage: "1Gi"}}}}'
}
# Everything of one name, as the index has it.
dump() { # NAMESPACE NAME
  local log
  log=$(kubectl -n "$1" logs "deploy/$2" --all-containers --previous --tail=20 2>/dev/null || kubectl -n "$1" logs "deploy/$2" --all-containers --tail=20 2>/dev/null)
  kubectl -n "$1" get deployment,pod,persistentvolumeclaim,ingress,events -o json | jq --arg name "$2" --arg log "$log" --arg kubernetes "$VERSION" '
    def newest(f): sort_by(f) | reverse;
    def of(kind): [.items[] | select(.kind == kind and (.metadata.name | startswith($name)))];
    {kubernetes: $kubernetes, name: $name, now: (now | todate),
     deployment: of("Deployment")[0], pods: (of("Pod") | newest(.metadata.creationTimestamp)), volume: of("PersistentVolumeClaim")[0], ingresses: of("Ingress"),
     events: ([.items[] | select(.kind == "Event" and (.involvedObject.name | startswith($name)))] | newest(.lastTimestamp // .eventTime // .firstTimestamp)),
     log: (if $log == "" then null else $log end)} | '"$strip"
}
# CASE FILTER UNTIL [NAMESPACE] [SECONDS]: makes the Deployment, and records once UNTIL holds of the dump.
record() {
  local case=$1 filter=$2 until=$3 ns=${4:-$NS} seconds=${5:-60}
  wanted "$case" || return 0
  local name="${case:0:20}"; name="${name%-}-agentruntime-record"
  namespace "$ns"
  deployment "$name" "$filter" | kubectl -n "$ns" apply -f - >/dev/null || { failed+=("$case"); return; }
  wait_for "$case" "$ns" "$name" "$until" "$seconds"
  kubectl -n "$ns" delete deployment "$name" --wait=false >/dev/null
}
wait_for() { # CASE NAMESPACE NAME UNTIL SECONDS
  local end=$((SECONDS + $5))
  while [ $SECONDS -lt $end ]; do
    dump "$2" "$3" > "$TMP/dump.json"
    if jq -e "def status: .pods[0].status.containerStatuses[0]; def waits: status.state.waiting.reason // \"\"; def told(r): any(.events[]; .reason == r); $4" "$TMP/dump.json" >/dev/null 2>&1; then
      jq . "$TMP/dump.json" > "$OUT/$1.json"; echo "recorded $1"; return
    fi
    sleep 0.5
  done
  echo "NOT recorded: $1"; failed+=("$1"); cp "$TMP/dump.json" "$TMP/$1.json"; jq '{pods: [.pods[].status], events: [.events[] | {reason, message}], conditions: .deployment.status.conditions}' "$TMP/dump.json"
}
# CASE METHOD PATH [BODY] [curl options…]: an answer of the apiserver that is no success, as it is.
answer() {
  local case=$1 method=$2 path=$3 body=${4:-}; shift 3; shift
  wanted "$case" || return 0
  [[ "$*" == *Content-Type* ]] || set -- -H 'Content-Type: application/json' "$@"
  curl -s --unix-socket "$TMP/api.sock" -X "$method" ${body:+-d "$body"} "$@" "http://localhost$path" > "$TMP/answer.json"
  if jq -e '.kind == "Status" and .status == "Failure"' "$TMP/answer.json" >/dev/null; then
    jq --arg kubernetes "$VERSION" '{kubernetes: $kubernetes, answer: .}' "$TMP/answer.json" > "$OUT/$case.json"; echo "recorded $case"
  else echo "NOT recorded: $case"; failed+=("$case"); head -c 600 "$TMP/answer.json"; fi
}

kubectl delete namespace -l fsa-causes=yes --wait=true >/dev/null 2>&1
namespace $NS
for _ in $(seq 50); do kubectl -n $NS get serviceaccount default >/dev/null 2>&1 && break; sleep 0.2; done
kubectl proxy --unix-socket="$TMP/api.sock" >/dev/null 2>&1 & started+=($!)
cat > "$TMP/registry.py" <<'P'
import http.server, json, sys, time
class Registry(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == '/v2/': return self.answer(200, '')
        if '/slow/' in self.path: time.sleep(300)
        for word, code, error in (('/private/', 401, 'UNAUTHORIZED'), ('/busy/', 429, 'TOOMANYREQUESTS'), ('/', 404, 'MANIFEST_UNKNOWN')):
            if word in self.path: return self.answer(code, error)
    do_HEAD = do_GET
    def answer(self, code, error):
        body = json.dumps({'errors': [{'code': error, 'message': error.lower()}]} if error else {}).encode()
        self.send_response(code); self.send_header('Content-Type', 'application/json'); self.send_header('Content-Length', str(len(body))); self.end_headers()
        if self.command == 'GET': self.wfile.write(body)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Registry).serve_forever()
P
python3 "$TMP/registry.py" "$PORT" & started+=($!)

# Where a pod runs
record unschedulable-memory 'box.resources = {requests: {memory: "900Gi"}, limits: {memory: "900Gi"}}' 'told("FailedScheduling")'
record unschedulable-cpu 'box.resources = {requests: {cpu: "500", memory: "900Gi"}, limits: {}}' 'told("FailedScheduling")'
record node-selector 'pod.nodeSelector = {disk: "none"}' 'told("FailedScheduling")'
if wanted node-taint || wanted node-lost; then
  # A node without a kubelet: it is ready because this says so, and lost once nobody says so any more (50 s).
  jq -n '{apiVersion: "v1", kind: "Node", metadata: {name: "fsa-causes-pretended", labels: {pretended: "yes"}}, spec: {taints: [{key: "team", value: "other", effect: "NoSchedule"}]},
    status: {capacity: {cpu: "4", memory: "8Gi", pods: "10"}, allocatable: {cpu: "4", memory: "8Gi", pods: "10"}}}' | apply
  now=$(date -u +%FT%TZ)
  kubectl patch node fsa-causes-pretended --subresource=status --type=merge -p "{\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\",\"reason\":\"KubeletReady\",\"lastHeartbeatTime\":\"$now\",\"lastTransitionTime\":\"$now\"}]}}" >/dev/null
  record node-taint 'pod.nodeSelector = {pretended: "yes"}' 'told("FailedScheduling")'
  if wanted node-lost; then
    (for _ in $(seq 100); do
      pod=$(kubectl -n $NS get pod -l app=node-lost-agentruntime-record -o name 2>/dev/null) && [ -n "$pod" ] && break; sleep 0.2
    done
    kubectl -n $NS patch "$pod" --subresource=status --type=merge -p "{\"status\":{\"phase\":\"Running\",\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\",\"lastTransitionTime\":\"$now\"}],\"containerStatuses\":[{\"name\":\"sandbox\",\"image\":\"x\",\"imageID\":\"x\",\"ready\":true,\"restartCount\":0,\"state\":{\"running\":{\"startedAt\":\"$now\"}}}]}}" >/dev/null) & started+=($!)
    record node-lost 'pod.nodeName = "fsa-causes-pretended"' 'told("NodeNotReady")' $NS 150
  fi
  kubectl delete node fsa-causes-pretended >/dev/null 2>&1
fi
# The image
record image-not-found "box.image = \"localhost:$PORT/team/app:1\"" 'waits == "ImagePullBackOff"'
record image-refused "box.image = \"localhost:$PORT/private/app:1\"" 'waits == "ImagePullBackOff" or waits == "ErrImagePull"'
record image-busy "box.image = \"localhost:$PORT/busy/app:1\"" 'waits == "ImagePullBackOff" or waits == "ErrImagePull"'
record image-unreachable 'box.image = "registry.invalid/team/app:1"' 'waits == "ImagePullBackOff"' $NS 120
record image-name-invalid 'box.image = "Not An/Image:"' 'waits == "InvalidImageName"'
record image-absent 'box.image = "team/app:1" | box.imagePullPolicy = "Never"' 'waits == "ErrImageNeverPull"'
record image-root 'pod.securityContext = {runAsNonRoot: true}' 'waits == "CreateContainerConfigError"'
record image-root-log 'pod.securityContext = {runAsUser: 1000, runAsNonRoot: true} | box.command = ["apt-get", "install", "-y", "hello"]' 'waits == "CrashLoopBackOff"'
# The start
record init-failed 'pod.initContainers = [box | .name = "agent" | .command = ["sh", "-c", "echo cannot copy the agent; exit 3"]]' 'any(.pods[0].status.initContainerStatuses[]; .state.waiting.reason == "CrashLoopBackOff")'
record init-image "pod.initContainers = [box | .name = \"agent\" | .image = \"localhost:$PORT/team/agent:1\"]" 'any(.pods[0].status.initContainerStatuses[]; .state.waiting.reason == "ImagePullBackOff")'
record secret-missing 'box.envFrom = [{secretRef: {name: "app-env-1-1"}}]' 'waits == "CreateContainerConfigError"'
kubectl -n $NS create configmap settings --from-literal=a=b >/dev/null 2>&1
record key-missing 'box.env = [{name: "A", valueFrom: {configMapKeyRef: {name: "settings", key: "missing"}}}]' 'waits == "CreateContainerConfigError"'
record mount-missing 'pod.volumes = [{name: "settings", configMap: {name: "nowhere"}}] | box.volumeMounts = [{name: "settings", mountPath: "/settings"}]' 'told("FailedMount")'
record mount-failed 'pod.volumes = [{name: "host", hostPath: {path: "/etc/hostname", type: "Directory"}}] | box.volumeMounts = [{name: "host", mountPath: "/host"}]' 'told("FailedMount")'
record command-missing 'box.command = ["/opt/nothing", "here"]' 'waits == "CrashLoopBackOff" or waits == "RunContainerError"'
record agent-missing 'box.command = ["/usr/local/bin/sandbox-agent"]' 'waits == "CrashLoopBackOff" or waits == "RunContainerError"'
record command-refused 'pod.securityContext = {runAsUser: 1000} | box.command = ["/etc/passwd"]' 'waits == "CrashLoopBackOff" or waits == "RunContainerError"'
record path-missing 'box.command = ["nothing-here"]' 'waits == "CrashLoopBackOff" or waits == "RunContainerError"'
# The run
record crash-loop 'box.command = ["sh", "-c", "echo listening on 3000; echo Error: cannot find module app >&2; exit 1"]' 'waits == "CrashLoopBackOff" and status.restartCount >= 2'
record ended 'box.command = ["sh", "-c", "sleep 1; exit 7"]' 'status.state.terminated != null'
record ended-by-signal 'box.command = ["sh", "-c", "sleep 60 & kill -9 $!; wait $!"]' 'status.state.terminated != null or status.lastState.terminated != null'
record oom 'box.command = ["tail", "/dev/zero"] | box.resources.limits.memory = "64Mi"' 'status.lastState.terminated.reason == "OOMKilled" and waits == "CrashLoopBackOff"'
record oom-lately 'box.command = ["sh", "-c", "[ -e /once/done ] && exec sleep 3600; touch /once/done; exec tail /dev/zero"] | box.resources.limits.memory = "64Mi" | pod.volumes = [{name: "once", emptyDir: {}}] | box.volumeMounts = [{name: "once", mountPath: "/once"}]' 'status.ready and status.lastState.terminated.reason == "OOMKilled"'
record disk-full 'box.command = ["sh", "-c", "cat /dev/zero > /small/file"] | pod.volumes = [{name: "small", emptyDir: {medium: "Memory", sizeLimit: "1Mi"}}] | box.volumeMounts = [{name: "small", mountPath: "/small"}]' 'waits == "CrashLoopBackOff"'
record agent-silent 'box.readinessProbe = {tcpSocket: {port: 7681}, periodSeconds: 2}' 'told("Unhealthy") and (status.state.running.startedAt | fromdate) < now - 16'
record evicted-disk 'box.command = ["sh", "-c", "head -c 30000000 /dev/zero > /scratch/file; sleep 3600"] | pod.volumes = [{name: "scratch", emptyDir: {sizeLimit: "1Mi"}}] | box.volumeMounts = [{name: "scratch", mountPath: "/scratch"}]' 'any(.pods[]; .status.reason == "Evicted")' $NS 120
record well '.' 'status.ready'
# What the namespace does not allow
record service-account-missing 'pod.serviceAccountName = "nobody"' 'any(.deployment.status.conditions[]; .type == "ReplicaFailure")'
namespace fsa-causes-quota
jq -n '{apiVersion: "v1", kind: "ResourceQuota", metadata: {name: "team"}, spec: {hard: {"limits.memory": "512Mi", "requests.storage": "500Mi"}}}' | kubectl -n fsa-causes-quota apply -f - >/dev/null; sleep 2
record quota 'box.resources.limits.memory = "1Gi"' 'any(.deployment.status.conditions[]; .type == "ReplicaFailure")' fsa-causes-quota
record quota-unsaid 'box.resources = {}' 'any(.deployment.status.conditions[]; .type == "ReplicaFailure")' fsa-causes-quota
namespace fsa-causes-limits
jq -n '{apiVersion: "v1", kind: "LimitRange", metadata: {name: "sizes"}, spec: {limits: [{type: "Container", max: {memory: "128Mi", cpu: "200m"}}, {type: "PersistentVolumeClaim", max: {storage: "100Mi"}}]}}' | kubectl -n fsa-causes-limits apply -f - >/dev/null
record limit-range '.' 'any(.deployment.status.conditions[]; .type == "ReplicaFailure")' fsa-causes-limits
namespace fsa-causes-restricted pod-security.kubernetes.io/enforce=restricted
record pod-security '.' 'any(.deployment.status.conditions[]; .type == "ReplicaFailure")' fsa-causes-restricted
if wanted admission-policy || wanted webhook-silent || wanted answer-webhook; then
  namespace fsa-causes-policy; namespace fsa-causes-webhook
  jq -n '{apiVersion: "admissionregistration.k8s.io/v1", kind: "ValidatingAdmissionPolicy", metadata: {name: "fsa-causes-team", labels: {"fsa-causes": "yes"}}, spec: {failurePolicy: "Fail",
    matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: ["v1"], operations: ["CREATE"], resources: ["pods"]}], namespaceSelector: {matchLabels: {"kubernetes.io/metadata.name": "fsa-causes-policy"}}},
    validations: [{expression: "has(object.metadata.labels.team)", message: "every pod needs the label team"}]}}' | apply
  jq -n '{apiVersion: "admissionregistration.k8s.io/v1", kind: "ValidatingAdmissionPolicyBinding", metadata: {name: "fsa-causes-team", labels: {"fsa-causes": "yes"}}, spec: {policyName: "fsa-causes-team", validationActions: ["Deny"]}}' | apply
  jq -n '{apiVersion: "admissionregistration.k8s.io/v1", kind: "ValidatingWebhookConfiguration", metadata: {name: "fsa-causes-silent", labels: {"fsa-causes": "yes"}}, webhooks: [{name: "silent.example.com", failurePolicy: "Fail", sideEffects: "None",
    admissionReviewVersions: ["v1"], timeoutSeconds: 1, clientConfig: {service: {namespace: "fsa-causes-webhook", name: "silent"}}, rules: [{apiGroups: [""], apiVersions: ["v1"], operations: ["CREATE"], resources: ["pods"]}],
    namespaceSelector: {matchLabels: {"kubernetes.io/metadata.name": "fsa-causes-webhook"}}}]}' | apply
  sleep 3
  record admission-policy '.' 'any(.deployment.status.conditions[]; .type == "ReplicaFailure")' fsa-causes-policy
  record webhook-silent '.' 'any(.deployment.status.conditions[]; .type == "ReplicaFailure")' fsa-causes-webhook
fi
# The volume
with_claim() { # CASE CLASS UNTIL [SECONDS]
  wanted "$1" || return 0
  local name="${1:0:20}"; name="${name%-}-agentruntime-record"
  claim "$name" "$2" | kubectl -n $NS apply -f - >/dev/null
  deployment "$name" "pod.volumes = [{name: \"home\", persistentVolumeClaim: {claimName: \"$name\"}}] | box.volumeMounts = [{name: \"home\", mountPath: \"/home/agent\"}]" | kubectl -n $NS apply -f - >/dev/null
  wait_for "$1" $NS "$name" "$3" "${4:-60}"
  kubectl -n $NS delete deployment,pvc "$name" --wait=false >/dev/null
}
class() { jq -n --arg name "$1" --arg by "$2" --argjson parameters "${3:-null}" '{apiVersion: "storage.k8s.io/v1", kind: "StorageClass", metadata: {name: $name, labels: {"fsa-causes": "yes"}}, provisioner: $by, parameters: $parameters, volumeBindingMode: "Immediate"}' | apply; }
with_claim class-missing fast-ssd 'told("ProvisioningFailed")'
if wanted provisioner-silent; then class fsa-causes-silent storage.example.com/none; with_claim provisioner-silent fsa-causes-silent 'told("ExternalProvisioning") and (.volume.metadata.creationTimestamp | fromdate) < now - 12'; fi
if wanted provisioner-fails; then class fsa-causes-fails rancher.io/local-path; with_claim provisioner-fails fsa-causes-fails 'told("ProvisioningFailed")'; fi
for case in volume-lost volume-elsewhere; do
  wanted $case || continue
  name="$case-agentruntime-record"
  jq -n --arg name "fsa-$case" --arg claim "$name" --arg elsewhere "$([ $case = volume-elsewhere ] && echo gone-node || true)" '{apiVersion: "v1", kind: "PersistentVolume", metadata: {name: $name, labels: {"fsa-causes": "yes"}}, spec: {capacity: {storage: "1Gi"}, accessModes: ["ReadWriteOnce"], storageClassName: "fsa-causes-manual",
    persistentVolumeReclaimPolicy: "Retain", claimRef: {namespace: "fsa-causes", name: $claim}, hostPath: {path: "/tmp"}, nodeAffinity: (if $elsewhere == "" then null else {required: {nodeSelectorTerms: [{matchExpressions: [{key: "kubernetes.io/hostname", operator: "In", values: [$elsewhere]}]}]}} end)}}' | apply
  claim "$name" fsa-causes-manual | jq '.spec.volumeName = "fsa-'$case'"' | kubectl -n $NS apply -f - >/dev/null
  kubectl -n $NS wait --for=jsonpath='{.status.phase}'=Bound "pvc/$name" --timeout=20s >/dev/null
  if [ $case = volume-lost ]; then kubectl delete pv "fsa-$case" --wait=false >/dev/null; kubectl patch pv "fsa-$case" --type=merge -p '{"metadata":{"finalizers":null}}' >/dev/null; until='.volume.status.phase == "Lost"'; else until='told("FailedScheduling")'; fi
  deployment "$name" "pod.volumes = [{name: \"home\", persistentVolumeClaim: {claimName: \"$name\"}}] | box.volumeMounts = [{name: \"home\", mountPath: \"/home/agent\"}]" | kubectl -n $NS apply -f - >/dev/null
  wait_for $case $NS "$name" "$until" 30
  kubectl -n $NS delete deployment,pvc "$name" --wait=false >/dev/null
done
# The way in
if wanted ingress-class-missing; then
  name=ingress-class-missin-agentruntime-record
  jq -n --arg name "$name" '{apiVersion: "networking.k8s.io/v1", kind: "Ingress", metadata: {name: $name}, spec: {ingressClassName: "nowhere", rules: [{host: "app.example.com", http: {paths: [{path: "/", pathType: "Prefix", backend: {service: {name: $name, port: {number: 3000}}}}]}}]}}' | kubectl -n $NS apply -f - >/dev/null
  record ingress-class-missing '.' 'status.ready and (.ingresses | length) == 1'
fi
# What the apiserver answers
pod='{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"},"spec":{"containers":[{"name":"a","image":"a","resources":{"limits":{"memory":"1Gi","cpu":"1"}}}]}}'
volume='{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"home"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"10Gi"}}}}'
service='{"apiVersion":"v1","kind":"Service","metadata":{"name":"taken"},"spec":{"ports":[{"port":3000}]}}'
answer answer-quota POST /api/v1/namespaces/fsa-causes-quota/persistentvolumeclaims "$volume"
answer answer-limit-range POST /api/v1/namespaces/fsa-causes-limits/persistentvolumeclaims "$volume"
answer answer-pod-security POST /api/v1/namespaces/fsa-causes-restricted/pods "$pod"
answer answer-namespace-missing POST /api/v1/namespaces/fsa-nowhere/services "$service"
answer answer-permission POST /apis/apps/v1/namespaces/fsa-causes/deployments "$(deployment x .)" -H 'Impersonate-User: system:serviceaccount:fsa-causes:default'
answer answer-permission-core GET /api/v1/namespaces/fsa-causes/secrets '' -H 'Impersonate-User: nobody@example.com'
kubectl -n $NS create service clusterip taken --tcp=80 >/dev/null 2>&1
answer answer-exists POST /api/v1/namespaces/fsa-causes/services "$service"
answer answer-conflict PATCH /api/v1/namespaces/fsa-causes/configmaps/settings?fieldManager=other '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"settings"},"data":{"a":"c"}}' -H 'Content-Type: application/apply-patch+yaml'
answer answer-stale PUT /api/v1/namespaces/fsa-causes/configmaps/settings '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"settings","resourceVersion":"1"},"data":{"a":"c"}}'
answer answer-invalid POST /api/v1/namespaces/fsa-causes/services '{"apiVersion":"v1","kind":"Service","metadata":{"name":"Not_A_Name"},"spec":{"ports":[{"port":99999}]}}'
answer answer-unknown-field POST '/api/v1/namespaces/fsa-causes/services?fieldValidation=Strict' '{"apiVersion":"v1","kind":"Service","metadata":{"name":"strict"},"spec":{"prots":[]}}'
answer answer-unknown-kind GET /apis/apps/v1/namespaces/fsa-causes/clusters
answer answer-not-found GET /api/v1/namespaces/fsa-causes/services/nothing
answer answer-webhook POST /api/v1/namespaces/fsa-causes-webhook/pods "$pod"
if wanted answer-unauthorized; then
  server=$(kubectl config view --minify -o jsonpath='{.clusters[0].cluster.server}')
  curl -sk -H 'Authorization: Bearer nonsense' "$server/api/v1/namespaces" > "$TMP/answer.json" && jq --arg kubernetes "$VERSION" '{kubernetes: $kubernetes, answer: .}' "$TMP/answer.json" > "$OUT/answer-unauthorized.json" && echo recorded answer-unauthorized
fi
if wanted answer-terminating; then
  namespace fsa-causes-going
  kubectl -n fsa-causes-going create configmap held >/dev/null; kubectl -n fsa-causes-going patch configmap held --type=merge -p '{"metadata":{"finalizers":["example.com/held"]}}' >/dev/null
  kubectl delete namespace fsa-causes-going --wait=false >/dev/null
  answer answer-terminating POST /api/v1/namespaces/fsa-causes-going/services "$service"
  kubectl -n fsa-causes-going patch configmap held --type=merge -p '{"metadata":{"finalizers":null}}' >/dev/null
fi
# Last: the node pulls one image at a time, and this one takes its time.
record image-slow "box.image = \"localhost:$PORT/slow/app:1\"" '(.events[] | select(.reason == "Pulling") | .lastTimestamp | fromdate) < now - 25'
[ ${#failed[@]} = 0 ] || { echo "not recorded: ${failed[*]}"; exit 1; }
