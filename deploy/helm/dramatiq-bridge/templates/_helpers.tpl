{{/* 52 bytes: a StatefulSet's pods have a label with its name and eleven more, and a label has at most 63.
Without dots, and with a letter first: it is a Service's name too. */}}
{{- define "dramatiq-bridge.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := .Values.fullnameOverride -}}
{{- if not $full -}}
{{- $full = ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- end -}}
{{- $full = regexReplaceAll "-+$" ($full | replace "." "-" | trunc 52) "" -}}
{{- if not (regexMatch "^[a-z]" $full) -}}
{{- fail (printf "fullnameOverride: a Service's name begins with a letter, and %s does not; give another name here" $full) -}}
{{- end -}}
{{- $full -}}
{{- end -}}

{{/* Every pod of the release has these: the bridges, and the pod of `helm test`. */}}
{{- define "dramatiq-bridge.instanceLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimAll "-." | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "dramatiq-bridge.selectorLabels" -}}
{{ include "dramatiq-bridge.instanceLabels" . }}
app.kubernetes.io/component: bridge
{{- end -}}

{{- define "dramatiq-bridge.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "dramatiq-bridge.instanceLabels" . }}
app.kubernetes.io/version: {{ default .Chart.AppVersion .Values.image.tag | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "dramatiq-bridge.image" -}}
{{- $image := .Values.image -}}
{{- if not $image.repository -}}
{{- fail "image.repository: no registry has an image of dramatiq-bridge; build one with deploy/docker/Dockerfile, push it to yours, and name it here" -}}
{{- end -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (default .Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "dramatiq-bridge.configMapName" -}}
{{- default (include "dramatiq-bridge.fullname" .) .Values.existingConfigMap -}}
{{- end -}}
