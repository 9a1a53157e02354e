// Package quantity parses whole numbers, and amounts of CPU and memory in Kubernetes' notation.
package quantity

import (
	"fmt"
	"strconv"
	"strings"
)

// CPU is an amount of CPU in thousandths of a core.
type CPU int

// String prints Kubernetes' notation, such as 250m.
func (c CPU) String() string { return strconv.Itoa(int(c)) + "m" }

// Cores is the number of whole cores that can be busy at once, at least one.
func (c CPU) Cores() int { return max(1, (int(c)+999)/1000) }

// Bytes is an amount of memory or storage in MiB.
type Bytes int

// The units of Bytes.
const (
	MiB Bytes = 1
	GiB       = 1024 * MiB
)

// String prints Kubernetes' notation, such as 512Mi.
func (b Bytes) String() string { return strconv.Itoa(int(b)) + "Mi" }

// ParseCPU reads thousandths of a core (500m) or whole cores (2).
func ParseCPU(text string) (CPU, error) {
	digits, unit := text, CPU(1000)
	if thousandths, found := strings.CutSuffix(text, "m"); found {
		digits, unit = thousandths, 1
	}
	amount, err := positive(digits)
	if err != nil {
		return 0, fmt.Errorf("%q is not an amount of CPU such as 500m or 2", text)
	}
	return CPU(amount) * unit, nil
}

// ParseBytes reads whole MiB (512Mi) or GiB (10Gi).
func ParseBytes(text string) (Bytes, error) {
	for suffix, unit := range map[string]Bytes{"Mi": MiB, "Gi": GiB} {
		digits, found := strings.CutSuffix(text, suffix)
		if !found {
			continue
		}
		if amount, err := positive(digits); err == nil {
			return Bytes(amount) * unit, nil
		}
	}
	return 0, fmt.Errorf("%q is not a size such as 512Mi or 10Gi", text)
}

// positive parses a whole number up to a million, more than any cluster has.
var positive = Between(1, 1_000_000)

// Between returns a parser of whole numbers within limits.
func Between(least, most int) func(string) (int, error) {
	return func(text string) (int, error) {
		number, err := strconv.Atoi(text)
		if err == nil && (number < least || number > most) {
			err = fmt.Errorf("%d is not between %d and %d", number, least, most)
		}
		return number, err
	}
}
