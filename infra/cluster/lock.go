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
	"k8s.io/utils/ptr"

	"platform.example/infra/namespace"
	"platform.example/infra/release"
)

// leaseTimes are the durations of leader election, by which every update and release of a stack holds one Lease in namespace apps.
// It compares no clocks of two machines, but measures by its own clock for how long a Lease doesn't change.
type leaseTimes struct {
	life  time.Duration // a Lease that doesn't change for so long has a dead holder
	renew time.Duration // for how long the holder tries to renew it before leader election starts over
	retry time.Duration // pause between two renewals, and between two attempts to take it
}

var defaultLeaseTimes = leaseTimes{life: 15 * time.Second, renew: 5 * time.Second, retry: 2 * time.Second}

// ErrNoNamespace reports that namespace apps, and with it the Lease, doesn't exist: the stack was never deployed.
var ErrNoNamespace = errors.New("the stack was never deployed")

// Holder is the holder of the Lease, dead or alive, and when it was renewed; empty for nobody.
func (c *Cluster) Holder(ctx context.Context) (holder string, renewed time.Time, err error) {
	lease, err := c.lease(ctx)
	if err != nil || holderOf(lease) == "" {
		return "", time.Time{}, err
	}
	if lease.Spec.RenewTime != nil {
		renewed = lease.Spec.RenewTime.Time
	}
	return holderOf(lease), renewed, nil
}

func holderOf(lease *coordinationv1.Lease) string { return ptr.Deref(lease.Spec.HolderIdentity, "") }

// lease is the zero Lease where there is none.
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

// Lock is the Lease, held.
type Lock struct {
	// From is the former holder, who died or from whom the Lease was taken; empty for nobody.
	From string
	stop context.CancelFunc
	done chan struct{}
}

// Lock takes the Lease and renews it until Release. A holder that doesn't renew it for its life is dead and loses it; one that
// does is an error, unless force is set. Lock calls wait once if it has to find out whether the holder is alive. The returned
// context ends when somebody else takes the Lease.
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
		if err := c.takeLease(ctx, *former, holder); err != nil {
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

// takeLease takes the Lease from a holder that may be alive.
func (c *Cluster) takeLease(ctx context.Context, lease coordinationv1.Lease, holder string) error {
	now := metav1.NowMicro()
	lease.Spec.HolderIdentity, lease.Spec.AcquireTime, lease.Spec.RenewTime = &holder, &now, &now
	if _, err := c.leases().Update(ctx, &lease, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("take the Lease of releases: %w", err)
	}
	return nil
}

// elect runs leader election until ctx ends, and closes taken once holder has the Lease. An API server that doesn't answer for a
// while doesn't lose the Lease: only another holder does.
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
					lost(fmt.Errorf("%s took the Lease of releases", other))
				}
			},
		},
	}
	for ctx.Err() == nil {
		leaderelection.RunOrDie(ctx, config) // dies of a wrong config only
	}
}

// await returns nil once the Lease is taken, and an error once somebody else renews it.
func (c *Cluster) await(ctx context.Context, holder string, former *coordinationv1.Lease, taken <-chan struct{}, wait func(string)) error {
	deadline, waiting := time.After(2*c.times.life), false
	for {
		select {
		case <-taken:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-deadline:
			return errors.New("take the Lease of releases: the API server doesn't answer")
		case <-time.After(c.times.retry / 4):
		}
		lease, err := c.lease(ctx)
		if err != nil {
			continue
		}
		switch current := holderOf(lease); {
		case current == "", current == holder:
		case current != holderOf(former), !lease.Spec.RenewTime.Equal(former.Spec.RenewTime):
			return fmt.Errorf("%s holds the Lease of releases: wait for its end, or take it at once with TAKEOVER=1", current)
		case !waiting:
			wait(current)
			waiting = true
		}
	}
}

// Release gives the Lease back, and returns once that is done.
func (l *Lock) Release() {
	l.stop()
	<-l.done
}
