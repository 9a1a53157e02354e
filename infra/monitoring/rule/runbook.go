package rule

import "strings"

// runbookFolder is where the runbooks are in the repository.
const runbookFolder = "docs/runbooks"

// runbook is where an alert's runbook is read; below no base it is the path in the repository.
func runbook(base, alert string) string {
	if base == "" {
		base = runbookFolder
	}
	return strings.TrimSuffix(base, "/") + "/" + alert + ".md"
}
