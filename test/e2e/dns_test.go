package e2e

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// DNS accepts queries and never answers, for longer than the services use an address without a new lookup.
func TestReleaseTrafficOutlivesDNS(t *testing.T) {
	const outage = 45 * time.Second
	all, err := processes()
	if err != nil {
		t.Fatal(err)
	}
	var servers []process
	for _, p := range all {
		if program, _ := os.ReadFile(p.path("comm")); strings.TrimSpace(string(program)) == "coredns" && p.inPod() {
			servers = append(servers, p)
		}
	}
	if len(servers) == 0 {
		t.Fatal("no CoreDNS runs in a pod")
	}
	signal := func(signal syscall.Signal) {
		for _, server := range servers {
			if err := syscall.Kill(int(server), signal); err != nil {
				t.Error(err)
			}
		}
	}
	defer signal(syscall.SIGCONT)
	underLoad(t, func() map[string]string {
		signal(syscall.SIGSTOP)
		time.Sleep(outage)
		signal(syscall.SIGCONT)
		return nil
	})
}

// dnsOnNode is a DNS server on the node's own address and another port, like NodeLocal DNSCache or on a managed cluster. It runs the
// image of the cluster's CoreDNS.
const dnsOnNode = `
apiVersion: v1
kind: ConfigMap
metadata: {name: dns-on-node, namespace: kube-system}
data:
  Corefile: |
    .:5353 {
        bind %[2]s
        errors
        kubernetes cluster.local
    }
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: dns-on-node, namespace: kube-system}
spec:
  minReadySeconds: 3 # it would have ended by then if it did not understand its Corefile
  selector: {matchLabels: {app: dns-on-node}}
  template:
    metadata: {labels: {app: dns-on-node}}
    spec:
      serviceAccountName: coredns
      hostNetwork: true
      dnsPolicy: Default
      containers:
      - name: coredns
        image: %[1]s
        command: [/coredns]
        args: [-conf, /etc/coredns/Corefile]
        ports:
        - {name: dns, containerPort: 5353, protocol: UDP}
        - {name: dns-tcp, containerPort: 5353, protocol: TCP}
        volumeMounts: [{name: config, mountPath: /etc/coredns}]
      volumes: [{name: config, configMap: {name: dns-on-node}}]
`

// TestReleaseTrafficFollowsDNSToTheNode moves the cluster's DNS server from a pod to the node. After an update, the network policies
// allow it, and new pods resolve names.
func TestReleaseTrafficFollowsDNSToTheNode(t *testing.T) {
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	kubectl := func(arguments ...string) string {
		t.Helper()
		return output(t, append([]string{"kubectl", "--namespace=kube-system"}, arguments...)...)
	}
	selects := func(label string) {
		t.Helper()
		kubectl("patch", "service", "kube-dns", "--type=json", `--patch=[{"op":"replace","path":"/spec/selector","value":{`+label+`}}]`)
	}
	update := func() {
		t.Helper()
		if printed, err := upFrom(root); err != nil {
			t.Errorf("%v\n%s", err, printed)
		}
	}
	image := kubectl("get", "deployment", "coredns", "--output=jsonpath={.spec.template.spec.containers[0].image}")
	if _, err := feed(fmt.Sprintf(dnsOnNode, image, bridgeAddresses(t)[0]), "kubectl", "apply", "--filename=-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		scale(t, "kube-system", "deployment/coredns", 1)
		kubectl("rollout", "status", "deployment/coredns", "--timeout=60s")
		selects(`"k8s-app":"kube-dns"`)
		update()
		kubectl("delete", "deployment/dns-on-node", "configmap/dns-on-node")
	})
	kubectl("rollout", "status", "deployment/dns-on-node", "--timeout=60s")
	underLoad(t, func() map[string]string {
		selects(`"app":"dns-on-node"`)
		update()
		scale(t, "kube-system", "deployment/coredns", 0)
		for _, service := range serviceNames() {
			output(t, "kubectl", "--namespace=apps", "rollout", "restart", "deployment/"+live(t, service))
			output(t, "kubectl", "--namespace=apps", "rollout", "status", "deployment/"+live(t, service), "--timeout=90s")
		}
		return nil
	})
}
