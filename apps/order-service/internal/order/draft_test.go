package order

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"platform.example/apps/internal/httpjson"
	"platform.example/apps/internal/problem"
)

func TestDraftsAreValidated(t *testing.T) {
	price := func(minor int64) *int64 { return &minor }
	item := func(change func(*DraftItem)) []DraftItem {
		one := DraftItem{SKU: "A", Quantity: 1, UnitPrice: price(1)}
		change(&one)
		return []DraftItem{one}
	}
	for _, c := range []struct {
		name  string
		draft Draft
		want  []string // the fields at fault, in order
	}{
		{"nothing", Draft{}, []string{"/currency", "/items"}},
		{"no currency", Draft{Items: item(func(*DraftItem) {})}, []string{"/currency"}},
		{"one item", Draft{"EUR", item(func(*DraftItem) {})}, nil},
		{"100 items", Draft{"EUR", slices.Repeat(item(func(*DraftItem) {}), 100)}, nil},
		{"101 items", Draft{"EUR", slices.Repeat(item(func(i *DraftItem) { i.SKU = "" }), 101)}, []string{"/items"}},
		{"an SKU of 64 characters", Draft{"EUR", item(func(i *DraftItem) { i.SKU = strings.Repeat("a", 64) })}, nil},
		{"an SKU of 65 characters", Draft{"EUR", item(func(i *DraftItem) { i.SKU = strings.Repeat("a", 65) })}, []string{"/items/0/sku"}},
		{"no SKU", Draft{"EUR", item(func(i *DraftItem) { i.SKU = "" })}, []string{"/items/0/sku"}},
		{"an SKU of all that is allowed", Draft{"EUR", item(func(i *DraftItem) { i.SKU = "azAZ09._-" })}, nil},
		{"an SKU with a space", Draft{"EUR", item(func(i *DraftItem) { i.SKU = "a b" })}, []string{"/items/0/sku"}},
		{"an SKU that is not ASCII", Draft{"EUR", item(func(i *DraftItem) { i.SKU = "ä" })}, []string{"/items/0/sku"}},
		{"an SKU with a line end", Draft{"EUR", item(func(i *DraftItem) { i.SKU = "a\n" })}, []string{"/items/0/sku"}},
		{"a quantity of 0", Draft{"EUR", item(func(i *DraftItem) { i.Quantity = 0 })}, []string{"/items/0/quantity"}},
		{"a quantity of 10000", Draft{"EUR", item(func(i *DraftItem) { i.Quantity = 10_000 })}, nil},
		{"a quantity of 10001", Draft{"EUR", item(func(i *DraftItem) { i.Quantity = 10_001 })}, []string{"/items/0/quantity"}},
		{"no price", Draft{"EUR", item(func(i *DraftItem) { i.UnitPrice = nil })}, []string{"/items/0/unit_price"}},
		{"a price of 0", Draft{"EUR", item(func(i *DraftItem) { i.UnitPrice = price(0) })}, nil},
		{"a price below 0", Draft{"EUR", item(func(i *DraftItem) { i.UnitPrice = price(-1) })}, []string{"/items/0/unit_price"}},
		{"the highest price", Draft{"EUR", item(func(i *DraftItem) { i.UnitPrice = price(1e12) })}, nil},
		{"above the highest price", Draft{"EUR", item(func(i *DraftItem) { i.UnitPrice = price(1e12 + 1) })}, []string{"/items/0/unit_price"}},
		{"the highest total", Draft{"EUR", item(func(i *DraftItem) { i.Quantity, i.UnitPrice = 1_000, price(1e12) })}, nil},
		{"above the highest total", Draft{"EUR", item(func(i *DraftItem) { i.Quantity, i.UnitPrice = 1_001, price(1e12) })}, []string{"/items"}},
		{"every field of the second item", Draft{"XXX", append(item(func(*DraftItem) {}), DraftItem{})},
			[]string{"/currency", "/items/1/sku", "/items/1/quantity", "/items/1/unit_price"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.draft.Validate()
			var got []string
			var p *problem.Error
			if errors.As(err, &p) {
				for _, field := range p.Fields {
					got = append(got, field.Pointer)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, c.want) {
				t.Fatalf("the fields at fault are %v, want %v", got, c.want)
			}
			if err != nil {
				return
			}
			order, err := New(uuid.New(), c.draft, time.Now())
			if err != nil || len(order.Items) != len(c.draft.Items) || order.Items[0] != (Item{
				c.draft.Items[0].SKU, c.draft.Items[0].Quantity, *c.draft.Items[0].UnitPrice,
			}) {
				t.Errorf("the order is %+v, %v", order, err)
			}
		})
	}
}

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

// Any body is refused, or becomes an order within all limits. Another spelling of the same body has the same hash.
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
		if !bytes.Equal(d.Hash(), again.Hash()) {
			t.Errorf("%q and %q have not the same hash", body, written)
		}
	})
}

func TestHashDistinguishesOrders(t *testing.T) {
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
		hash := string(d.Hash())
		if other, known := seen[hash]; known {
			t.Errorf("%s and %s have the same hash", body, other)
		}
		seen[hash] = body
	}
}

func TestCurrencies(t *testing.T) {
	for _, code := range []string{"EUR", "USD", "JPY", "AED", "ZWG"} {
		if !slices.Contains(currencies, code) {
			t.Errorf("%s is active", code)
		}
	}
	for _, code := range []string{"", "E", "eur", "EURO", "UR ", "R G", "D A", "DEM", "HRK", "XXX", "XAU", "AED AFN", "ÄÖ"} {
		if slices.Contains(currencies, code) {
			t.Errorf("%q is none", code)
		}
	}
}
