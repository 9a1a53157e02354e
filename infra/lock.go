package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/pulumi/pulumi/sdk/v3/go/common/constant"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"platform.example/infra/cluster"
)

// take takes the Lease of releases. An update holds it from its plan to its end. A preview doesn't take it. If the release command runs
// the update, it holds the Lease already and take only checks that.
func take(ctx *pulumi.Context, lock *cluster.Lock, here *cluster.Cluster, releasing string) error {
	if ctx.DryRun() {
		return nil
	}
	if releasing != "" {
		holder, _, err := here.Holder(ctx.Context())
		if err == nil && holder != releasing {
			err = fmt.Errorf("%q holds the Lease of releases, not %q, which runs this update: run it again", holder, releasing)
		}
		return err
	}
	host, _ := os.Hostname()
	name := fmt.Sprintf("pulumi up on %s (process %d)", cmp.Or(host, "an unknown machine"), os.Getpid())
	held, until, err := here.Lock(ctx.Context(), name, false, func(holder string) {
		_ = ctx.Log.Info(fmt.Sprintf("%s holds the Lease of releases: waiting up to 20s to see whether it still renews it", holder), nil)
	})
	if errors.Is(err, cluster.ErrNoNamespace) {
		return nil // Pulumi's own lock excludes two first updates
	}
	if err != nil {
		return err
	}
	*lock = *held
	context.AfterFunc(until, func() {
		if lost := context.Cause(until); ctx.Context().Err() == nil {
			_ = ctx.Log.Error(lost.Error(), nil)
			os.Exit(constant.ExitStatusLoggedError)
		}
	})
	return nil
}
