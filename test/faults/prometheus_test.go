package faults

import (
	"errors"
	"net/url"
	"strconv"
	"testing"
	"time"

	"platform.example/test/kit"
)

func TestKilledPrometheusKeepsItsSamples(t *testing.T) {
	before, err := kit.QueryValue("min(timestamp(up))")
	if err != nil {
		t.Fatal(err)
	}
	at := strconv.FormatFloat(before, 'f', 0, 64)
	kit.Output(t, "kubectl", "delete", "pod", "prometheus-0", "--namespace=monitoring", "--grace-period=0", "--force")
	kit.Eventually(t, 2*time.Minute, "Prometheus has its old samples and new ones", func() error {
		data, err := kit.Prometheus[struct{ Result []kit.Sample }]("query?query=" + url.QueryEscape("count(up)") + "&time=" + at)
		if err == nil && len(data.Result) != 1 {
			err = errors.New("the old samples are lost")
		}
		if err != nil {
			return err
		}
		_, err = kit.QueryValue("count(up)") // new samples
		return err
	})
}
