package order

import (
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"regexp"
	"slices"
	"strings"

	"platform.example/apps/internal/problem"
)

const (
	maxItems     = 100
	maxQuantity  = 10_000
	maxUnitPrice = 1e12 // minor units
)

var sku = regexp.MustCompile("^[A-Za-z0-9._-]{1,64}$")

// Draft is an order to create.
//
// A new field must be omitted from the JSON if it is unset (omitempty), so that the hash of an older Draft
// stays the same.
type Draft struct {
	Currency string      `json:"currency"`
	Items    []DraftItem `json:"items"`
}

// DraftItem is a line of a Draft. UnitPrice is a pointer, so that a missing price isn't taken for zero.
type DraftItem struct {
	SKU       string `json:"sku"`
	Quantity  int64  `json:"quantity"`
	UnitPrice *int64 `json:"unit_price"`
}

// Hash returns the SHA-256 hash of the draft. It is the same for all bodies that decode to the same draft,
// independent of spaces and order.
func (d Draft) Hash() []byte {
	normalised, _ := json.Marshal(d) // plain values always encode
	sum := sha256.Sum256(normalised)
	return sum[:]
}

// Validate returns one error with all faults of d.
func (d Draft) Validate() error {
	var f faults
	if !slices.Contains(currencies, d.Currency) {
		f.Add("/currency", "Must be an active code of ISO 4217, such as EUR.")
	}
	f.items(d)
	return f.Err()
}

func (d Draft) items() []Item {
	items := make([]Item, len(d.Items))
	for i, item := range d.Items {
		items[i] = Item{SKU: item.SKU, Quantity: item.Quantity, UnitPrice: *item.UnitPrice}
	}
	return items
}

type faults struct{ problem.Faults }

func (f *faults) items(d Draft) {
	if n := len(d.Items); n < 1 || n > maxItems {
		f.Add("/items", "Must have 1 to 100 items.")
		return // don't report the faults of too many items
	}
	before := len(f.Faults)
	for i, item := range d.Items {
		f.item(fmt.Sprintf("/items/%d", i), item)
	}
	if len(f.Faults) > before {
		return // invalid items have no total
	}
	if _, err := Total(d.items()); err != nil {
		f.Add("/items", "The total must be at most 1000000000000000 minor units.")
	}
}

func (f *faults) item(pointer string, item DraftItem) {
	if !sku.MatchString(item.SKU) {
		f.Add(pointer+"/sku", "Must have 1 to 64 letters, digits, dots, underscores or hyphens of ASCII.")
	}
	if item.Quantity < 1 || item.Quantity > maxQuantity {
		f.Add(pointer+"/quantity", "Must be a whole number from 1 to 10000.")
	}
	if item.UnitPrice == nil || *item.UnitPrice < 0 || *item.UnitPrice > maxUnitPrice {
		f.Add(pointer+"/unit_price", "Must be a whole number of minor units from 0 to 1000000000000.")
	}
}

// MaxTotal limits the total of an order, in minor units. It is below 2^53, so that clients that decode
// numbers as floats, such as JavaScript, read it exactly.
const MaxTotal int64 = 1e15

// Total returns the sum of items. It fails if the sum is above MaxTotal or overflows, or if a number is
// negative.
func Total(items []Item) (int64, error) {
	var total int64
	for _, item := range items {
		high, line := bits.Mul64(uint64(item.Quantity), uint64(item.UnitPrice))
		if item.Quantity < 0 || item.UnitPrice < 0 || high > 0 || line > uint64(MaxTotal-total) {
			return 0, errors.New("the total is above 1e15 minor units, or a number is negative")
		}
		total += int64(line)
	}
	return total, nil
}

//go:embed currencies.txt
var currencyFile string

// currencies are the active codes of ISO 4217, list one, as of January 2026, without the codes that have no
// prices (metals, tests, units of account).
var currencies = strings.Fields(currencyFile)
