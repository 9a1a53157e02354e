package faults

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"platform.example/test/kit"
)

// DNS accepts queries and never responds, for longer than the services use an address without a new lookup.
func TestReleaseTrafficOutlivesDNS(t *testing.T) {
	const outage = 45 * time.Second
	servers := processes(t, "coredns")
	signal := func(signal syscall.Signal) {
		for _, server := range servers {
			if err := syscall.Kill(int(server), signal); err != nil {
				t.Error(err)
			}
		}
	}
	defer signal(syscall.SIGCONT)
	kit.UnderLoad(t, func() map[string]string {
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
	kubectl := func(arguments ...string) string {
		t.Helper()
		return kit.Output(t, append([]string{"kubectl", "--namespace=kube-system"}, arguments...)...)
	}
	selects := func(label string) {
		t.Helper()
		kubectl("patch", "service", "kube-dns", "--type=json", `--patch=[{"op":"replace","path":"/spec/selector","value":{`+label+`}}]`)
	}
	image := kubectl("get", "deployment", "coredns", "--output=jsonpath={.spec.template.spec.containers[0].image}")
	if _, err := kit.Feed(fmt.Sprintf(dnsOnNode, image, kit.NodeAddresses(t)[0]), "kubectl", "apply", "--filename=-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		kit.Scale(t, "kube-system", "deployment/coredns", 1)
		kubectl("rollout", "status", "deployment/coredns", "--timeout=60s")
		selects(`"k8s-app":"kube-dns"`)
		kit.Restore(t)
		kubectl("delete", "deployment/dns-on-node", "configmap/dns-on-node")
	})
	kubectl("rollout", "status", "deployment/dns-on-node", "--timeout=60s")
	kit.UnderLoad(t, func() map[string]string {
		selects(`"app":"dns-on-node"`)
		if printed, err := kit.PulumiUp(kit.Root); err != nil {
			t.Errorf("%v\n%s", err, printed)
		}
		kit.Scale(t, "kube-system", "deployment/coredns", 0)
		for _, service := range kit.ServiceNames() {
			kit.Output(t, "kubectl", "--namespace=apps", "rollout", "restart", "deployment/"+kit.LiveDeployment(t, service))
			kit.Output(t, "kubectl", "--namespace=apps", "rollout", "status", "deployment/"+kit.LiveDeployment(t, service), "--timeout=90s")
		}
		return nil
	})
}
