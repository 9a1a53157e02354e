package order

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"regexp"

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
func (d Draft) Hash() ([]byte, error) {
	normalised, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("hashing a draft: %w", err)
	}
	sum := sha256.Sum256(normalised)
	return sum[:], nil
}

// Validate returns one error with all faults of d.
func (d Draft) Validate() error {
	var f faults
	if !isCurrency(d.Currency) {
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
