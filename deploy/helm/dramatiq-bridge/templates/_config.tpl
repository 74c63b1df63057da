{{/* The parsed configuration as JSON; {} with existingConfigMap. Its sources have their defaults, and those of included files are there. */}}
{{- define "dramatiq-bridge.config" -}}
{{- $config := .Values.config -}}
{{- if and $config .Values.existingConfigMap -}}
{{- fail "config, existingConfigMap: give one of them" -}}
{{- end -}}
{{- if not (or $config .Values.existingConfigMap) -}}
{{- fail "config: give the bridge's configuration (--set-file config=bridge.yaml), or the name of a ConfigMap that has it in existingConfigMap" -}}
{{- end -}}
{{- if kindIs "string" $config -}}
{{- $config = fromYaml $config -}}
{{- with $config.Error -}}
{{- fail (printf "config: this is no map of YAML: %v" .) -}}
{{- end -}}
{{- end -}}
{{- range $key := list "sources" "spool" "dramatiq" "admin" -}}
{{- $part := index (default dict $config) $key -}}
{{- if not (or (kindIs "invalid" $part) (kindIs "map" $part)) -}}
{{- fail (printf "config.%s: takes a map, not a %s" $key (kindOf $part)) -}}
{{- end -}}
{{- end -}}
{{- $config = default dict $config -}}
{{- $sources := default dict $config.sources -}}
{{- if $config.include -}}
{{- range $file, $text := .Values.extraFiles -}}
{{- if regexMatch `\.(yaml|yml|json)$` $file -}}
{{- $sources = merge $sources (default dict (index (fromYaml $text) "sources")) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not (or .Values.existingConfigMap $sources) -}}
{{- fail "config.sources: is missing; a bridge has at least one source" -}}
{{- end -}}
{{- $whole := dict -}}
{{- range $name, $source := $sources -}}
{{- if not (kindIs "map" $source) -}}
{{- fail (printf "config.sources.%s: takes a map, not a %s" $name (kindOf $source)) -}}
{{- end -}}
{{- $_ := set $whole $name (merge (dict) $source (default dict (index (default dict $config.defaults) (toString $source.type)))) -}}
{{- end -}}
{{- merge (dict "sources" $whole) $config | toJson -}}
{{- end -}}

{{/* The facts by which the kind, the strategy and the replicas are decided, as JSON:
everybody: sources of which each bridge takes every event, with the reason; named: names at a broker that every pod would have;
podNamed: client ids that are each pod's own; alone: whether two pods may never run at once, of a ConfigMap that the chart can't read
unless the values say otherwise; spool: whether there is a volume for it. Of an unknown source nothing is assumed. */}}
{{- define "dramatiq-bridge.facts" -}}
{{- $config := include "dramatiq-bridge.config" . | fromJson -}}
{{- $everybody := list -}}
{{- $named := list -}}
{{- $podNamed := list -}}
{{- $own := `\$\{(POD_NAME|HOSTNAME)(:-[^{}]*)?\}` -}}
{{- range $name, $source := $config.sources -}}
{{- $type := toString $source.type -}}
{{- if eq $type "redis-pubsub" -}}
{{- $everybody = append $everybody (printf "sources.%s: every subscriber of a channel gets every event, so each replica would enqueue all of them" $name) -}}
{{- else if eq $type "mqtt" -}}
{{- $shared := and (kindIs "slice" $source.topics) $source.topics (has (toString (default 5 $source.version)) (list "5" "5.0")) -}}
{{- range $topic := ternary $source.topics list (kindIs "slice" $source.topics) -}}
{{- $shared = and $shared (hasPrefix "$share/" (toString $topic)) -}}
{{- end -}}
{{- if not $shared -}}
{{- $everybody = append $everybody (printf "sources.%s: every subscriber of MQTT gets every event, so each replica would enqueue all of them; version 5 shares topics such as topics: [$share/bridge/plants/#]" $name) -}}
{{- end -}}
{{- if $source.client_id -}}
{{- if regexMatch $own (toString $source.client_id | replace "$${" "") -}}
{{- $podNamed = append $podNamed (printf "sources.%s.client_id" $name) -}}
{{- else -}}
{{- $named = append $named (printf "sources.%s.client_id: a broker ends the older of two connections with one id; write client_id: %s-${POD_NAME}" $name (toString $source.client_id)) -}}
{{- end -}}
{{- end -}}
{{- else if eq $type "amqp" -}}
{{- $declare := ternary $source.declare dict (kindIs "map" $source.declare) -}}
{{- $arguments := ternary $declare.arguments dict (kindIs "map" $declare.arguments) -}}
{{- if or (ne (toString (default false $source.stream)) "false") (regexMatch `^stream$|\$\{` (toString (index $arguments "x-queue-type"))) -}}
{{- $everybody = append $everybody (printf "sources.%s: every consumer of a stream gets every event, so each replica would take all of them" $name) -}}
{{- end -}}
{{- else if eq $type "redis-stream" -}}
{{- if and $source.consumer (not (regexMatch $own (toString $source.consumer | replace "$${" ""))) -}}
{{- $named = append $named (printf "sources.%s.consumer: two consumers with one name take over each other's entries; leave it out, the pod's name takes its place" $name) -}}
{{- end -}}
{{- else -}}
{{- $everybody = append $everybody (printf "sources.%s: this chart does not know whether bridges can share the type %s" $name $type) -}}
{{- end -}}
{{- end -}}
{{- $spool := not (not $config.spool) -}}
{{- if not (kindIs "invalid" .Values.persistence.enabled) -}}
{{- $spool = .Values.persistence.enabled -}}
{{- end -}}
{{- $alone := or (not (not $everybody)) (not (not $named)) (not (or (not .Values.existingConfigMap) .Values.replicasShareEvents)) -}}
{{- dict "alone" $alone "everybody" $everybody "named" $named "podNamed" $podNamed "spool" $spool | toJson -}}
{{- end -}}

