{{/*
The values in force: those of Istio's older chart are put where the newer one has them, and count before what stands
there. Every template reads these, none .Values.
*/}}
{{- define "portcullis.values" -}}
{{- $v := deepCopy .Values -}}
{{- $global := .Values.global | default dict -}}
{{- $old := get (.Values.gateways | default dict) "istio-ingressgateway" | default dict -}}
{{- range $key := list "name" "replicaCount" "resources" "env" "nodeSelector" "tolerations" "additionalContainers" -}}
{{- if hasKey $old $key }}{{ $_ := set $v $key (get $old $key) }}{{ end -}}
{{- end -}}
{{- if not $v.name }}{{ $_ := set $v "name" .Release.Name }}{{ end -}}
{{- range $key := list "type" "ports" "loadBalancerIP" "loadBalancerSourceRanges" "externalTrafficPolicy" "ipFamilyPolicy" "ipFamilies" -}}
{{- if get $old $key }}{{ $_ := set $v.service $key (get $old $key) }}{{ end -}}
{{- end -}}
{{- if $old.serviceAnnotations }}{{ $_ := set $v.service "annotations" $old.serviceAnnotations }}{{ end -}}
{{- if $old.ingressPorts }}{{ $_ := set $v.service "ports" (concat $v.service.ports $old.ingressPorts) }}{{ end -}}
{{- if $old.customService }}{{ $_ := set $v.service "type" "None" }}{{ end -}}
{{- with $old.labels -}}
{{- $_ := set $v "labels" (mergeOverwrite $v.labels .) -}}
{{- $_ := set $v.service "selectorLabels" (mergeOverwrite $v.service.selectorLabels (omit . "app" "istio")) -}}
{{- end -}}
{{- if hasKey $old "autoscaleEnabled" }}{{ $_ := set $v.autoscaling "enabled" $old.autoscaleEnabled }}{{ end -}}
{{- with $old.autoscaleMin }}{{ $_ := set $v.autoscaling "minReplicas" . }}{{ end -}}
{{- with $old.autoscaleMax }}{{ $_ := set $v.autoscaling "maxReplicas" . }}{{ end -}}
{{- with ($old.cpu).targetAverageUtilization }}{{ $_ := set $v.autoscaling "targetCPUUtilizationPercentage" . }}{{ end -}}
{{- with ($old.memory).targetAverageUtilization }}{{ $_ := set $v.autoscaling "targetMemoryUtilizationPercentage" . }}{{ end -}}
{{- if or $old.rollingMaxSurge $old.rollingMaxUnavailable -}}
{{- $rolling := dict -}}
{{- with $old.rollingMaxSurge }}{{ $_ := set $rolling "maxSurge" . }}{{ end -}}
{{- with $old.rollingMaxUnavailable }}{{ $_ := set $rolling "maxUnavailable" . }}{{ end -}}
{{- $_ := set $v "strategy" (dict "rollingUpdate" $rolling) -}}
{{- end -}}
{{- with ($old.serviceAccount).annotations }}{{ $_ := set $v.serviceAccount "annotations" . }}{{ end -}}
{{- with $old.podAnnotations }}{{ $_ := set $v "podAnnotations" (mergeOverwrite $v.podAnnotations .) }}{{ end -}}
{{- range $old.secretVolumes -}}
{{- $_ := set $v "volumes" (append $v.volumes (dict "name" .name "secret" (dict "secretName" .secretName "optional" true))) -}}
{{- $_ := set $v "volumeMounts" (append $v.volumeMounts (dict "name" .name "mountPath" .mountPath "readOnly" true)) -}}
{{- end -}}
{{- range $old.configVolumes -}}
{{- $_ := set $v "volumes" (append $v.volumes (dict "name" .name "configMap" (dict "name" (.configMapName | default .name) "optional" true))) -}}
{{- $_ := set $v "volumeMounts" (append $v.volumeMounts (dict "name" .name "mountPath" .mountPath "readOnly" true)) -}}
{{- end -}}
{{- $anti := dict -}}
{{- if $old.podAntiAffinityLabelSelector -}}
{{- $terms := list -}}
{{- range $old.podAntiAffinityLabelSelector }}{{ $terms = append $terms (include "portcullis.legacyTerm" . | fromYaml) }}{{ end -}}
{{- $_ := set $anti "requiredDuringSchedulingIgnoredDuringExecution" $terms -}}
{{- end -}}
{{- if $old.podAntiAffinityTermLabelSelector -}}
{{- $terms := list -}}
{{- range $old.podAntiAffinityTermLabelSelector -}}
{{- $terms = append $terms (dict "weight" 100 "podAffinityTerm" (include "portcullis.legacyTerm" . | fromYaml)) -}}
{{- end -}}
{{- $_ := set $anti "preferredDuringSchedulingIgnoredDuringExecution" $terms -}}
{{- end -}}
{{- if $anti }}{{ $_ := set $v.affinity "podAntiAffinity" $anti }}{{ end -}}
{{- if not $v.imagePullPolicy }}{{ $_ := set $v "imagePullPolicy" ($global.imagePullPolicy | default "") }}{{ end -}}
{{- if not $v.priorityClassName }}{{ $_ := set $v "priorityClassName" ($global.priorityClassName | default "") }}{{ end -}}
{{- if not $v.nodeSelector }}{{ $_ := set $v "nodeSelector" ($global.defaultNodeSelector | default dict) }}{{ end -}}
{{- if not $v.tolerations }}{{ $_ := set $v "tolerations" ($global.defaultTolerations | default list) }}{{ end -}}
{{- if not $v.imagePullSecrets -}}
{{- range $global.imagePullSecrets -}}
{{- $_ := set $v "imagePullSecrets" (append $v.imagePullSecrets (ternary . (dict "name" .) (kindIs "map" .))) -}}
{{- end -}}
{{- end -}}
{{- $c := $v.certManager -}}
{{- if or (not $c.enabled) $c.namespaces $c.issuers -}}
{{- $lines := printf "[cert_manager]\nenabled = %t\nnamespaces = %s\nissuers = %s\n" $c.enabled (toJson $c.namespaces) (toJson $c.issuers) -}}
{{- $_ := set $v "settings" (printf "%s\n%s" ($v.settings | trim) $lines | trimPrefix "\n") -}}
{{- end -}}
{{- if ($global.networkPolicy).enabled }}{{ $_ := set $v.networkPolicy "enabled" true }}{{ end -}}
{{- toYaml $v -}}
{{- end -}}

{{/* One term of anti-affinity as the older chart writes it: values are a list in one text. */}}
{{- define "portcullis.legacyTerm" -}}
{{- $expression := dict "key" .key "operator" .operator -}}
{{- if .values }}{{ $_ := set $expression "values" (splitList "," .values) }}{{ end -}}
topologyKey: {{ .topologyKey }}
labelSelector:
  matchExpressions:
  {{- toYaml (list $expression) | nindent 2 }}
{{- end -}}
