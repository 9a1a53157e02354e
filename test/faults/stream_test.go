package faults

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"platform.example/test/kit"
)

// streamPrimary returns the pod of the stream's primary, if it has two replicas.
func streamPrimary() (string, error) {
	var roles []error
	for i := range 3 {
		pod := fmt.Sprintf("redis-stream-%d", i)
		info, err := kit.Redis("pod/"+pod, "INFO", "replication")
		if strings.Contains(info, "role:master") && strings.Contains(info, "connected_slaves:2") {
			return pod, nil
		}
		roles = append(roles, fmt.Errorf("%s: %s, %w", pod, info, err))
	}
	return "", errors.Join(roles...)
}

// Orders are accepted while the stream has no primary, and each one leads to one notification.
func TestStreamFailoverLosesNoNotification(t *testing.T) {
	t.Cleanup(func() { setInstances(t, "rm", "platform:stream.instances") })
	kit.UnderLoad(t, func() map[string]string {
		setInstances(t, "set", "platform:stream.instances", "3")
		return nil
	})
	for name, fault := range map[string]func(primary string){
		"the primary is killed": func(string) {},
		"the volume of the primary is deleted": func(primary string) {
			kit.Output(t, "kubectl", "delete", "pvc", "data-"+primary, "--namespace=data", "--wait=false")
		},
	} {
		t.Run(name, func(t *testing.T) {
			var primary string
			await := func(other string) {
				t.Helper()
				kit.Eventually(t, 3*time.Minute, "the stream has a primary other than "+other+" with two replicas", func() (err error) {
					primary, err = streamPrimary()
					if err == nil && primary == other {
						err = fmt.Errorf("%s is the primary", primary)
					}
					return err
				})
			}
			await("")
			run := kit.StartLoad(t)
			time.Sleep(5 * time.Second) // orders are on their way
			former := primary
			fault(former)
			kit.Output(t, "kubectl", "delete", "pod", former, "--namespace=data", "--force", "--grace-period=0")
			await(former)
			if failed := kit.EndOutage(t, run); failed > 0 {
				t.Errorf("%d requests failed, although orders need no stream", failed)
			}
		})
	}
}
