// Package recent remembers what was computed lately, until it expires.
package recent

import (
	"sync"
	"time"
)

// Cache holds values by key. It remembers a bounded number: once a generation is
// full, the one before it is forgotten, and what of it was used meanwhile stays.
type Cache[K comparable, V any] struct {
	generation int

	mu              sync.RWMutex
	recent, earlier map[K]entry[V]
}

type entry[V any] struct {
	value   V
	expires time.Time
}

// New returns an empty cache whose generations have so many values.
func New[K comparable, V any](generation int) *Cache[K, V] {
	return &Cache[K, V]{generation: generation, recent: make(map[K]entry[V])}
}

// Get returns the value of a key that hasn't expired.
func (c *Cache[K, V]) Get(key K, now time.Time) (value V, ok bool) {
	c.mu.RLock()
	found, young := c.recent[key]
	old := false
	if !young {
		found, old = c.earlier[key]
	}
	c.mu.RUnlock()
	if !young && !old || !now.Before(found.expires) {
		return value, false
	}
	if old {
		c.put(key, found)
	}
	return found.value, true
}

// Put remembers a value until it expires.
func (c *Cache[K, V]) Put(key K, value V, expires time.Time) {
	c.put(key, entry[V]{value, expires})
}

func (c *Cache[K, V]) put(key K, e entry[V]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.recent) >= c.generation {
		c.recent, c.earlier = make(map[K]entry[V], c.generation), c.recent
	}
	c.recent[key] = e
}
