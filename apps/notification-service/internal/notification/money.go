package notification

import (
	"fmt"
	"strconv"
	"strings"
)

// formatMoney formats an amount in minor units: 1250 EUR is "12.50 EUR", 1250 JPY is "1250 JPY".
func formatMoney(minor int64, currency string) (string, error) {
	if len(currency) != 3 || strings.Trim(currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return "", fmt.Errorf("%.16q is not a currency of ISO 4217: want three capital letters", currency)
	}
	if minor < 0 {
		return "", fmt.Errorf("%d is below zero", minor)
	}
	amount := strconv.FormatInt(minor, 10)
	if digits := minorDigits(currency); digits > 0 {
		if missing := digits + 1 - len(amount); missing > 0 {
			amount = strings.Repeat("0", missing) + amount
		}
		point := len(amount) - digits
		amount = amount[:point] + "." + amount[point:]
	}
	return amount + " " + currency, nil
}

// minorDigits returns the exponent of a currency in ISO 4217, list one. It is 2 for most currencies, and for
// unknown ones.
func minorDigits(currency string) int {
	switch currency {
	case "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF",
		"UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF":
		return 0
	case "BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND":
		return 3
	case "CLF", "UYW":
		return 4
	}
	return 2
}
