package outbox

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// position is the id of a stream entry. Redis builds it from its clock and a counter; it never decreases
// while Redis keeps the stream.
type position struct{ ms, seq int64 }

func (p position) String() string { return fmt.Sprintf("%d-%d", p.ms, p.seq) }

func (p position) before(other position) bool {
	return cmp.Or(cmp.Compare(p.ms, other.ms), cmp.Compare(p.seq, other.seq)) < 0
}

func parsePosition(raw string) (position, error) {
	ms, seq, _ := strings.Cut(raw, "-")
	var p position
	var msErr, seqErr error
	p.ms, msErr = strconv.ParseInt(ms, 10, 64)
	p.seq, seqErr = strconv.ParseInt(seq, 10, 64)
	if msErr != nil || seqErr != nil {
		return position{}, fmt.Errorf("%q is not the id of a stream entry", raw)
	}
	return p, nil
}
