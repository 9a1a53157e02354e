package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"platform.example/infra/namespace"
)

const (
	// leaseName is the Lease, in the services' namespace, that whoever releases holds.
	leaseName = "release"
	// leaseTime is how long the lock outlives a holder that was killed, leaseRenewal how often a living one renews it.
	leaseTime    = 15 * time.Second
	leaseRenewal = 4 * time.Second
)

// Holder is who holds the lock of releases; empty where nobody does, or has let it go by not renewing it.
func (c *Cluster) Holder(ctx context.Context, now time.Time) (string, error) {
	lease, err := c.lease(ctx)
	if err != nil {
		return "", err
	}
	return held(lease, now), nil
}

// lease is the zero Lease where there is none.
func (c *Cluster) lease(ctx context.Context) (coordinationv1.Lease, error) {
	var lease coordinationv1.Lease
	if err := c.get(ctx, leasesPath+"/"+leaseName, &lease); err != nil && !errors.Is(err, errNotFound) {
		return lease, fmt.Errorf("the lock of releases can't be read: %w", err)
	}
	return lease, nil
}

var leasesPath = appsPath("/apis/coordination.k8s.io/v1", "leases")

func held(lease coordinationv1.Lease, now time.Time) string {
	holder, until := holding(lease)
	if now.After(until) {
		return "" // whoever held it was killed
	}
	return holder
}

// holding is who held a Lease last, and until when; empty for nobody.
func holding(lease coordinationv1.Lease) (holder string, until time.Time) {
	spec := lease.Spec
	if spec.HolderIdentity == nil || *spec.HolderIdentity == "" || spec.RenewTime == nil || spec.LeaseDurationSeconds == nil {
		return "", time.Time{}
	}
	return *spec.HolderIdentity, spec.RenewTime.Add(time.Duration(*spec.LeaseDurationSeconds) * time.Second)
}

// Lock is the lock of releases, held.
type Lock struct {
	cluster *Cluster
	holder  string
	// From is who held it before and was killed, or had it taken from them; empty for nobody.
	From string
	stop context.CancelFunc
	done chan struct{}
}

// Lock takes the lock of releases, and holds it until it is released. One whose holder no longer renews it is taken over;
// force takes it from a living one. The context that comes with it ends when the lock is lost.
func (c *Cluster) Lock(ctx context.Context, holder string, force bool) (*Lock, context.Context, error) {
	lease, err := c.lease(ctx)
	if err != nil {
		return nil, ctx, err
	}
	other, until := holding(lease)
	if other != "" && time.Now().Before(until) && !force {
		return nil, ctx, fmt.Errorf("%s is at a release: wait for its end; if it is gone, its lock ends by itself at %s; "+
			"TAKEOVER=1 takes it at once", other, until.Local().Format(time.TimeOnly))
	}
	if err := c.renew(ctx, lease, holder); err != nil {
		return nil, ctx, fmt.Errorf("the lock of releases can't be taken: %w", err)
	}
	holding, cancel := context.WithCancelCause(ctx)
	renewing, stop := context.WithCancel(context.WithoutCancel(ctx))
	lock := &Lock{cluster: c, holder: holder, From: other, stop: stop, done: make(chan struct{})}
	go lock.hold(renewing, cancel)
	return lock, holding, nil
}

// renew writes the holder into the Lease as it was read, so that of two who try one succeeds.
func (c *Cluster) renew(ctx context.Context, lease coordinationv1.Lease, holder string) error {
	now, seconds := metav1.NewMicroTime(time.Now()), int32(leaseTime.Seconds())
	if lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity != holder {
		lease.Spec.AcquireTime = &now
	}
	lease.Spec.HolderIdentity, lease.Spec.RenewTime, lease.Spec.LeaseDurationSeconds = &holder, &now, &seconds
	method, path := http.MethodPut, leasesPath+"/"+leaseName
	if lease.ResourceVersion == "" {
		method, path = http.MethodPost, leasesPath
		lease.TypeMeta = metav1.TypeMeta{APIVersion: "coordination.k8s.io/v1", Kind: "Lease"}
		lease.Name, lease.Namespace = leaseName, string(namespace.Apps)
	}
	_, err := c.send(ctx, method, path, "application/json", lease)
	return err
}

// hold renews the lock. That the API server is away for a while doesn't lose it, as long as nobody else takes it.
func (l *Lock) hold(ctx context.Context, lost context.CancelCauseFunc) {
	defer close(l.done)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(leaseRenewal):
		}
		lease, err := l.cluster.lease(ctx)
		if err != nil {
			continue
		}
		if holder, _ := holding(lease); holder != l.holder {
			lost(fmt.Errorf("the lock of releases was taken by %s", holder))
			return
		}
		_ = l.cluster.renew(ctx, lease, l.holder) // is tried again
	}
}

// Release lets the lock go.
func (l *Lock) Release(ctx context.Context) error {
	l.stop()
	<-l.done
	lease, err := l.cluster.lease(ctx)
	if holder, _ := holding(lease); err != nil || holder != l.holder {
		return err
	}
	if err := l.cluster.renew(ctx, lease, ""); err != nil {
		return fmt.Errorf("the lock of releases can't be released, it ends by itself in %s: %w", leaseTime, err)
	}
	return nil
}
