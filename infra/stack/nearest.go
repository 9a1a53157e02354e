package stack

import (
	"strings"

	"github.com/agext/levenshtein"
)

// nearest is the known path that takes the fewest edits, upper and lower case being the same.
func nearest(path string, known []string) string {
	best, fewest := "", -1
	for _, candidate := range known {
		edits := levenshtein.Distance(strings.ToLower(path), strings.ToLower(candidate), nil)
		if fewest < 0 || edits < fewest {
			best, fewest = candidate, edits
		}
	}
	return best
}
