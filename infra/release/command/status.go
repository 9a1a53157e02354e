package command

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/slice"

	"platform.example/infra/release"
)

// status prints the live and the standby versions, and who holds the Lease of releases.
func (s *session) status(ctx context.Context) error {
	recorded, err := s.recorded(ctx)
	if err != nil {
		return err
	}
	holder, renewed, err := s.cluster.Holder(ctx)
	if err != nil {
		return err
	}
	if s.json {
		services := map[string]any{}
		for name, state := range recorded {
			colour, running := state.Live()
			fields := map[string]any{"colour": colour, "version": running.Version, "digest": running.Image,
				"replicas": running.Replicas, "takenBack": state.Mark.TakenBack, "changedByHand": state.ByHand(name) != nil}
			if _, former, stands := state.Standby(); stands {
				fields["standby"] = former.Version
			}
			if differences := release.Drift(map[string]release.Recorded{name: state}); len(differences) > 0 {
				fields["drift"] = differences
			}
			services[name] = fields
		}
		s.out.emit(map[string]any{"stack": s.stack, "services": services, "holder": holder, "renewed": renewed})
		return nil
	}
	var table strings.Builder
	columns := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(columns, "SERVICE\tLIVE\tVERSION\tREPLICAS\tSTANDBY\tSINCE")
	var remarks []string
	for _, name := range slices.Sorted(maps.Keys(recorded)) {
		state := recorded[name]
		colour, running := state.Live()
		standby := "-"
		if other, former, stands := state.Standby(); stands {
			left := s.config.Standby - time.Since(state.Mark.At)
			standby = fmt.Sprintf("%s (%s), for %s", former.Version, other, max(0, left).Round(time.Minute))
		}
		fmt.Fprintf(columns, "%s\t%s\t%s\t%d\t%s\t%s\n", name, colour, running.Version, running.Replicas, standby, since(state.Mark.At))
		if err := state.ByHand(name); err != nil {
			remarks = append(remarks, err.Error())
		}
		if state.Mark.TakenBack != "" {
			remarks = append(remarks, fmt.Sprintf("%s: version %s was rolled back; only `make release` releases it again", name, state.Mark.TakenBack))
		}
	}
	remarks = append(remarks, slice.Map(release.Drift(recorded), release.Difference.String)...)
	_ = columns.Flush() // a Builder never fails
	s.out.print("%s", strings.TrimSuffix(table.String(), "\n"))
	for _, remark := range remarks {
		s.out.print("%s", remark)
	}
	if holder != "" {
		s.out.print("%s holds the Lease of releases (renewed %s)", holder, since(renewed))
	}
	return nil
}

func since(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return at.Local().Format(time.DateTime)
}

// history prints the status and the last releases, latest first.
func (s *session) history(ctx context.Context) error {
	if err := s.status(ctx); err != nil {
		return err
	}
	history, err := s.readHistory(ctx)
	if err != nil {
		return err
	}
	if s.json {
		s.out.emit(map[string]any{"stack": s.stack, "releases": history})
		return nil
	}
	s.out.print("")
	for i, entry := range slices.Backward(history) {
		var before map[string]release.Deployed
		if i > 0 {
			before = history[i-1].Services
		}
		var changed []string
		for _, name := range slices.Sorted(maps.Keys(entry.Services)) {
			if before[name] != entry.Services[name] {
				changed = append(changed, fmt.Sprintf("%s %s", name, entry.Services[name].Version))
			}
		}
		tested := ""
		if last := len(entry.Tested); last > 0 {
			tested = "; passed its tests at commit " + entry.Tested[last-1]
		}
		s.out.print("#%-4d %s  %s%s", entry.Number, since(entry.At), strings.Join(changed, ", "), tested)
	}
	return nil
}
