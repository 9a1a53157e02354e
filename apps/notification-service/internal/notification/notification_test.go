package notification

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"platform.example/apps/internal/event"
)

func TestFormatMoney(t *testing.T) {
	for _, c := range []struct {
		minor    int64
		currency string
		want     string
	}{
		{1250, "EUR", "12.50 EUR"},
		{5, "EUR", "0.05 EUR"},
		{0, "USD", "0.00 USD"},
		{1250, "JPY", "1250 JPY"},
		{0, "JPY", "0 JPY"},
		{1250, "KWD", "1.250 KWD"},
		{1250, "CLF", "0.1250 CLF"},
		{math.MaxInt64, "EUR", "92233720368547758.07 EUR"},
	} {
		if got, err := formatMoney(c.minor, c.currency); err != nil || got != c.want {
			t.Errorf("%d %s: got %q, %v, want %q", c.minor, c.currency, got, err, c.want)
		}
	}
}

func FuzzFormatMoney(f *testing.F) {
	f.Add(int64(1250), "EUR")
	f.Add(int64(-1), "JPY")
	f.Add(int64(7), "€")
	f.Fuzz(func(t *testing.T, minor int64, currency string) {
		got, err := formatMoney(minor, currency)
		if err != nil {
			return
		}
		amount, unit, _ := strings.Cut(got, " ")
		back, err := strconv.ParseInt(strings.Replace(amount, ".", "", 1), 10, 64)
		if err != nil || back != minor || unit != currency || len(currency) != 3 {
			t.Errorf("%d of %q is written %q", minor, currency, got)
		}
	})
}

func TestEveryOrderEventBecomesANotification(t *testing.T) {
	of := func(what event.Type, o event.Order) event.Event {
		data, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		return event.Event{ID: uuid.Must(uuid.NewV7()), Type: what, OccurredAt: time.Now(), Data: data}
	}
	order := event.Order{ID: uuid.New(), UserID: uuid.New(), Total: 1250, Currency: "EUR"}
	seen := map[string]bool{}
	for _, kind := range []event.Type{
		event.OrderCreated, event.OrderPaid, event.OrderShipped, event.OrderDelivered, event.OrderCancelled,
	} {
		e := of(kind, order)
		n, err := From(e)
		if err != nil || !slices.Contains(Types(), kind) {
			t.Fatalf("%s: %v, types: %v", kind, err, Types())
		}
		if n.UserID != order.UserID || n.OrderID != order.ID || n.Type != kind || n.ID != e.ID || !n.CreatedAt.Equal(e.OccurredAt) {
			t.Errorf("%s becomes %+v", kind, n)
		}
		if !strings.Contains(n.Body, "12.50 EUR") || n.Title == "" || seen[n.Title] || seen[n.Body] {
			t.Errorf("%s becomes %q, %q", kind, n.Title, n.Body)
		}
		seen[n.Title], seen[n.Body] = true, true
	}
}

func TestFromRefusesInvalidEvents(t *testing.T) {
	const id = `{"id":"0190f3a0-0000-7000-8000-000000000002"`
	for name, data := range map[string]string{
		"no order":               "",
		"an order without id":    `{"currency":"EUR"}`,
		"a currency that is bad": id + `,"currency":"E\u0000R"}`,
		"no currency":            id + "}",
		"a negative total":       id + `,"currency":"EUR","total":-9223372036854775808}`,
		"a total too big":        id + `,"currency":"EUR","total":1e40}`,
	} {
		if n, err := From(event.Event{Type: event.OrderPaid, Data: []byte(data)}); err == nil {
			t.Errorf("%s becomes %+v", name, n)
		}
	}
}
