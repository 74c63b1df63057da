{{/* Shared by the bridge's pods and the pod of `helm test`: the user, and the files. */}}
{{- define "dramatiq-bridge.podSettings" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.serviceAccountName }}
serviceAccountName: {{ . | quote }}
{{- end }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
securityContext:
  runAsNonRoot: true
  {{- with .Values.runAsUser }}
  runAsUser: {{ . | int64 }}
  runAsGroup: {{ . | int64 }}
  fsGroup: {{ . | int64 }}
  {{- end }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: config
    configMap:
      name: {{ include "dramatiq-bridge.configMapName" . | quote }}
  {{- with .Values.secrets }}
  - name: credentials
    projected:
      # Of the group fsGroup, to which the bridge belongs.
      defaultMode: 0440
      sources:
        {{- range . }}
        - secret:
            name: {{ .secretName | quote }}
            items:
              - key: {{ default .name .key | quote }}
                path: {{ .name | quote }}
        {{- end }}
  {{- end }}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "dramatiq-bridge.containerSettings" -}}
image: {{ include "dramatiq-bridge.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  - name: POD_NAME
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  {{- if .Values.secrets }}
  - name: CREDENTIALS_DIRECTORY
    value: /run/credentials/dramatiq-bridge
  {{- end }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{- define "dramatiq-bridge.mounts" -}}
# The folder, and no subPath: the kubelet never changes a file that is mounted by a subPath.
- name: config
  mountPath: /etc/dramatiq-bridge
  readOnly: true
{{- if .Values.secrets }}
- name: credentials
  mountPath: /run/credentials/dramatiq-bridge
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}
