// Package recent caches computed values until they expire.
package recent

import (
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Cache holds a limited number of values by key, those used last.
type Cache[K comparable, V any] struct{ entries *lru.Cache[K, entry[V]] }

type entry[V any] struct {
	value   V
	expires time.Time
}

// New returns an empty cache for size values.
func New[K comparable, V any](size int) Cache[K, V] {
	entries, _ := lru.New[K, entry[V]](size) // fails only if size isn't positive
	return Cache[K, V]{entries}
}

// Get returns the value of a key, and true if it exists and hasn't expired.
func (c Cache[K, V]) Get(key K, now time.Time) (value V, ok bool) {
	found, ok := c.entries.Get(key)
	if !ok || !now.Before(found.expires) {
		return value, false
	}
	return found.value, true
}

// Put stores a value until it expires.
func (c Cache[K, V]) Put(key K, value V, expires time.Time) {
	c.entries.Add(key, entry[V]{value, expires})
}
