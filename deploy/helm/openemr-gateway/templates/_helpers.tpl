{{- define "gateway.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 55 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 55 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 55 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* The labels that select the pods. They can never change. */ -}}
{{- define "gateway.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "gateway.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "gateway.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "gateway.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- /* The port of an address such as 0.0.0.0:8000 or [::]:8000. */ -}}
{{- define "gateway.port" -}}
{{- regexFind "[0-9]+$" . -}}
{{- end -}}

{{- define "gateway.isLoopback" -}}
{{- if regexMatch "^(127\\.|\\[::1\\])" . -}}yes{{- end -}}
{{- end -}}

{{- /* What would keep the gateway from starting, or nobody could reach. */ -}}
{{- define "gateway.check" -}}
{{- $config := .Values.config -}}
{{- if not $config.sites -}}
{{- fail "config.sites is required: at least one OpenEMR, as in docs/configuration.md" -}}
{{- end -}}
{{- $access := $config.access | default dict -}}
{{- if not $access.allow_from -}}
{{- fail "config.access.allow_from is required: the networks of the clients" -}}
{{- end -}}
{{- if not (or $access.clients $access.anonymous) -}}
{{- fail "config.access.clients is required: who may call. access.anonymous would let in whoever is in allow_from" -}}
{{- end -}}
{{- if and (kindIs "slice" $access.allow_from) (eq .Values.probes "exec") -}}
{{- $own := list -}}
{{- range $access.allow_from -}}{{- if regexMatch "^(127\\.|0\\.0\\.0\\.0/0)" . -}}{{- $own = append $own . -}}{{- end -}}{{- end -}}
{{- if not $own -}}
{{- fail "config.access.allow_from needs 127.0.0.0/8: with probes: exec the gateway asks itself" -}}
{{- end -}}
{{- end -}}
{{- range $config.listen -}}
{{- if include "gateway.isLoopback" .address -}}
{{- fail (printf "config.listen: %s is on loopback, where nothing outside of the pod reaches it; write 0.0.0.0:%s" .address (include "gateway.port" .address)) -}}
{{- end -}}
{{- end -}}
{{- if .Values.metrics.enabled -}}
{{- $admin := $config.admin | default dict -}}
{{- if or (not $admin.address) (not $admin.api_keys) -}}
{{- fail "metrics.enabled needs config.admin.address (0.0.0.0:9464) and config.admin.api_keys (openemr-gateway access new-key)" -}}
{{- end -}}
{{- if include "gateway.isLoopback" $admin.address -}}
{{- fail (printf "config.admin.address: %s is on loopback, where Prometheus does not reach it" $admin.address) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (lt (int .Values.autoscaling.maxReplicas) (int .Values.autoscaling.minReplicas)) -}}
{{- fail "autoscaling.maxReplicas is less than autoscaling.minReplicas" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled .Values.autoscaling.target (gt (int .Values.autoscaling.target) (int (include "gateway.inFlight" .))) -}}
{{- fail (printf "autoscaling.target is never reached: of autoscaling.maxReplicas gateways each has %s requests at OpenEMR at most" (include "gateway.inFlight" .)) -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.enabled) -}}
{{- fail "metrics.serviceMonitor needs metrics.enabled" -}}
{{- end -}}
{{- end -}}

{{- /* How many gateways there are at most: each takes its part of the limits. */ -}}
{{- define "gateway.replicas" -}}
{{- if .Values.autoscaling.enabled }}{{ .Values.autoscaling.maxReplicas }}{{ else }}{{ .Values.replicas }}{{ end -}}
{{- end -}}

{{- /* Requests that a gateway may have at OpenEMR, at all sites together: its part of in_flight.most. */ -}}
{{- define "gateway.inFlight" -}}
{{- $replicas := int (.Values.config.replicas | default (include "gateway.replicas" .)) -}}
{{- $most := 0 -}}
{{- range .Values.config.sites -}}
{{- $most = add $most (max 1 (div (int ((.in_flight | default dict).most | default 32)) $replicas)) -}}
{{- end -}}
{{- $most -}}
{{- end -}}

{{- /* The configuration with the names of the Service and of the Ingress in access.hosts, as YAML. */ -}}
{{- define "gateway.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $name := include "gateway.fullname" . -}}
{{- $namespace := .Release.Namespace -}}
{{- $own := list $name (printf "%s.%s" $name $namespace) (printf "%s.%s.svc" $name $namespace) (printf "%s.%s.svc.cluster.local" $name $namespace) -}}
{{- if .Values.ingress.enabled -}}{{- $own = append $own .Values.ingress.host -}}{{- end -}}
{{- $_ := set $config.access "hosts" (concat ($config.access.hosts | default list) $own | uniq) -}}
{{- toYaml $config -}}
{{- end -}}

{{- /* The listener that probes and the test ask: one without TLS if there is one, as `openemr-gateway health` does. */ -}}
{{- define "gateway.probed" -}}
{{- $probed := first .Values.config.listen -}}
{{- $plain := "" -}}
{{- range .Values.config.listen -}}{{- if and (not .tls) (not $plain) -}}{{- $plain = .address -}}{{- end -}}{{- end -}}
{{- dict "address" ($plain | default $probed.address) "tls" (not $plain) | toJson -}}
{{- end -}}

{{- /* A probe's action: what is asked is `health` or `ready`. */ -}}
{{- define "gateway.probe" -}}
{{- $routes := .root.Values.config.routes | default dict -}}
{{- $probed := include "gateway.probed" .root | fromJson -}}
{{- if eq .root.Values.probes "http" -}}
httpGet:
  path: {{ get $routes .asks | default (printf "/%s" .asks) }}
  port: {{ include "gateway.port" $probed.address }}
  {{- if $probed.tls }}
  scheme: HTTPS
  {{- end }}
{{- else -}}
exec:
  command:
    - openemr-gateway
    - health
    {{- if $probed.tls }}
    # The configuration says which listener it is, and its certificate is not for 127.0.0.1.
    - --config=/etc/openemr-gateway/gateway.yaml
    {{- if eq .asks "ready" }}
    - --ready
    {{- end }}
    {{- else }}
    - --url=http://127.0.0.1:{{ include "gateway.port" $probed.address }}{{ get $routes .asks | default (printf "/%s" .asks) }}
    {{- end }}
{{- end -}}
{{- end -}}
