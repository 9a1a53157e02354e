package notification

import (
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"

	"platform.example/apps/internal/event"
)

func TestMoneyIsWrittenByTheMinorDigitsOfItsCurrency(t *testing.T) {
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

func TestEveryChangeOfAnOrderIsTold(t *testing.T) {
	order := event.Order{ID: uuid.New(), UserID: uuid.New(), Total: 1250, Currency: "EUR"}
	seen := map[string]bool{}
	for _, kind := range []event.Type{
		event.OrderCreated, event.OrderPaid, event.OrderShipped, event.OrderDelivered, event.OrderCancelled,
	} {
		n, err := From(event.Event{Type: kind, Order: order})
		if err != nil || !Known(kind) {
			t.Fatalf("%s: %v, known: %t", kind, err, Known(kind))
		}
		if n.UserID != order.UserID || n.OrderID != order.ID || n.Type != kind || n.ID.Version() != 7 {
			t.Errorf("%s becomes %+v", kind, n)
		}
		if !strings.Contains(n.Body, "12.50 EUR") || n.Title == "" || seen[n.Title] || seen[n.Body] {
			t.Errorf("%s is told as %q, %q", kind, n.Title, n.Body)
		}
		seen[n.Title], seen[n.Body] = true, true
	}
}

func TestWhatIsNoChangeOfAnOrderIsNotTold(t *testing.T) {
	for name, e := range map[string]event.Event{
		"an unknown type":        {Type: "order.eaten", Order: event.Order{Currency: "EUR"}},
		"a currency that is bad": {Type: event.OrderPaid, Order: event.Order{Currency: "E\x00R"}},
		"no currency":            {Type: event.OrderPaid},
		"a negative total":       {Type: event.OrderPaid, Order: event.Order{Currency: "EUR", Total: math.MinInt64}},
	} {
		if n, err := From(e); err == nil {
			t.Errorf("%s becomes %+v", name, n)
		}
	}
}
