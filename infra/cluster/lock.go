package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordination "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"

	"platform.example/infra/namespace"
	"platform.example/infra/release"
)

// leaseTimes are the durations of the leader election for the Lease of releases in namespace apps. Every update and release of a
// stack holds it. Leader election doesn't compare the clocks of two machines: it measures how long the Lease stays unchanged.
type leaseTimes struct {
	life  time.Duration // the holder of a Lease that is unchanged for this long is dead
	renew time.Duration // how long the holder tries to renew before leader election starts over
	retry time.Duration // interval of renewals, and of attempts to acquire the Lease
}

var defaultLeaseTimes = leaseTimes{life: 15 * time.Second, renew: 5 * time.Second, retry: 2 * time.Second}

// ErrNoNamespace reports that namespace apps, and with it the Lease, doesn't exist: the stack was never deployed.
var ErrNoNamespace = errors.New("the stack was never deployed to this cluster: run pulumi up, or correct platform:kubeContext and platform:namespacePrefix")

// Holder returns the holder of the Lease, even if it is dead, and the time of its last renewal. Without a holder, both are zero.
func (c *Cluster) Holder(ctx context.Context) (holder string, renewed time.Time, err error) {
	lease, err := c.lease(ctx)
	if err != nil || holderOf(lease) == "" {
		return "", time.Time{}, err
	}
	return holderOf(lease), ptr.Deref(lease.Spec.RenewTime, metav1.MicroTime{}).Time, nil
}

func holderOf(lease *coordinationv1.Lease) string { return ptr.Deref(lease.Spec.HolderIdentity, "") }

// lease returns the Lease, or the zero Lease if it doesn't exist.
func (c *Cluster) lease(ctx context.Context) (*coordinationv1.Lease, error) {
	lease, err := c.leases().Get(ctx, release.Lease, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return &coordinationv1.Lease{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the Lease of releases: %w", err)
	}
	return lease, nil
}

func (c *Cluster) leases() coordination.LeaseInterface {
	return c.client.CoordinationV1().Leases(c.namespace(namespace.Apps))
}

// Lock is the held Lease. The zero Lock holds nothing.
type Lock struct {
	// From is the previous holder, which died or lost the Lease by force, or empty.
	From string
	stop context.CancelFunc
	done chan struct{}
}

// Lock acquires the Lease and renews it until Release. It fails if the holder renews the Lease, unless force is set. Lock calls wait once
// if it has to wait to see whether the holder renews it. The returned context ends when another holder acquires the Lease.
func (c *Cluster) Lock(ctx context.Context, holder string, force bool, wait func(holder string)) (*Lock, context.Context, error) {
	settler, err := c.settler(ctx)
	if err != nil {
		return nil, ctx, err
	}
	if settler == "" {
		return nil, ctx, ErrNoNamespace
	}
	former, err := c.lease(ctx)
	if err != nil {
		return nil, ctx, err
	}
	lock := &Lock{From: holderOf(former), done: make(chan struct{})}
	if force && lock.From != "" {
		if err := c.takeLease(ctx, holder); err != nil {
			return nil, ctx, err
		}
	}
	held, lost := context.WithCancelCause(ctx)
	electing, stop := context.WithCancel(context.WithoutCancel(ctx))
	lock.stop = stop
	taken := make(chan struct{})
	go func() {
		defer close(lock.done)
		c.elect(electing, holder, taken, lost)
	}()
	if err := c.await(ctx, holder, former, taken, wait); err != nil {
		lock.Release()
		return nil, ctx, err
	}
	return lock, held, nil
}

// takeLease takes the Lease from a holder that may renew it at the same moment.
func (c *Cluster) takeLease(ctx context.Context, holder string) error {
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		lease, err := c.lease(ctx)
		if err != nil {
			return err
		}
		now := metav1.NowMicro()
		lease.Spec.HolderIdentity, lease.Spec.AcquireTime, lease.Spec.RenewTime = &holder, &now, &now
		_, err = c.leases().Update(ctx, lease, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return fmt.Errorf("acquire the Lease of releases: %w", err)
	}
	return nil
}

// elect runs leader election until ctx ends, and closes taken once holder has the Lease. During an outage of the API server the Lease
// isn't lost: elect calls lost only once another holder has it.
func (c *Cluster) elect(ctx context.Context, holder string, taken chan struct{}, lost context.CancelCauseFunc) {
	var leading atomic.Bool
	config := leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: c.namespace(namespace.Apps), Name: release.Lease},
			Client:     c.client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: holder},
		},
		LeaseDuration: c.times.life, RenewDeadline: c.times.renew, RetryPeriod: c.times.retry, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) {
				if leading.CompareAndSwap(false, true) {
					close(taken)
				}
			},
			OnStoppedLeading: func() {},
			OnNewLeader: func(other string) {
				if other != holder && other != "" && leading.Load() {
					lost(fmt.Errorf("%s acquired the Lease of releases", other))
				}
			},
		},
	}
	for ctx.Err() == nil {
		leaderelection.RunOrDie(ctx, config) // panics only on an invalid config
	}
}

// await returns nil once the Lease is taken, or an error once another holder renews it.
func (c *Cluster) await(ctx context.Context, holder string, former *coordinationv1.Lease, taken <-chan struct{}, wait func(string)) error {
	deadline, waiting := time.After(2*c.times.life), false
	for {
		select {
		case <-taken:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline:
			return errors.New("acquire the Lease of releases: the API server doesn't respond")
		case <-time.After(c.times.retry / 4):
		}
		lease, err := c.lease(ctx)
		if err != nil {
			continue
		}
		switch current := holderOf(lease); {
		case current == "", current == holder:
		case current != holderOf(former), !lease.Spec.RenewTime.Equal(former.Spec.RenewTime):
			return fmt.Errorf("%s holds the Lease of releases: wait for its end, or acquire it at once with TAKEOVER=1", current)
		case !waiting:
			wait(current)
			waiting = true
		}
	}
}

// Release releases the Lease.
func (l *Lock) Release() {
	if l.stop != nil {
		l.stop()
		<-l.done
	}
}
