{{/* What selects the pods: exactly Istio's two labels, and those that service.selectorLabels adds. Takes the values. */}}
{{- define "portcullis.selectorLabels" -}}
app: {{ .labels.app | default .name | quote }}
istio: {{ .labels.istio | default (trimPrefix "istio-" .name) | quote }}
{{- with .service.selectorLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels of every object. Takes `root` and `values`. */}}
{{- define "portcullis.labels" -}}
{{- $chart := printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" -}}
{{- $own := dict
  "app.kubernetes.io/name" "portcullis"
  "app.kubernetes.io/instance" .root.Release.Name
  "app.kubernetes.io/version" .root.Chart.AppVersion
  "app.kubernetes.io/managed-by" .root.Release.Service
  "helm.sh/chart" $chart -}}
{{- toYaml (mergeOverwrite $own (include "portcullis.selectorLabels" .values | fromYaml) .values.labels) -}}
{{- end -}}

{{/*
Labels and annotations of an object. Takes `root`, `values`, and where there are more than those of every object: `labels`,
and `annotations`, which count before the general ones.
*/}}
{{- define "portcullis.metadata" -}}
labels:
  {{- toYaml (mergeOverwrite (include "portcullis.labels" . | fromYaml) (.labels | default dict)) | nindent 2 }}
{{- with mergeOverwrite (deepCopy .values.annotations) (.annotations | default dict) }}
annotations:
  {{- range $key, $value := . }}
  {{ $key }}: {{ $value | toString | quote }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "portcullis.workload" -}}
{{- .workloadName | default .name -}}
{{- end -}}

{{- define "portcullis.serviceAccount" -}}
{{- .serviceAccount.name | default (ternary .name "default" .serviceAccount.create) -}}
{{- end -}}

{{/* Cluster-wide names must not meet those of another installation. */}}
{{- define "portcullis.clusterName" -}}
{{- printf "%s-%s" .values.name .root.Release.Namespace -}}
{{- end -}}

{{- define "portcullis.image" -}}
{{- $image := .values.image -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository ($image.tag | default .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* How many pods are sure to run: more than one is what a disruption budget is for. */}}
{{- define "portcullis.sureReplicas" -}}
{{- if eq .kind "DaemonSet" -}}2
{{- else if .autoscaling.enabled -}}{{ .autoscaling.minReplicas | int }}
{{- else -}}{{ .replicaCount | default 1 | int }}
{{- end -}}
{{- end -}}
