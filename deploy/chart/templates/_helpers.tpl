{{/* The release's name, with the chart's unless it is in it. 41 characters, so that NAME-postgresql is at most 52:
     a StatefulSet's name stands in a label of its pods together with a hash. */}}
{{- define "fsa.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 41 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 41 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 41 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "fsa.postgresql" -}}
{{ include "fsa.fullname" . }}-postgresql
{{- end -}}

{{/* What pods are selected by. Never changed: a Deployment's selector cannot be. */}}
{{- define "fsa.selector" -}}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "fsa.labels" -}}
{{ include "fsa.selector" . }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "fsa.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "fsa.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "fsa.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "fsa.publicUrl" -}}
{{- default "http://localhost:4000" .Values.publicUrl -}}
{{- end -}}

{{/* What prints a sign-in link, for who reaches the cluster. */}}
{{- define "fsa.signInCommand" -}}
kubectl --namespace {{ .Release.Namespace }} exec deployment/{{ include "fsa.fullname" . }} --container control-plane -- fullstack-agent sign-in-link
{{- end -}}

{{/* The host of an address, without its port. */}}
{{- define "fsa.host" -}}
{{- (urlParse .).hostname -}}
{{- end -}}

{{- define "fsa.encryptionSecret" -}}
{{- default (printf "%s-encryption-key" (include "fsa.fullname" .)) .Values.encryptionKey.existingSecret -}}
{{- end -}}

{{- define "fsa.postgresqlSecret" -}}
{{- default (include "fsa.postgresql" .) .Values.postgresql.existingSecret -}}
{{- end -}}

{{/* A value of a Secret that is made once, in base64: what is there already, else what is new. `lookup` sees nothing
     where the chart is only rendered. A Secret that is there without the value has been damaged by hand: a new value
     would hide that, and nothing would open what the old one sealed. */}}
{{- define "fsa.once" -}}
{{- $there := lookup "v1" "Secret" .root.Release.Namespace .secret -}}
{{- if $there -}}
{{- $value := index (default dict $there.data) .key -}}
{{- if not $value -}}
{{- fail (printf "The Secret %s is there and has no key %s. Restore it from a backup; only if there is none, and nothing is to be kept, delete it." .secret .key) -}}
{{- end -}}
{{- $value -}}
{{- else -}}
{{- .new | b64enc -}}
{{- end -}}
{{- end -}}

{{/* Whether the Role has KubeBlocks' objects: it makes databases, or may have made those of projects that keep them. */}}
{{- define "fsa.kubeblocks" -}}
{{- $served := or (.Capabilities.APIVersions.Has "apps.kubeblocks.io/v1") (.Capabilities.APIVersions.Has "apps.kubeblocks.io/v1alpha1") -}}
{{- or (has .Values.databases.provider (list "auto" "kubeblocks")) (and (eq .Values.databases.provider "server") $served) -}}
{{- end -}}

{{/* Whether the account of a KubeBlocks database's pods is ours to make: v1alpha1 is served, and v1 is not. */}}
{{- define "fsa.kubeblocksAccounts" -}}
{{- if eq .Values.rbac.kubeblocksAccounts "auto" -}}
{{- and (.Capabilities.APIVersions.Has "apps.kubeblocks.io/v1alpha1") (not (.Capabilities.APIVersions.Has "apps.kubeblocks.io/v1")) -}}
{{- else -}}
{{- eq .Values.rbac.kubeblocksAccounts "always" -}}
{{- end -}}
{{- end -}}

{{/* What cannot be right, in words. What a schema can say is in values.schema.json. */}}
{{- define "fsa.check" -}}
{{- if and .Values.ingress.enabled (not .Values.publicUrl) -}}
{{- fail "ingress.enabled needs the address that browsers use. Write for example publicUrl: https://fsa.example.com" -}}
{{- end -}}
{{- if and (eq .Values.sandboxes.runtime "injected") (not .Values.sandboxes.agentImage) -}}
{{- fail "sandboxes.runtime: injected needs the agent's image. Write for example sandboxes.agentImage: registry.example.com/agent:1" -}}
{{- end -}}
{{- if not .Values.sandboxes.ingress.domain -}}
{{- range $name := list "tlsSecret" "className" "annotations" "authUrl" -}}
{{- if index $.Values.sandboxes.ingress $name -}}
{{- fail (printf "sandboxes.ingress.%s needs a domain. Write for example sandboxes.ingress.domain: apps.example.com" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.cluster.namespace (not .Values.cluster.kubeconfigSecret) -}}
{{- fail "cluster.namespace is for another cluster (cluster.kubeconfigSecret). Sandboxes here are made in the release's namespace: helm install --namespace." -}}
{{- end -}}
{{- if and (gt (int .Values.databases.replicas) 1) (has .Values.databases.provider (list "statefulset" "server")) -}}
{{- fail (printf "databases.replicas over 1 takes KubeBlocks, and databases.provider is %s." .Values.databases.provider) -}}
{{- end -}}
{{- if and (eq .Values.databases.provider "server") (not .Values.databases.existingSecret) -}}
{{- fail "databases.provider: server needs the server's address. Write for example databases.existingSecret: projects-postgresql" -}}
{{- end -}}
{{- $env := include "fsa.env" . -}}
{{- range .Values.extraEnv -}}
{{- if regexMatch (printf "name: %s[,}\\n]" (regexQuoteMeta .name)) $env -}}
{{- fail (printf "extraEnv names %s, which the chart sets already: values.yaml says by which value." .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
