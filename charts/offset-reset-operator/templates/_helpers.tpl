{{/* The image, by its digest or its tag. */}}
{{- define "offset-reset-operator.image" -}}
{{- with .Values.image.registry }}{{ . }}/{{ end }}{{ .Values.image.repository }}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* The label by which the pods are selected. It is the only one, because a selector cannot be changed. */}}
{{- define "offset-reset-operator.selector" -}}
app.kubernetes.io/name: offset-reset-operator
{{- end }}

{{/* The labels of every object. */}}
{{- define "offset-reset-operator.labels" -}}
{{ include "offset-reset-operator.selector" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* "true" where the operator may pause ScaledObjects. */}}
{{- define "offset-reset-operator.keda" -}}
{{- if eq (toString .Values.keda.enabled) "auto" }}
{{- if .Capabilities.APIVersions.Has "keda.sh/v1alpha1" }}true{{ end }}
{{- else if .Values.keda.enabled }}true{{ end }}
{{- end }}
