package upstream

import "sync/atomic"

const (
	// Each request earns a tenth of a retry, so that of ten requests at most one
	// is sent twice: retries never double the load of a service in trouble.
	earned = 1
	price  = 10
	// saved bounds what is kept for later, to ten retries.
	saved = 10 * price
)

// budget is what retries are paid from.
type budget struct{ balance atomic.Int64 }

func newBudget() *budget {
	b := &budget{}
	b.balance.Store(saved)
	return b
}

func (b *budget) earn() {
	if b.balance.Add(earned) > saved {
		b.balance.Add(-earned)
	}
}

func (b *budget) spend() bool {
	if b.balance.Add(-price) >= 0 {
		return true
	}
	b.balance.Add(price)
	return false
}
