package policy

import (
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"platform.example/infra/stack"
)

// sound breaks no rule.
const sound = `
- {kind: PriorityClass, metadata: {name: platform-apps}}
- {kind: Namespace, metadata: {name: apps, labels: {pod-security.kubernetes.io/enforce: restricted}}}
- {kind: NetworkPolicy, metadata: {name: default-deny, namespace: apps}, spec: {podSelector: {}, policyTypes: [Ingress, Egress]}}
- {kind: NetworkPolicy, metadata: {name: shop, namespace: apps}, spec: {podSelector: {matchLabels: {of: shop}}, policyTypes: [Ingress, Egress]}}
- {kind: ServiceAccount, metadata: {name: shop, namespace: apps}}
- {kind: ConfigMap, metadata: {name: shop, namespace: apps}, data: {LIVE_URL: "http://shop"}}
- kind: Service
  metadata: {name: shop, namespace: apps}
  spec: {type: ClusterIP, selector: {app: shop}, ports: [{port: 80, targetPort: http}]}
- kind: HorizontalPodAutoscaler
  metadata: {name: shop, namespace: apps}
  spec:
    scaleTargetRef: {kind: Deployment, name: shop}
    minReplicas: 2
    maxReplicas: 4
    behavior: {scaleDown: {stabilizationWindowSeconds: 300}}
- kind: PodDisruptionBudget
  metadata: {name: shop, namespace: apps}
  spec: {maxUnavailable: 1, selector: {matchLabels: {app: shop}}}
- kind: Deployment
  metadata: {name: shop, namespace: apps}
  spec:
    progressDeadlineSeconds: 60
    strategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
    template:
      metadata: {labels: {app: shop, of: shop}}
      spec: &pod
        serviceAccountName: shop
        automountServiceAccountToken: false
        enableServiceLinks: false
        priorityClassName: platform-apps
        securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
        topologySpreadConstraints:
        - {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: shop}}}
        - {topologyKey: topology.kubernetes.io/zone, labelSelector: {matchLabels: {app: shop}}}
        containers:
        - name: shop
          image: registry/shop@sha256:0000000000000000000000000000000000000000000000000000000000000000
          env: [{name: GOMEMLIMIT, value: 90MiB}, {name: GOMAXPROCS, value: "1"}, {name: PASSWORD_FILE, value: /run/secrets/password}]
          ports: [{name: http, containerPort: 8080}]
          resources: {requests: {cpu: 100m, memory: 100Mi, ephemeral-storage: 1Mi}, limits: {cpu: 1000m, memory: 100Mi, ephemeral-storage: 9Mi}}
          securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
          startupProbe: {httpGet: {}}
          readinessProbe: {periodSeconds: 2, failureThreshold: 2}
          livenessProbe: {periodSeconds: 9, failureThreshold: 3}
- kind: Job
  metadata: {name: migrate, namespace: apps}
  spec:
    activeDeadlineSeconds: 60
    backoffLimit: 0
    template:
      metadata: {labels: {of: shop}}
      spec: {<<: *pod, restartPolicy: Never}
- kind: StatefulSet
  metadata: {name: store, namespace: apps}
  spec:
    persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain}
    volumeClaimTemplates: [{metadata: {name: data}}]
    template:
      metadata: {labels: {of: shop}}
      spec: *pod
`

func parse(t *testing.T, text string) []Object {
	t.Helper()
	var parsed []map[string]any // nested maps become of the same type
	if err := yaml.Unmarshal([]byte(text), &parsed); err != nil {
		t.Fatal(err)
	}
	var objects []Object
	for _, object := range parsed {
		objects = append(objects, object)
	}
	return objects
}

func TestWhatIsSoundBreaksNoRule(t *testing.T) {
	for _, environment := range []stack.Environment{stack.Local, stack.Staging, stack.Production} {
		for _, finding := range Check(environment, parse(t, sound)) {
			t.Errorf("%s: %s", environment, finding)
		}
	}
}

