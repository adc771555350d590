{{/* Name and value of a variable, where there is a value. */}}
{{- define "fsa.var" -}}
{{- $value := index . 1 -}}
{{- if kindIs "slice" $value }}{{ $value = join "," $value }}{{ end -}}
{{- if kindIs "map" $value -}}
{{- $pairs := list -}}
{{- range $k, $v := $value }}{{ $pairs = append $pairs (printf "%s=%s" $k (toString $v)) }}{{ end -}}
{{- $value = join "," $pairs -}}
{{- end -}}
{{- if kindIs "bool" $value }}{{ $value = ternary "true" "" $value }}{{ end -}}
{{- if not (empty $value) }}
- {name: {{ index . 0 }}, value: {{ toString $value | quote }}}
{{- end -}}
{{- end -}}

{{- define "fsa.env" -}}
- {name: FSA_ORCHESTRATOR, value: kubernetes}
- {name: FSA_LISTEN, value: {{ .Values.listen | quote }}}
# Below the volume and not the volume itself: it is the program's own folder, entered by nobody else.
- {name: FSA_DATA_DIR, value: /var/lib/fullstack-agent/data}
- {name: FSA_SECRET_DIR, value: /etc/fullstack-agent/secret}
- {name: HOME, value: /tmp}
{{- if .Values.database.existingSecret }}
- name: FSA_DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ .Values.database.existingSecret }}, key: {{ .Values.database.existingSecretKey }}}}
{{- else }}
- name: POSTGRES_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ include "fsa.postgresqlSecret" . }}, key: password}}
- {name: FSA_DATABASE_URL, value: "postgresql://fullstack_agent:$(POSTGRES_PASSWORD)@{{ include "fsa.postgresql" . }}:5432/fullstack_agent"}
{{- end }}
{{- with .Values.databases.existingSecret }}
- name: FSA_DATABASE_SERVER_URL
  valueFrom: {secretKeyRef: {name: {{ . }}, key: {{ $.Values.databases.existingSecretKey }}}}
{{- end }}
- name: FSA_ENCRYPTION_KEY
  valueFrom: {secretKeyRef: {name: {{ include "fsa.encryptionSecret" . }}, key: {{ .Values.encryptionKey.existingSecretKey }}}}
{{- if not .Values.cluster.kubeconfigSecret }}
- {name: FSA_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
- {name: FSA_CONTROL_PLANE_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
{{- end }}
{{- $labels := fromYaml (include "fsa.selector" (dict "root" . "component" "control-plane")) }}
{{- with .Values.sandboxes.ingress }}
{{- if .domain }}
{{- $port := ternary "" (printf ":%v" $.Values.service.port) (eq (int $.Values.service.port) 80) }}
{{- $authUrl := default (printf "http://%s.%s.svc%s" (include "fsa.fullname" $) $.Release.Namespace $port) .authUrl }}
{{- include "fsa.var" (list "FSA_INGRESS_AUTH_URL" $authUrl) }}
{{- end }}
{{- end }}
{{- range $pair := list
  (list "FSA_PUBLIC_URL" (include "fsa.publicUrl" .))
  (list "FSA_SIGN_IN_COMMAND" (include "fsa.signInCommand" .))
  (list "FSA_PREVIEW_DOMAIN" .Values.previewDomain)
  (list "FSA_TRUSTED_PROXIES" .Values.trustedProxies)
  (list "FSA_LOG_FORMAT" .Values.log.format)
  (list "FSA_LOG" .Values.log.filter)
  (list "FSA_STAGE_DEADLINES" .Values.limits.stageDeadlines)
  (list "FSA_LEAVE_DEADLINE" .Values.limits.leaveDeadline)
  (list "FSA_PROJECTS_PER_USER" .Values.limits.projectsPerUser)
  (list "FSA_NAMESPACE" .Values.cluster.namespace)
  (list "FSA_ALLOW_LOOPBACK_CLUSTER" .Values.cluster.allowLoopbackCluster)
  (list "FSA_ALLOW_EXEC_CREDENTIALS" .Values.cluster.allowExecCredentials)
  (list "FSA_CONTROL_PLANE_LABELS" (ternary dict $labels (not (empty .Values.cluster.kubeconfigSecret))))
  (list "FSA_IMAGE" .Values.sandboxes.image)
  (list "FSA_RUNTIME" .Values.sandboxes.runtime)
  (list "FSA_AGENT_IMAGE" .Values.sandboxes.agentImage)
  (list "FSA_IMAGE_PULL_POLICY" .Values.sandboxes.imagePullPolicy)
  (list "FSA_IMAGE_PULL_SECRETS" .Values.sandboxes.imagePullSecrets)
  (list "FSA_STORAGE_CLASS" .Values.sandboxes.storageClass)
  (list "FSA_SIZES" .Values.sandboxes.sizes)
  (list "FSA_EGRESS_DENY" .Values.sandboxes.egressDeny)
  (list "FSA_INGRESS_DOMAIN" .Values.sandboxes.ingress.domain)
  (list "FSA_INGRESS_TLS_SECRET" .Values.sandboxes.ingress.tlsSecret)
  (list "FSA_INGRESS_CLASS" .Values.sandboxes.ingress.className)
  (list "FSA_INGRESS_ANNOTATIONS" .Values.sandboxes.ingress.annotations)
  (list "FSA_INGRESS_NAMESPACE" .Values.sandboxes.ingress.controllerNamespace)
  (list "FSA_DATABASE_PROVIDER" .Values.databases.provider)
  (list "FSA_DATABASE_SERVER_NAMESPACE" .Values.databases.serverNamespace)
  (list "FSA_DATABASE_IMAGE" .Values.databases.image)
  (list "FSA_DATABASE_REPLICAS" .Values.databases.replicas)
  (list "FSA_DATABASE_STORAGE_CLASS" .Values.databases.storageClass)
}}
{{- include "fsa.var" $pair }}
{{- end }}
{{- if .Values.cluster.kubeconfigSecret }}
- {name: FSA_KUBECONFIG, value: /etc/fullstack-agent/secret/kubeconfig}
{{- end }}
{{- end -}}
