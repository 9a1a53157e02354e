package main

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	grafana "github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

const (
	scrapeInterval = 15 * time.Second
	all            = "$__all"
)

// chosen is the values of a dashboard's variables, as in the page's address: var-service=user-service.
type chosen map[string][]string

// choose reads the page's address; what isn't in it is as the dashboard has it.
func choose(variables []grafana.VariableModel, address url.Values) chosen {
	made := chosen{}
	for _, v := range variables {
		made[v.Name] = texts(v)
		if given := address["var-"+v.Name]; len(given) > 0 {
			made[v.Name] = given
		}
	}
	return made
}

// texts is a variable's value in the dashboard.
func texts(v grafana.VariableModel) []string {
	if v.Current == nil {
		return nil
	}
	if v.Current.Value.String != nil {
		return []string{*v.Current.Value.String}
	}
	return v.Current.Value.ArrayOfString
}

var reference = regexp.MustCompile(`\$(\w+)|\$\{(\w+)(?::\w+)?\}`)

// interpolate puts values for the variables of a query as Grafana does: several become a regular expression, of whose
// signs each is taken as itself. What nobody knows stays as it is, such as $1 in label_replace.
func interpolate(expr string, variables []grafana.VariableModel, values chosen, asked span) string {
	known := map[string]string{
		"__interval": promDuration(asked.step),
		// Wide enough for four scrapes, so that a rate survives that one is missed; and for no gap between steps.
		"__rate_interval": promDuration(max(asked.step+scrapeInterval, 4*scrapeInterval)),
		"__range":         promDuration(asked.to.Sub(asked.from)),
	}
	for _, v := range variables {
		known[v.Name] = worded(v, values[v.Name])
	}
	return reference.ReplaceAllStringFunc(expr, func(found string) string {
		parts := reference.FindStringSubmatch(found)
		if value, is := known[parts[1]+parts[2]]; is {
			return value
		}
		return found
	})
}

func worded(v grafana.VariableModel, values []string) string {
	if v.Type == grafana.VariableTypeTextbox {
		// A number stands bare in a query. Anything else could be any query.
		if len(values) == 1 {
			if _, err := strconv.ParseFloat(values[0], 64); err == nil {
				return values[0]
			}
		}
		return "NaN"
	}
	var quoted []string
	for _, value := range values {
		if value == all {
			return *v.AllValue
		}
		// It stands within a text in quotes, where a backslash stands for itself only if there are two.
		safe := strings.ReplaceAll(regexp.QuoteMeta(value), `\`, `\\`)
		quoted = append(quoted, strings.ReplaceAll(safe, `"`, `\"`))
	}
	if len(quoted) == 1 {
		return quoted[0]
	}
	return "(" + strings.Join(quoted, "|") + ")"
}

func promDuration(d time.Duration) string {
	return fmt.Sprintf("%ds", int(max(d, time.Second).Seconds()))
}

var labelValues = regexp.MustCompile(`^label_values\((.*), *(\w+)\)$`)

var placeholder = regexp.MustCompile(`{{\s*(\w+)\s*}}`)

// legend words a series: {{label}} stands for the label's value. Without a pattern it's the labels.
func legend(pattern string, labels map[string]string) string {
	if pattern == "" {
		var words []string
		for _, name := range sortedKeys(labels) {
			if name != "__name__" {
				words = append(words, name+"="+labels[name])
			}
		}
		return strings.Join(words, " ")
	}
	return strings.TrimSpace(placeholder.ReplaceAllStringFunc(pattern, func(found string) string {
		return labels[placeholder.FindStringSubmatch(found)[1]]
	}))
}

var relative = regexp.MustCompile(`^now(?:-(\d+)([smhd]))?$`)

// moment reads now, or now-6h.
func moment(text string, now time.Time) (time.Time, error) {
	parts := relative.FindStringSubmatch(text)
	if parts == nil {
		return now, fmt.Errorf("%q is no time such as now-6h", text)
	}
	if parts[1] == "" {
		return now, nil
	}
	count, err := strconv.Atoi(parts[1])
	unit := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[parts[2]]
	if err != nil || count > int(longestRange/unit) {
		return now, fmt.Errorf("%q is further back than Prometheus remembers: want at most now-%dd", text, int(longestRange.Hours()/24))
	}
	return now.Add(-time.Duration(count) * unit), nil
}

const (
	longestRange = 31 * 24 * time.Hour
	mostPoints   = 1000
	fewestPoints = 50
)

// spanOf reads from, to and points, as many as the picture has room for. Steps begin at multiples of themselves, so that
// the picture stands still when it is drawn again.
func spanOf(address url.Values, now time.Time) (span, error) {
	from, to := address.Get("from"), address.Get("to")
	if from == "" {
		from = "now-1h"
	}
	if to == "" {
		to = "now"
	}
	asked := span{}
	var err error
	if asked.from, err = moment(from, now); err != nil {
		return asked, err
	}
	if asked.to, err = moment(to, now); err != nil {
		return asked, err
	}
	if !asked.from.Before(asked.to) {
		return asked, fmt.Errorf("%s is not before %s", from, to)
	}
	points, err := strconv.Atoi(address.Get("points"))
	if err != nil {
		points = 200
	}
	points = min(max(points, fewestPoints), mostPoints)
	length := asked.to.Sub(asked.from)
	asked.step = max((length / time.Duration(points)).Round(scrapeInterval), scrapeInterval)
	asked.to = asked.to.Truncate(asked.step)
	asked.from = asked.to.Add(-length.Truncate(asked.step))
	return asked, nil
}
