package quantity_test

import (
	"testing"

	"platform.example/infra/quantity"
)

func TestParseCPU(t *testing.T) {
	for text, want := range map[string]string{"500m": "500m", "2": "2000m", "1m": "1m"} {
		got, err := quantity.ParseCPU(text)
		if err != nil || got.String() != want {
			t.Errorf("ParseCPU(%q) = %v, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "-1", "1.5", "m", "two", "9999999"} {
		if got, err := quantity.ParseCPU(text); err == nil {
			t.Errorf("ParseCPU(%q) = %v; want an error", text, got)
		}
	}
}

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]string{"512Mi": "512Mi", "2Gi": "2048Mi"} {
		got, err := quantity.ParseBytes(text)
		if err != nil || got.String() != want {
			t.Errorf("ParseBytes(%q) = %v, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "512", "0Mi", "-1Gi", "1.5Gi", "512MB", "Mi", "9999999Gi"} {
		if got, err := quantity.ParseBytes(text); err == nil {
			t.Errorf("ParseBytes(%q) = %v; want an error", text, got)
		}
	}
}

func TestCores(t *testing.T) {
	for cpu, want := range map[quantity.CPU]int{100: 1, 1000: 1, 1001: 2, 4000: 4} {
		if got := cpu.Cores(); got != want {
			t.Errorf("%v has %d cores, want %d", cpu, got, want)
		}
	}
}
