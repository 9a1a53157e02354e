package stack

import "strings"

// nearest is the known path that takes the fewest edits, upper and lower case being the same.
func nearest(path string, known []string) string {
	best, fewest := "", -1
	for _, candidate := range known {
		edits := distance(strings.ToLower(path), strings.ToLower(candidate))
		if fewest < 0 || edits < fewest {
			best, fewest = candidate, edits
		}
	}
	return best
}

// distance is Levenshtein's: how many bytes to insert, delete or replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
