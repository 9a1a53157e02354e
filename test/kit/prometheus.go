package kit

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
)

// Sample is one series in the result of an instant query.
type Sample struct {
	Metric map[string]string `json:"metric"`
	Value  [2]any            `json:"value"`
}

// Number returns the value of the series, or 0 if it has none.
func (s Sample) Number() float64 {
	text, _ := s.Value[1].(string)
	number, _ := strconv.ParseFloat(text, 64)
	return number
}

// Prometheus calls a path below /api/v1/ of Prometheus through the API server, and decodes the data of the response.
func Prometheus[T any](path string) (T, error) {
	var response struct {
		Status, Error string
		Data          T
	}
	printed, err := Run("kubectl", "get", "--raw", "/api/v1/namespaces/monitoring/services/prometheus:9090/proxy/api/v1/"+path)
	if err != nil {
		return response.Data, err
	}
	if err := json.Unmarshal([]byte(printed), &response); err != nil {
		return response.Data, fmt.Errorf("prometheus: %w", err)
	}
	if response.Status != "success" {
		return response.Data, fmt.Errorf("prometheus: %s", response.Error)
	}
	return response.Data, nil
}

// Query returns the current series of an expression.
func Query(expression string) ([]Sample, error) {
	data, err := Prometheus[struct{ Result []Sample }]("query?query=" + url.QueryEscape(expression))
	return data.Result, err
}

// QueryValue returns the current value of an expression with one series.
func QueryValue(expression string) (float64, error) {
	series, err := Query(expression)
	if err != nil {
		return 0, err
	}
	if len(series) != 1 {
		return 0, fmt.Errorf("%s has %d series, want one", expression, len(series))
	}
	return series[0].Number(), nil
}

// AlertFires returns a condition: an alert that these matchers select fires in Prometheus, or none does.
func AlertFires(matchers string, want bool) func() error {
	return func() error {
		firing, err := Query(`ALERTS{alertstate="firing", ` + matchers + `}`)
		if err == nil && len(firing) > 0 != want {
			err = fmt.Errorf("%d alerts with %s fire: %v", len(firing), matchers, firing)
		}
		return err
	}
}

// Alerts returns the labels of the alerts that match all filters, such as severity="page", and that Alertmanager doesn't mute.
func Alerts(filters ...string) ([]map[string]string, error) {
	query := url.Values{"silenced": {"false"}, "inhibited": {"false"}, "filter": filters}
	printed, err := Run("kubectl", "get", "--raw", Alertmanager+"/alerts?"+query.Encode())
	if err != nil {
		return nil, err
	}
	var labels []map[string]string
	firing, err := ParseJSON[[]struct{ Labels map[string]string }](printed)
	for _, alert := range firing {
		labels = append(labels, alert.Labels)
	}
	return labels, err
}

// Alertmanager is the path of its API through the API server.
const Alertmanager = "/api/v1/namespaces/monitoring/services/alertmanager:9093/proxy/api/v2"
