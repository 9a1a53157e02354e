package recent

import (
	"testing"
	"time"
)

func TestCacheSizeIsLimited(t *testing.T) {
	const size = 100
	c := New[int, string](size)
	now := time.Now()
	for i := range 10 * size {
		c.Put(i, "value", now.Add(time.Minute))
		if _, ok := c.Get(0, now); !ok {
			t.Fatalf("the value that is used all the time is forgotten after %d", i)
		}
	}
	if n := c.entries.Len(); n > size {
		t.Errorf("%d values are cached, want at most %d", n, size)
	}
}

func TestValueExpires(t *testing.T) {
	c := New[string, int](1)
	now := time.Now()
	c.Put("a", 1, now.Add(time.Minute))
	for _, test := range []struct {
		key   string
		after time.Duration
		ok    bool
	}{{"a", 0, true}, {"b", 0, false}, {"a", time.Minute - 1, true}, {"a", time.Minute, false}} {
		if value, ok := c.Get(test.key, now.Add(test.after)); ok != test.ok || ok && value != 1 {
			t.Errorf("%s after %s: %d, %t", test.key, test.after, value, ok)
		}
	}
}
