package outbox

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// position is the id of a stream's entry. Redis makes it of its clock and a
// counter and never goes back, as long as it has the stream.
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
		return position{}, fmt.Errorf("%q is no id of a stream's entry", raw)
	}
	return p, nil
}
