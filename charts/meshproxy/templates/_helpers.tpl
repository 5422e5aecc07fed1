{{/* Names are fixed, because proxies know them. Those of the whole cluster carry the namespace. */}}
{{- define "meshproxy.clusterName" -}}
meshcontrol-{{ .Release.Namespace }}
{{- end }}

{{- define "meshproxy.host" -}}
meshcontrol.{{ .Release.Namespace }}.svc
{{- end }}

{{/* Labels of every object. */}}
{{- define "meshproxy.labels" -}}
app.kubernetes.io/part-of: meshproxy
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
istio.io/rev: {{ .Values.revision | quote }}
{{- end }}

{{/* By which pods of the control plane are selected: these never change. */}}
{{- define "meshproxy.controlSelector" -}}
app: meshcontrol
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* An image: (list $ "meshproxy"). */}}
{{- define "meshproxy.image" -}}
{{- $root := index . 0 -}}
{{- with $root.Values.image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{ index . 1 }}:{{ $root.Values.image.tag | default $root.Chart.AppVersion }}
{{- end }}

{{/* Istio's MeshConfig, with this namespace as the root. */}}
{{- define "meshproxy.meshConfig" -}}
{{- $own := dict "rootNamespace" .Release.Namespace "trustDomain" (include "meshproxy.trustDomain" .) -}}
{{- merge (deepCopy .Values.meshConfig) $own | toYaml }}
{{- end }}

{{- define "meshproxy.trustDomain" -}}
{{ .Values.meshConfig.trustDomain | default "cluster.local" }}
{{- end }}

{{/* Namespaces in which nothing is injected. The control plane cannot wait for itself. */}}
{{- define "meshproxy.excludedNamespaces" -}}
{{ append .Values.webhooks.excludedNamespaces .Release.Namespace | uniq | toJson }}
{{- end }}

{{/* Namespaces whose Secrets may be read; empty for all. */}}
{{- define "meshproxy.secretNamespaces" -}}
{{- $namespaces := .Values.secrets.namespaces }}
{{- if and $namespaces .Values.gateway.enabled }}
{{- $namespaces = append $namespaces .Release.Namespace | uniq }}
{{- end }}
{{- toJson $namespaces }}
{{- end }}

{{/* No root, no way to become it, nothing to write to, and only the usual system calls. */}}
{{- define "meshproxy.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1337
runAsGroup: 1337
fsGroup: 1337
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "meshproxy.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Where pods may run, and away from each other as far as there are nodes and zones:
     (list VALUES SELECTOR). */}}
{{- define "meshproxy.placement" -}}
{{- $values := index . 0 -}}
topologySpreadConstraints:
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- maxSkew: 1
  topologyKey: {{ . }}
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- index $ 1 | nindent 6 }}
{{- end }}
{{- range $key := list "nodeSelector" "tolerations" "affinity" }}
{{- with index $values $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}