// TestEachFaultIsFoundByItsRule changes one thing of what is sound, wherever it stands.
func TestEachFaultIsFoundByItsRule(t *testing.T) {
	tests := []struct{ old, new, rule string }{
		{"registry/shop@sha256:" + strings.Repeat("0", 64), "registry/shop:1.0", "an image is pinned"},
		{"requests: {cpu: 100m, memory: 100Mi,", "requests: {memory: 100Mi,", "a container asks for CPU and memory and is limited"},
		{"requests: {cpu: 100m, memory: 100Mi,", "requests: {cpu: 100m, memory: 10Mi,", "a container asks for CPU and memory and is limited"},
		{"limits: {cpu: 1000m, memory: 100Mi,", "limits: {cpu: much, memory: 100Mi,", "a container asks for CPU and memory and is limited"},
		{"90MiB", "200MiB", "Go's own limits are in step"},
		{`GOMAXPROCS, value: "1"`, `GOMAXPROCS, value: "8"`, "Go's own limits are in step"},
		{"readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "a container has no rights"},
		{"allowPrivilegeEscalation: false", "privileged: true", "a container has no rights"},
		{"drop: [ALL]", "drop: [ALL], add: [NET_ADMIN]", "a container has no rights"},
		{"          startupProbe: {httpGet: {}}\n", "", "a server is probed"},
		{"          livenessProbe: {periodSeconds: 9, failureThreshold: 3}\n", "", "a server is probed"},
		{"periodSeconds: 9", "periodSeconds: 1", "a server is probed"},
		{"value: /run/secrets/password", "value: hunter2", "no secret stands in the open"},
		{"LIVE_URL: ", "JWT_KEYS: ", "no key stands in the open"},
		{`"http://shop"`, `"-----BEGIN PRIVATE KEY-----"`, "no key stands in the open"},
		{"runAsUser: 1000", "runAsUser: 0", "a pod runs as a user who is nobody"},
		{"type: RuntimeDefault}", "type: Unconfined}", "a pod runs as a user who is nobody"},
		{"enableServiceLinks: false", "enableServiceLinks: true", "a pod runs as a user who is nobody"},
		{"enableServiceLinks: false", "enableServiceLinks: false\n        hostNetwork: true", "a pod has nothing of its node"},
		{"enableServiceLinks: false", "enableServiceLinks: false\n        volumes: [{name: etc, hostPath: {path: /etc}}]", "a pod has nothing of its node"},
		{"containerPort: 8080", "containerPort: 8080, hostPort: 8080", "a pod has nothing of its node"},
		{"automountServiceAccountToken: false", "automountServiceAccountToken: true", "a pod has an account of its own and no token"},
		{"serviceAccountName: shop", "serviceAccountName: default", "a pod has an account of its own and no token"},
		{"priorityClassName: platform-apps", "priorityClassName: other", "a pod has a priority"},
		{"restartPolicy: Never", "restartPolicy: Always", "a pod has a priority"},
		{"maxUnavailable: 0", "maxUnavailable: 1", "a rollout takes nothing away before its successor is ready"},
		{"progressDeadlineSeconds: 60", "progressDeadlineSeconds: 0", "a rollout takes nothing away before its successor is ready"},
		{"progressDeadlineSeconds: 60", "progressDeadlineSeconds: 60\n    replicas: 2", "replicas belong to the autoscaler"},
		{"minReplicas: 2", "minReplicas: 5", "an autoscaler has something to scale"},
		{"stabilizationWindowSeconds: 300", "stabilizationWindowSeconds: 0", "an autoscaler has something to scale"},
		{"selector: {matchLabels: {app: shop}}}\n- kind: Deployment", "selector: {matchLabels: {app: other}}}\n- kind: Deployment", "what is replicated is spread and has a budget"},
		{"topologyKey: topology.kubernetes.io/zone", "topologyKey: kubernetes.io/hostname", "what is replicated is spread and has a budget"},
		{"spec: {maxUnavailable: 1,", "spec: {minAvailable: 2,", "a budget lets nodes be drained"},
		{"activeDeadlineSeconds: 60", "completions: 1", "a Job ends"},
		{"whenDeleted: Retain", "whenDeleted: Delete", "data outlives its server"},
		{"volumeClaimTemplates: [{metadata: {name: data}}]", "volumeClaimTemplates: []", "data outlives its server"},
		{"{podSelector: {matchLabels: {of: shop}}, policyTypes: [Ingress, Egress]}", "{podSelector: {matchLabels: {of: shop}}, policyTypes: [Ingress]}", "every pod is behind network policies, in both directions"},
		{"- {kind: ServiceAccount", "- {kind: NetworkPolicy, metadata: {name: none, namespace: apps}, spec: {podSelector: {matchLabels: {of: none}}}}\n- {kind: ServiceAccount", "a network policy is for some pods"},
		{"selector: {app: shop}, ports", "selector: {app: other}, ports", "a Service leads to pods"},
		{"targetPort: http}", "targetPort: web}", "a Service leads to pods"},
		{"type: ClusterIP", "type: LoadBalancer", "only the edge is reached from outside"},
		{"- {kind: ServiceAccount", "- {kind: Ingress, metadata: {name: shop, namespace: apps}}\n- {kind: ServiceAccount", "only the edge is reached from outside"},
		{"enforce: restricted", "enforce: baseline", "a namespace admits restricted pods only"},
		{"name: default-deny, namespace: apps", "name: default-deny, namespace: other", "a namespace denies by default, in both directions"},
		{"- {kind: ServiceAccount", "- {kind: ClusterRoleBinding, metadata: {name: shop}}\n- {kind: ServiceAccount", "nobody has rights on the cluster"},
	}
	tested := map[string]bool{}
	for _, test := range tests {
		tested[test.rule] = true
		t.Run(test.rule+": "+test.new, func(t *testing.T) {
			changed := strings.ReplaceAll(sound, test.old, test.new)
			if changed == sound {
				t.Fatalf("%q is not in what is sound", test.old)
			}
			findings := Check(stack.Production, parse(t, changed))
			if !slices.ContainsFunc(findings, func(f Finding) bool { return f.Rule == test.rule }) {
				t.Errorf("found %v, want %q broken", findings, test.rule)
			}
			for _, finding := range findings {
				if finding.Object == "" || finding.Wrong == "" {
					t.Errorf("%+v says nothing", finding)
				}
			}
		})
	}
	for _, rule := range rules() {
		if !tested[rule.name] {
			t.Errorf("no test breaks the rule %q", rule.name)
		}
	}
}

func TestTagsWillDoOnlyLocally(t *testing.T) {
	tagged := strings.ReplaceAll(sound, "@sha256:"+strings.Repeat("0", 64), ":1.0")
	if findings := Check(stack.Local, parse(t, tagged)); len(findings) > 0 {
		t.Errorf("locally: %v", findings)
	}
	if findings := Check(stack.Local, parse(t, strings.ReplaceAll(tagged, ":1.0", ":latest"))); len(findings) == 0 {
		t.Error("locally, latest is let through")
	}
}
