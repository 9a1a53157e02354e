package data

import (
	"strings"
	"sync"
)

// output is what a process writes, to be read while it goes on.
type output struct {
	mutex sync.Mutex
	text  strings.Builder
}

func (o *output) Write(piece []byte) (int, error) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.text.Write(piece)
}

func (o *output) String() string {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return o.text.String()
}
