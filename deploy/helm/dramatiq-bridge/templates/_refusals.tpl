{{/* Refuses, in words, values that install and then lose or double events. */}}
{{- define "dramatiq-bridge.refusals" -}}
{{- $config := include "dramatiq-bridge.config" . | fromJson -}}
{{- $facts := include "dramatiq-bridge.facts" . | fromJson -}}
{{- $kind := include "dramatiq-bridge.kind" . -}}
{{- if gt (int64 .Values.replicas) 1 -}}
{{- if .Values.existingConfigMap -}}
{{- if not .Values.replicasShareEvents -}}
{{- fail (printf "replicas: %d, but the chart can't read the ConfigMap %s: look whether replicas can share its sources (README.md, More than one replica), and set replicasShareEvents: true" (int64 .Values.replicas) .Values.existingConfigMap) -}}
{{- end -}}
{{- else if or $facts.everybody $facts.named -}}
{{- fail (printf "replicas: %d, but with this configuration only one is right:\n  %s%s" (int64 .Values.replicas) (concat $facts.everybody $facts.named | join "\n  ") (ternary "\nSet replicas: 1" "" (not (not $facts.everybody)))) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.replicasShareEvents (not .Values.existingConfigMap) -}}
{{- fail "replicasShareEvents: is for existingConfigMap; config is read, and decides itself" -}}
{{- end -}}
{{- if eq $kind "Deployment" -}}
{{- if $facts.podNamed -}}
{{- fail (printf "kind: Deployment, but %s is named after the pod: each new pod has another name, and leaves its session behind at the broker; use kind: StatefulSet, or leave kind empty" (join ", " $facts.podNamed)) -}}
{{- end -}}
{{- if $facts.spool -}}
{{- fail "kind: Deployment, but a spool needs a volume of its own for each pod: use kind: StatefulSet, or leave kind empty" -}}
{{- end -}}
{{- end -}}
{{- with $config.spool -}}
{{- if not (hasPrefix "/var/lib/dramatiq-bridge/" (toString .directory)) -}}
{{- fail (printf "config.spool.directory: takes a folder in the volume, as in /var/lib/dramatiq-bridge/spool, not %s" (toString .directory)) -}}
{{- end -}}
{{- $most := include "dramatiq-bridge.bytes" (default "256MiB" .max_size) -}}
{{- $room := include "dramatiq-bridge.bytes" $.Values.persistence.size -}}
{{- if and $most $room (gt (int64 $most) (int64 $room)) -}}
{{- fail (printf "persistence.size: %s is less than the spool may take (config.spool.max_size, %s); a full disk loses events" $.Values.persistence.size (toString (default "256MiB" .max_size))) -}}
{{- end -}}
{{- if not $facts.spool -}}
{{- fail "persistence.enabled: false, but the configuration has a spool: without a volume its events end with the pod" -}}
{{- end -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if has .name (list "POD_NAME" "CREDENTIALS_DIRECTORY") -}}
{{- fail (printf "extraEnv: the chart sets %s itself" .name) -}}
{{- end -}}
{{- end -}}
{{- range $name, $text := .Values.podAnnotations -}}
{{- if has $name (list "checksum/config" "checksum/restart" "kubectl.kubernetes.io/default-container") -}}
{{- fail (printf "podAnnotations: the chart sets %s itself" $name) -}}
{{- end -}}
{{- end -}}
{{- include "dramatiq-bridge.refuseFiles" . -}}
{{- include "dramatiq-bridge.refuseSecrets" . -}}
{{- end -}}

{{/* Refuses files and credentials that the configuration names and nobody gives. */}}
{{- define "dramatiq-bridge.refuseFiles" -}}
{{- $config := include "dramatiq-bridge.config" . | fromJson -}}
{{- if and .Values.existingConfigMap .Values.extraFiles -}}
{{- fail "extraFiles: with existingConfigMap they belong into that ConfigMap" -}}
{{- end -}}
{{- range $file, $text := .Values.extraFiles -}}
{{- if eq $file "bridge.yaml" -}}
{{- fail "extraFiles: bridge.yaml is the name of the configuration; give it in config" -}}
{{- end -}}
{{- if not (regexMatch `^[-._A-Za-z0-9]{1,253}$` $file) -}}
{{- fail (printf "extraFiles: %s is no name of a file in a ConfigMap" $file) -}}
{{- end -}}
{{- end -}}
{{- if not .Values.existingConfigMap -}}
{{- $bytes := 0 -}}
{{- range $file, $text := include "dramatiq-bridge.files" . | fromYaml -}}
{{- $bytes = add $bytes (len $text) -}}
{{- end -}}
{{- if gt (int64 $bytes) 1048576 -}}
{{- fail (printf "config, extraFiles: together they have %d bytes, and a ConfigMap holds 1 MiB (1048576); mount large files from elsewhere (extraVolumes), or divide the routes between two releases" $bytes) -}}
{{- end -}}
{{- end -}}
{{- with $config.manifest -}}
{{- if not (or (hasPrefix "/" (toString .)) (contains "${" (toString .)) (hasKey $.Values.extraFiles (toString .))) -}}
{{- fail (printf "config.manifest: extraFiles has no file %s (--set-file 'extraFiles.%s=%s')" . (replace "." `\.` (toString .)) .) -}}
{{- end -}}
{{- end -}}
{{- $names := list -}}
{{- range .Values.secrets -}}
{{- if has .name $names -}}
{{- fail (printf "secrets: the name %s is there twice" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- range regexFindAll `\$\{credential:[^{}]*\}|\$\{CREDENTIALS_DIRECTORY\}/[A-Za-z0-9_.@-]+` (include "dramatiq-bridge.config" . | replace "$${" "") -1 -}}
{{- $name := . | trimPrefix "${credential:" | trimPrefix "${CREDENTIALS_DIRECTORY}/" | trimSuffix "}" -}}
{{- if not (has $name $names) -}}
{{- fail (printf "secrets: the configuration names %s, and no entry has this name; add {name: %s, secretName: ...}" . $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Refuses a secret in the ConfigMap, which anybody may read who may look at the namespace. */}}
{{- define "dramatiq-bridge.refuseSecrets" -}}
{{- $config := include "dramatiq-bridge.config" . | fromJson -}}
{{- $parts := dict "dramatiq" $config.dramatiq "admin" $config.admin -}}
{{- range $name, $source := $config.sources -}}
{{- $_ := set $parts (printf "sources.%s" $name) $source -}}
{{- end -}}
{{- range $path, $part := $parts -}}
{{- $tls := index (default dict $part) "tls" -}}
{{- $secrets := dict "password" (index (default dict $part) "password") "token" (index (default dict $part) "token") "tls.key_password" (ternary (index (default dict $tls) "key_password") "" (kindIs "map" $tls)) -}}
{{- range $key, $secret := $secrets -}}
{{- $text := toString $secret | replace "$${" "" -}}
{{- if and $secret (not (contains "${" $text)) -}}
{{- fail (printf "config.%s.%s: a secret does not belong into a ConfigMap; write ${credential:NAME}, and give its Secret in secrets" $path $key) -}}
{{- end -}}
{{- end -}}
{{- $url := regexReplaceAll `\$\{[^{}]*\}` (toString (index (default dict $part) "url")) "REF" -}}
{{- if and (regexMatch `^[a-z]+://[^/@:]*:[^/@]+@` $url) (not (regexMatch `^[a-z]+://[^/@:]*:[^/@]*REF[^/@]*@` $url)) -}}
{{- fail (printf "config.%s.url: a password does not belong into a ConfigMap; write password: ${credential:NAME} beside the URL, and give its Secret in secrets" $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}
