package cache

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"platform.example/apps/internal/backingtest"
	"platform.example/apps/internal/problem"
	"platform.example/apps/user-service/internal/user"
)

func TestUsers(t *testing.T) {
	server := backingtest.StartRedis(t)
	redis := server.ClientOf("user-service")
	defer func() { _ = redis.Close() }()
	newCache := func(load func(context.Context, uuid.UUID) (user.User, error)) *Users {
		return New(redis, load, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	}

	// get calls Get, decodes the user and checks the version.
	get := func(t *testing.T, c *Users, id uuid.UUID) (u user.User, hit bool, err error) {
		t.Helper()
		raw, version, hit, err := c.Get(t.Context(), id)
		if err != nil {
			return user.User{}, hit, err
		}
		if err := json.Unmarshal(raw, &u); err != nil {
			t.Errorf("%v: %s", err, raw)
		}
		if version != u.Version {
			t.Errorf("version %d of %s", version, raw)
		}
		return u, hit, nil
	}

	t.Run("concurrent reads share one query", func(t *testing.T) {
		const readers = 50
		var loads atomic.Int32
		arrived, proceed := make(chan struct{}, readers), make(chan struct{})
		c := newCache(func(_ context.Context, id uuid.UUID) (user.User, error) {
			loads.Add(1)
			<-proceed
			return user.User{ID: id, Version: 1}, nil
		})
		id := uuid.New()
		var asking sync.WaitGroup
		for range readers {
			asking.Go(func() {
				arrived <- struct{}{}
				if u, _, err := get(t, c, id); err != nil || u.ID != id {
					t.Errorf("got %+v, %v", u, err)
				}
			})
		}
		for range readers {
			<-arrived
		}
		close(proceed)
		asking.Wait()
		if loads.Load() != 1 {
			t.Errorf("%d queries", loads.Load())
		}
	})

	t.Run("a lost cache causes one query for each user", func(t *testing.T) {
		const users, readers, rounds = 20, 30, 20
		ids, loads := make([]uuid.UUID, users), make([]atomic.Int32, users)
		for i := range ids {
			ids[i] = uuid.New()
		}
		c := newCache(func(_ context.Context, id uuid.UUID) (user.User, error) {
			loads[slices.Index(ids, id)].Add(1)
			return user.User{ID: id, Version: 1}, nil
		})
		read := func() {
			for i := range users * rounds {
				if u, _, err := get(t, c, ids[i%users]); err != nil || u.ID != ids[i%users] {
					t.Errorf("got %+v, %v", u, err)
				}
			}
		}
		read()
		var reading sync.WaitGroup
		for range readers {
			reading.Go(read)
		}
		server.Wipe()
		reading.Wait()
		read()
		for i := range loads {
			if n := loads[i].Load(); n != 2 {
				t.Errorf("%d queries for a user, want one before and one after the loss", n)
			}
		}
	})

	t.Run("a read that starts before a write caches nothing stale", func(t *testing.T) {
		var current atomic.Int64
		current.Store(1)
		read, proceed := make(chan struct{}, 1), make(chan struct{})
		c := newCache(func(_ context.Context, id uuid.UUID) (user.User, error) {
			u := user.User{ID: id, Version: current.Load()}
			if u.Version == 1 {
				read <- struct{}{}
				<-proceed
			}
			return u, nil
		})
		id := uuid.New()
		early := make(chan struct{})
		go func() {
			defer close(early)
			_, _, _, _ = c.Get(t.Context(), id) // may be stale: it start before the write
		}()
		<-read
		current.Store(2)
		c.Invalidate(t.Context(), id, 2)
		expect := func(wantHit bool) {
			t.Helper()
			if u, hit, err := get(t, c, id); err != nil || u.Version != 2 || hit != wantHit {
				t.Errorf("got version %d, hit %t, %v", u.Version, hit, err)
			}
		}
		expect(false)
		close(proceed)
		<-early
		expect(true)
	})

	t.Run("the later of two writes wins, in any order of arrival at Redis", func(t *testing.T) {
		id := uuid.New()
		version := int64(2)
		c := newCache(func(context.Context, uuid.UUID) (user.User, error) {
			return user.User{ID: id, Version: version}, nil
		})
		c.Invalidate(t.Context(), id, 3)
		c.Invalidate(t.Context(), id, 2)
		for range 2 { // reads of a replaced version: returned, never cached
			if u, hit, err := get(t, c, id); hit || err != nil {
				t.Errorf("version %d, hit %t, %v", u.Version, hit, err)
			}
		}
		version = 3
		for _, wantHit := range []bool{false, true} {
			if u, hit, err := get(t, c, id); u.Version != 3 || hit != wantHit || err != nil {
				t.Errorf("version %d, hit %t, want %t: %v", u.Version, hit, wantHit, err)
			}
		}
	})

	t.Run("a client that leaves doesn't cancel the load of others", func(t *testing.T) {
		loading, proceed := make(chan struct{}), make(chan struct{})
		c := newCache(func(ctx context.Context, id uuid.UUID) (user.User, error) {
			close(loading)
			<-proceed
			return user.User{ID: id, Version: 1}, ctx.Err()
		})
		id := uuid.New()
		ctx, leave := context.WithCancel(t.Context())
		left := make(chan error)
		go func() {
			_, _, _, err := c.Get(ctx, id)
			left <- err
		}()
		<-loading
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("the client that left got %v", err)
		}
		close(proceed)
		backingtest.Eventually(t, 5*time.Second, func() error {
			if _, _, hit, err := c.Get(t.Context(), id); err != nil || !hit {
				return errors.Join(errors.New("not filled yet"), err)
			}
			return nil
		})
	})

	t.Run("a malformed entry is a miss and is overwritten", func(t *testing.T) {
		c := newCache(func(_ context.Context, id uuid.UUID) (user.User, error) {
			return user.User{}, problem.New(problem.NotFound, "There is no such user.", nil)
		})
		id := uuid.New()
		redis.Set(t.Context(), key(id), "not JSON", time.Minute)
		for _, wantHit := range []bool{false, true} {
			if _, _, hit, err := c.Get(t.Context(), id); hit != wantHit || err == nil {
				t.Errorf("hit %t, want %t: %v", hit, wantHit, err)
			}
		}
	})
}
