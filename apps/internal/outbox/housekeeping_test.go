package outbox

import (
	"time"

	"github.com/google/uuid"
	goredis "github.com/redis/go-redis/v9"

	"platform.example/apps/internal/event"
)

func testTrim(b *bench) {
	ctx := b.t.Context()
	trim := func(want string) {
		b.t.Helper()
		if err := b.relay.Trim(ctx); err != nil {
			b.t.Fatal(err)
		}
		b.holds(want)
	}
	trim("[]") // the stream doesn't exist yet
	one, _ := twoOrders()
	b.add(one, 1, 2, 3, 4)
	b.drain()
	trim("[a.1 a.2 a.3 a.4]") // no group

	read := func(group string, n int64) []string {
		b.t.Helper()
		b.client.XGroupCreate(ctx, string(event.Orders), group, "0")
		streams, err := b.client.XReadGroup(ctx, &goredis.XReadGroupArgs{
			Group: group, Consumer: "c", Streams: []string{string(event.Orders), ">"}, Count: n, Block: -1}).Result()
		if err != nil {
			b.t.Fatal(err)
		}
		var ids []string
		for _, message := range streams[0].Messages {
			ids = append(ids, message.ID)
		}
		return ids
	}
	fast := read("fast", 4)
	trim("[a.1 a.2 a.3 a.4]") // read, not acknowledged
	b.client.XAck(ctx, string(event.Orders), "fast", fast[0], fast[2], fast[3])
	b.relay.outbox.Groups = []string{"fast", "slow"}
	trim("[a.1 a.2 a.3 a.4]") // slow hasn't joined
	b.relay.outbox.Groups = nil
	trim("[a.2 a.3 a.4]") // the second is pending
	slow := read("slow", 1)
	b.client.XAck(ctx, string(event.Orders), "fast", fast[1])
	trim("[a.2 a.3 a.4]") // slow hasn't acknowledged the second entry
	b.client.XAck(ctx, string(event.Orders), "slow", slow...)
	b.client.XAck(ctx, string(event.Orders), "slow", read("slow", 1)...)
	trim("[a.3 a.4]") // the last entry that slow has read stays, and the unread ones
	b.client.XGroupCreate(ctx, string(event.Orders), "new", "0")
	b.client.XAck(ctx, string(event.Orders), "slow", read("slow", 1)...)
	trim("[a.3 a.4]") // new has read nothing
	b.round(0)
}

func testForget(b *bench) {
	one, other := twoOrders()
	b.add(one, 1, 2)
	b.drain()
	b.exec(`INSERT INTO outbox (event_id, order_id, type, payload, traceparent, occurred_at, published_at, stream_ms, stream_seq)
		SELECT gen_random_uuid(), $1, 'order.paid', '{}', '', now() - interval '7 days 1 minute', now(), 1, n FROM generate_series(1, $2) AS n`,
		uuid.New(), 2001) // more than two batches
	b.add(other, 1)
	b.exec("UPDATE outbox SET occurred_at = now() - interval '8 days' WHERE order_id = $1", other)
	if err := b.relay.Forget(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	if got := b.count("true"); got != 3 {
		b.t.Errorf("%d events are left, want the two recent ones and the unpublished one", got)
	}
}

func testReplay(b *bench) {
	one, other := twoOrders()
	b.add(one, 1)
	b.drain()
	b.exec("UPDATE outbox SET occurred_at = now() - interval '1 h'")
	b.add(other, 1)
	b.drain()
	b.add(one, 2) // not published yet: is published once
	for _, c := range []struct {
		since time.Duration
		want  int64
		holds string
	}{
		{10 * time.Minute, 1, "[a.1 b.1 b.1 a.2]"},
		{Retention, 3, "[a.1 b.1 b.1 a.2 a.1 b.1 a.2]"},
	} {
		n, err := orders.Replay(b.t.Context(), b.pool, time.Now().Add(-c.since))
		if err != nil || n != c.want {
			b.t.Errorf("since %s: %d are published again, %v; want %d", c.since, n, err, c.want)
		}
		b.drain()
		b.holds(c.holds)
	}
}
