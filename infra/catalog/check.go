package catalog

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// longestName leaves room for the longest derived name, that of the Job that verifies a release, such as
// <name>-green-verify-0123456789ab-mbxk3v7q. A Job's name is a label of its pods, so it has at most 63 characters.
const longestName = 63 - len("-green-verify-0123456789ab-mbxk3v7q")

var (
	serviceName  = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	databaseName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
)

// colours are the words that distinguish a service's Deployments.
var colours = []string{"blue", "green"}

// Check returns an error for each service whose name or derived names are invalid or in use by another service.
func Check(services []Service) error {
	var faults []error
	owners := map[string]string{} // of the secrets
	for _, service := range services {
		name, words := service.Name, strings.Split(service.Name, "-")
		owner, taken := owners[service.camelCase()]
		fault := ""
		switch {
		case !serviceName.MatchString(name):
			fault = "want words of lower-case letters and digits, separated by single hyphens and beginning with a letter"
		case len(name) > longestName:
			fault = fmt.Sprintf("has %d characters: want at most %d: the Job that verifies a release adds %d to the name, "+
				"and a Job's name has at most 63", len(name), longestName, 63-longestName)
		case slices.ContainsFunc(words[1:], func(word string) bool { return slices.Contains(colours, word) }):
			fault = "want a name without the word " + strings.Join(colours, " or ") + ": they distinguish the Deployments of a service"
		case taken && owner == name:
			fault = "two services have this name"
		case taken:
			fault = fmt.Sprintf("its secrets have the same names as those of %s: want names that differ in more than a hyphen", owner)
		case service.Database != "" && !databaseName.MatchString(service.Database):
			fault = fmt.Sprintf("database %q: want up to 63 lower-case letters, digits and underscores, beginning with a letter", service.Database)
		}
		if fault != "" {
			faults = append(faults, fmt.Errorf("service %q: %s", name, fault))
		}
		owners[service.camelCase()] = name
	}
	return errors.Join(faults...)
}
