package order

import (
	"bytes"
	"encoding/json"
	"math"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/uuid"

	"platform.example/apps/internal/httpjson"
)

func TestTotalIsExactOrRefused(t *testing.T) {
	for _, c := range []struct {
		name  string
		items []Item
		want  int64
		ok    bool
	}{
		{"nothing", nil, 0, true},
		{"for free", []Item{{"A", 10_000, 0}}, 0, true},
		{"several lines", []Item{{"A", 2, 1250}, {"B", 1, 1}}, 2501, true},
		{"the largest", []Item{{"A", 1000, 1e12}}, MaxTotal, true},
		{"one above the largest", []Item{{"A", 1000, 1e12}, {"B", 1, 1}}, 0, false},
		{"a line beyond 64 bits", []Item{{"A", math.MaxInt64, 2}}, 0, false},
		{"a product that wraps to something small", []Item{{"A", 1 << 32, 1 << 32}}, 0, false},
		{"a sum beyond 64 bits", []Item{{"A", 1, math.MaxInt64}, {"B", 1, math.MaxInt64}}, 0, false},
		{"a quantity below zero", []Item{{"A", -1, 1}}, 0, false},
		{"a price below zero", []Item{{"A", 1, -1}}, 0, false},
		{"two below zero", []Item{{"A", math.MinInt64, math.MinInt64}}, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Total(c.items)
			if got != c.want || (err == nil) != c.ok {
				t.Errorf("got %d, %v; want %d", got, err, c.want)
			}
		})
	}
}

func FuzzTotal(f *testing.F) {
	f.Add(int64(2), int64(1250), int64(1), int64(1))
	f.Add(int64(math.MaxInt64), int64(2), int64(-1), int64(math.MinInt64))
	f.Add(int64(1<<32), int64(1<<32), int64(0), int64(0))
	f.Fuzz(func(t *testing.T, q1, p1, q2, p2 int64) {
		exact := new(big.Int)
		negative := false
		items := []Item{{"A", q1, p1}, {"B", q2, p2}}
		for _, item := range items {
			exact.Add(exact, new(big.Int).Mul(big.NewInt(item.Quantity), big.NewInt(item.UnitPrice)))
			negative = negative || item.Quantity < 0 || item.UnitPrice < 0
		}
		got, err := Total(items)
		fits := !negative && exact.Cmp(big.NewInt(MaxTotal)) <= 0
		if (err == nil) != fits || fits && exact.Cmp(big.NewInt(got)) != 0 {
			t.Errorf("%+v: got %d, %v; exactly it is %s", items, got, err, exact)
		}
	})
}

func decode(body []byte) (Draft, error) {
	r := httptest.NewRequest(http.MethodPost, "/orders", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return httpjson.Decode[Draft](r)
}

// However a body is written: it is refused, or makes an order that is within
// all bounds, and is known again when it is written another way.
func FuzzDraft(f *testing.F) {
	f.Add([]byte(`{"currency":"EUR","items":[{"sku":"A-1","quantity":2,"unit_price":1250}]}`))
	f.Add([]byte(`{"items":[{"unit_price":1e3,"sku":"\u0000"}],"CURRENCY":"XXX"}`))
	f.Add([]byte(`{"currency":"EUR","currency":"USD","items":[{"sku":"A","quantity":9223372036854775807,"unit_price":1}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := decode(body)
		if err != nil || d.Validate() != nil {
			return
		}
		o, err := New(uuid.New(), d, time.Now())
		if err != nil {
			t.Fatalf("%q is valid and makes no order: %v", body, err)
		}
		if o.Total < 0 || o.Total > MaxTotal || len(o.Items) < 1 || len(o.Items) > maxItems || len(o.Currency) != 3 {
			t.Errorf("%q makes %+v", body, o)
		}
		written, err := json.MarshalIndent(d, " ", "\t")
		if err != nil {
			t.Fatal(err)
		}
		again, err := decode(written)
		if err != nil {
			t.Fatalf("%q is valid and %q is not: %v", body, written, err)
		}
		first, firstErr := d.Hash()
		second, secondErr := again.Hash()
		if firstErr != nil || secondErr != nil || !bytes.Equal(first, second) {
			t.Errorf("%q and %q have not the same hash: %v, %v", body, written, firstErr, secondErr)
		}
	})
}

func TestHashTellsOrdersApart(t *testing.T) {
	seen := map[string]string{}
	for _, body := range []string{
		`{"currency":"EUR","items":[{"sku":"A","quantity":1,"unit_price":12}]}`,
		`{"currency":"USD","items":[{"sku":"A","quantity":1,"unit_price":12}]}`,
		`{"currency":"EUR","items":[{"sku":"A","quantity":11,"unit_price":2}]}`,
		`{"currency":"EUR","items":[{"sku":"A1","quantity":1,"unit_price":2}]}`,
		`{"currency":"EUR","items":[{"sku":"A","quantity":1,"unit_price":12},{"sku":"A","quantity":1,"unit_price":12}]}`,
	} {
		d, err := decode([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		hash, err := d.Hash()
		if err != nil {
			t.Fatal(err)
		}
		if other, known := seen[string(hash)]; known {
			t.Errorf("%s and %s have the same hash", body, other)
		}
		seen[string(hash)] = body
	}
}

func TestCurrencies(t *testing.T) {
	for _, code := range []string{"EUR", "USD", "JPY", "AED", "ZWG"} {
		if !isCurrency(code) {
			t.Errorf("%s is active", code)
		}
	}
	for _, code := range []string{"", "E", "eur", "EURO", "UR ", "R G", "D A", "DEM", "HRK", "XXX", "XAU", "AED AFN", "ÄÖ"} {
		if isCurrency(code) {
			t.Errorf("%q is none", code)
		}
	}
}