{{- define "dramatiq-bridge.kind" -}}
{{- $facts := include "dramatiq-bridge.facts" . | fromJson -}}
{{- if .Values.kind -}}
{{- .Values.kind -}}
{{- else if or $facts.spool $facts.podNamed -}}
StatefulSet
{{- else -}}
Deployment
{{- end -}}
{{- end -}}

{{/* Milliseconds of a duration of the configuration, such as 20s; "" of any other text. */}}
{{- define "dramatiq-bridge.milliseconds" -}}
{{- $text := toString . -}}
{{- if regexMatch `^[0-9]{1,12}(ms|s|m|h|d)$` $text -}}
{{- $number := regexFind `^[0-9]+` $text | atoi -}}
{{- $unit := regexFind `[a-z]+$` $text -}}
{{- mul $number (get (dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000) $unit) -}}
{{- end -}}
{{- end -}}

{{/* Bytes of a size of the configuration (512MiB) or of Kubernetes (8Gi); "" of any other text. */}}
{{- define "dramatiq-bridge.bytes" -}}
{{- $text := toString . -}}
{{- if regexMatch `^[0-9]{1,12}(B|[KMGT]iB?|[MGT])$` $text -}}
{{- $number := regexFind `^[0-9]+` $text | atoi -}}
{{- $unit := regexFind `[A-Za-z]+$` $text -}}
{{- mul $number (get (dict "B" 1 "KiB" 1024 "MiB" 1048576 "GiB" 1073741824 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "M" 1000000 "G" 1000000000 "T" 1000000000000) $unit) -}}
{{- end -}}
{{- end -}}

{{/* The process ends within drain_timeout and 5 s; Kubernetes kills it after this time. */}}
{{- define "dramatiq-bridge.grace" -}}
{{- $given := .Values.terminationGracePeriodSeconds -}}
{{- if .Values.existingConfigMap -}}
{{- default 30 $given -}}
{{- else -}}
{{- $config := include "dramatiq-bridge.config" . | fromJson -}}
{{- $drain := toString (default "20s" $config.drain_timeout) -}}
{{- $ms := include "dramatiq-bridge.milliseconds" $drain -}}
{{- if and (not $ms) (not (contains "${" $drain)) -}}
{{- fail (printf "config.drain_timeout: takes a duration such as 20s, not %s" $drain) -}}
{{- end -}}
{{- if and (not $ms) (kindIs "invalid" $given) -}}
{{- fail (printf "terminationGracePeriodSeconds: give it, more than drain_timeout and 5 s; the chart can't see how long %s is" $drain) -}}
{{- end -}}
{{- $end := 0 -}}
{{- if $ms -}}
{{- $end = add (div (add (int64 $ms) 999) 1000) 5 -}}
{{- end -}}
{{- if kindIs "invalid" $given -}}
{{- add $end 5 -}}
{{- else if le (int64 $given) (int64 $end) -}}
{{- fail (printf "terminationGracePeriodSeconds: %d is too short: the bridge ends within drain_timeout and 5 s, that is %d s; give at least %d, or null" (int64 $given) $end (add $end 1)) -}}
{{- else -}}
{{- int64 $given -}}
{{- end -}}
{{- end -}}
{{- end -}}
