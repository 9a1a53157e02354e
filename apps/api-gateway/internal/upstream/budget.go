package upstream

import "sync/atomic"

const (
	// Each request earns a tenth of a retry, so that at most one of ten requests is sent twice: retries never
	// double the load of a failing service.
	earned = 1
	price  = 10
	// saved limits the balance to ten retries.
	saved = 10 * price
)

// budget limits the share of retries.
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
