package order

import (
	"errors"
	"math/bits"
	"strings"
)

// MaxTotal limits the total of an order, in minor units. It is below 2^53, so that clients that decode
// numbers as floats, such as JavaScript, read it exactly.
const MaxTotal int64 = 1e15

// Total returns the sum of items. It fails if the sum is above MaxTotal or overflows, or if a number is
// negative.
func Total(items []Item) (int64, error) {
	var total int64
	for _, item := range items {
		high, line := bits.Mul64(uint64(item.Quantity), uint64(item.UnitPrice))
		if item.Quantity < 0 || item.UnitPrice < 0 || high > 0 || line > uint64(MaxTotal-total) {
			return 0, errors.New("the total is above 1e15 minor units, or a number is negative")
		}
		total += int64(line)
	}
	return total, nil
}

// currencies are the active codes of ISO 4217, list one, as of January 2026, without the codes that have no
// prices (metals, tests, units of account).
const currencies = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD " +
	"CAD CDF CHE CHF CHW CLF CLP CNY COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP " +
	"GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP " +
	"LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN " +
	"PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT " +
	"TND TOP TRY TTD TWD TZS UAH UGX USD USN UYI UYU UYW UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG"

// isCurrency reports whether code is one of currencies. With three characters and no space it can only match
// a whole code.
func isCurrency(code string) bool {
	return len(code) == 3 && !strings.Contains(code, " ") && strings.Contains(currencies, code)
}
